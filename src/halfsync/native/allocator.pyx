"""Settings of the C library's allocator for a server process."""

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    static int hs_keep_freed(int heap_bytes, int mapped_bytes) {
        if (getenv("MALLOC_TRIM_THRESHOLD_") || getenv("MALLOC_MMAP_THRESHOLD_") || getenv("GLIBC_TUNABLES"))
            return 0;
        return mallopt(M_TRIM_THRESHOLD, heap_bytes) && mallopt(M_MMAP_THRESHOLD, mapped_bytes);
    }
    #else
    static int hs_keep_freed(int heap_bytes, int mapped_bytes) { return 0; }
    #endif
    """
    bint c_keep_freed "hs_keep_freed" (int heap_bytes, int mapped_bytes) nogil

cdef enum:
    HEAP_KEPT_BYTES = 4 * 1024 * 1024  # free at the end of each heap (one or two a thread) before it is returned
    MAPPED_BYTES = 1024 * 1024  # this much or more at once is mapped separately, and returned when it is freed


def keep_freed_memory():
    """Let malloc keep some of the freed memory instead of returning it to the system with each request.

    By default glibc returns memory once 128 KiB are free at a heap's end. A body of 64 KiB then costs sixteen page
    faults, more than all the rest of its request. For a process that is a server, not one that embeds it. Sets nothing
    if the environment sets it (mallopt(3)). Returns True if it was set.
    """
    return c_keep_freed(HEAP_KEPT_BYTES, MAPPED_BYTES)
