"""Spool files: a large request body, or a response that its client reads slowly, on disk.

A spool file has no name: it is opened with O_TMPFILE or, if the file system does not support that, unlinked at once. So
nothing is left behind, however the process ends. All files of a server share one budget. A spool file belongs to one
thread at a time.
"""
from libc.errno cimport EINTR, errno
from libc.stdio cimport snprintf
from libc.string cimport strlen
from posix.fcntl cimport O_CLOEXEC, O_RDWR, open
from posix.unistd cimport close, pwrite, unlink

from halfsync.native.checks cimport COUNT_SPOOL_FILE, count
from halfsync.native.counting cimport count_shared
from halfsync.native.descriptors cimport move_out_of_low
from halfsync.native.sync cimport add_llong, init_llong, init_uint

cdef extern from "<fcntl.h>" nogil:
    """
    #ifndef O_TMPFILE
    #define O_TMPFILE 0
    #endif
    """
    const int O_TMPFILE

cdef extern from "<stdlib.h>" nogil:
    int mkostemp(char *template, int flags)


cdef int store_init(Store *store, const char *directory, int64_t limit) noexcept nogil:
    """Set where spool files are made and how many bytes they may hold. Returns -1 if the path is too long."""
    if strlen(directory) + 32 >= sizeof(store.directory):
        return -1
    snprintf(store.directory, sizeof(store.directory), "%s", directory)
    store.limit = limit
    init_llong(&store.used, 0)
    store.shown = NULL
    init_uint(&store.waiters, 0)
    init_uint(&store.held, 0)
    return 0


cdef void spool_init(SpoolFile *spool, Store *store) noexcept nogil:
    """Initialize without a file: the first append opens it."""
    spool.fd = -1
    spool.end = spool.reserved = 0
    spool.store = store


cdef int open_unnamed(const char *directory) noexcept nogil:
    """Open a temporary file without a name. Returns its descriptor, or -1 with errno set."""
    cdef char path[4128]
    cdef int fd = -1
    if O_TMPFILE != 0:
        fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600)
    if fd < 0:
        snprintf(path, sizeof(path), "%s/halfsync-XXXXXX", directory)
        fd = mkostemp(path, O_CLOEXEC)
        if fd >= 0:
            unlink(path)
    return move_out_of_low(fd)


cdef inline void show(Store *store, int64_t change) noexcept nogil:
    """Show a change of what is used in the metrics."""
    if store.shown != NULL and change != 0:
        count_shared(store.shown, change)


cdef int spool_reserve(SpoolFile *spool, int64_t length) noexcept nogil:
    """Reserve `length` bytes of the store's budget, for the caller to append. Returns -1 if less is left."""
    if add_llong(&spool.store.used, length) + length > spool.store.limit:
        add_llong(&spool.store.used, -length)
        return -1
    spool.reserved += length
    show(spool.store, length)
    return 0


cdef int spool_append(SpoolFile *spool, const char *data, int64_t length) noexcept nogil:
    """Write reserved bytes to the file's end. Returns 0, or -1 if the disk does not take them."""
    cdef ssize_t written
    if spool.fd < 0:
        spool.fd = open_unnamed(spool.store.directory)
        if spool.fd < 0:
            return -1
        count(COUNT_SPOOL_FILE, 1)
    while length > 0:
        written = pwrite(spool.fd, data, length, spool.end)
        if written < 0:
            if errno == EINTR:
                continue
            return -1
        data += written
        length -= written
        spool.end += written
    return 0


cdef void spool_close(SpoolFile *spool) noexcept nogil:
    """Close the file, which deletes it, and return the reserved bytes to the budget."""
    add_llong(&spool.store.used, -spool.reserved)
    show(spool.store, -spool.reserved)
    spool.reserved = spool.end = 0
    if spool.fd >= 0:
        close(spool.fd)
        spool.fd = -1
        count(COUNT_SPOOL_FILE, -1)
