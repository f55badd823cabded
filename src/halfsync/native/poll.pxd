# poll(2), and the time that it takes.
from libc.stdint cimport int64_t

cdef extern from "<poll.h>" nogil:
    """
    #ifndef POLLRDHUP
    #define POLLRDHUP 0  /* only Linux has it; elsewhere the peer's end shows when it is received */
    #endif
    """
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *watched, unsigned long count, int timeout_ms)
    const short POLLIN, POLLOUT, POLLRDHUP, POLLHUP, POLLERR, POLLNVAL

cdef enum:
    LONGEST_POLL_MS = 86400000


cdef inline int poll_ms(int64_t ns) noexcept nogil:
    """Return a time to wait in whole milliseconds, rounded up, since poll(2) must not return before it has passed.

    At most LONGEST_POLL_MS: the caller polls again until its deadline.
    """
    return <int> min((max(ns, <int64_t> 0) + 999999) // 1000000, <int64_t> LONGEST_POLL_MS)
