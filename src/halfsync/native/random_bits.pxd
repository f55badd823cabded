# Random bits that need no secrecy, without a system call for each request.
from libc.stdint cimport uint64_t

cdef enum:
    RANDOM_WORDS = 2          # 128 bits

# Write RANDOM_WORDS words. For any thread; no two threads and no two processes write the same ones. Never blocks.
cdef void random_words(uint64_t *words) noexcept nogil
