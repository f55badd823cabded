# How many connections each client has, by its address. No lock, no I/O, no Python objects.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    CLIENT_NONE = 0           # of a connection that counts for no client
    CLIENT_OVER_LIMIT = -1

# A key identifies a client: 64 bits of its network. Special keys look like multicast networks (ff00::/8), from which no
# client connects (RFC 4291 2.7).
cdef extern from *:
    """
    #include <stdint.h>
    #define HS_KEY_NONE UINT64_C(0)
    #define HS_KEY_UNKNOWN UINT64_MAX
    #define HS_KEY_IPV4 UINT64_C(0xFFFF000000000000)
    #define HS_KEY_ZEROS UINT64_C(0xFFFF000100000000)
    """
    const uint64_t KEY_NONE "HS_KEY_NONE"  # of a peer without an IP address, which counts for no client
    const uint64_t KEY_UNKNOWN "HS_KEY_UNKNOWN"  # of a connection whose client is not known yet
    const uint64_t KEY_IPV4 "HS_KEY_IPV4"      # with the address in its lower half
    const uint64_t KEY_ZEROS "HS_KEY_ZEROS"    # ::/64, which contains ::1

cdef uint64_t client_key(const uint8_t *address, int length) noexcept nogil

# The number of connections of one client.
ctypedef struct ClientCount:
    uint64_t key
    uint32_t count
    uint32_t next             # index of the next in its bucket, or of the next free one; 0: none

ctypedef struct ClientCounts:
    uint32_t limit            # most connections of one client; 0: nothing is counted
    uint32_t capacity         # most clients
    uint32_t unused           # the first index that was never given out
    uint32_t free             # the first index that was given back; 0: none
    uint32_t *buckets         # the first index in each bucket
    ClientCount *clients      # from index 1 on
    uint64_t factor           # of the hash: odd and secret
    uint32_t shift

cdef int counts_open(ClientCounts *counts, uint32_t limit, uint32_t capacity) noexcept nogil
cdef void counts_close(ClientCounts *counts) noexcept nogil
cdef int64_t counts_add(ClientCounts *counts, uint64_t key) noexcept nogil
cdef void counts_remove(ClientCounts *counts, uint32_t client_index) noexcept nogil
