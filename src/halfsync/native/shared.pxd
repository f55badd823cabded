# Memory that forked processes share. Without the module mmap: a typed view of it would cost each module 100 KB of code.

cdef extern from "<sys/mman.h>" nogil:
    void *c_mmap "mmap" (void *where, size_t bytes, int protection, int flags, int fd, long offset)
    int c_munmap "munmap" (void *where, size_t bytes)
    const int MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE

# Return zeroed memory that this process shares with all processes that it forks. NULL: memory is short (errno).
cdef inline void *map_shared(size_t bytes) noexcept nogil:
    cdef void *mapped = c_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_SHARED, -1, 0)
    return mapped if mapped != <void *> -1 else NULL

cdef inline void unmap_shared(void *mapped, size_t bytes) noexcept nogil:
    if mapped != NULL:
        c_munmap(mapped, bytes)
