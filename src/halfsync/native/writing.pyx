"""Write, from Python, to a file that may take nothing. The wait has a limit."""
from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int64_t

from halfsync.native.sync cimport monotonic_ns


def write_lines(int fd, bytes data, double seconds):
    """Write, and wait for room at most this many seconds. Returns how many bytes were taken, and an error number.

    The number is 0 if all were taken, and EAGAIN if there was no room in time. Other threads run during the wait.
    """
    cdef const char *start = data
    cdef size_t length = len(data)
    cdef size_t done
    cdef int error = 0
    cdef int64_t timeout = <int64_t> (seconds * 1e9)
    with nogil:
        done = write_within(fd, start, length, timeout)
        if done < length:
            error = errno
    return done, error


def has_room(int fd, double seconds):
    """Return whether a write will be taken, or refused at once, within this many seconds."""
    cdef bint room
    cdef int64_t timeout = <int64_t> (seconds * 1e9)
    with nogil:
        room = is_on_disk(fd) or await_room(fd, monotonic_ns() + timeout)
    return room


NO_ROOM = EAGAIN
