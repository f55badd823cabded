"""Writing to a file that may take nothing, without waiting for it for ever; for Python code."""
from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int64_t

from halfsync.native.sync cimport monotonic_ns


def write_lines(int fd, bytes data, double seconds):
    """Write, and wait for room at most so many seconds. Returns how many bytes were taken, and an error number.

    That is 0 if all were, EAGAIN if there was no room in time. No other thread waits meanwhile.
    """
    cdef const char *start = data
    cdef size_t length = len(data)
    cdef size_t done
    cdef int error = 0
    cdef int64_t patience = <int64_t> (seconds * 1e9)
    with nogil:
        done = write_within(fd, start, length, patience)
        if done < length:
            error = errno
    return done, error


def has_room(int fd, double seconds):
    """Tell whether something can be written, or is refused at once, within so many seconds."""
    cdef bint room
    cdef int64_t patience = <int64_t> (seconds * 1e9)
    with nogil:
        room = is_on_disk(fd) or await_room(fd, monotonic_ns() + patience)
    return room


NO_ROOM = EAGAIN
