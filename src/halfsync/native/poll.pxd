# poll(2), declared once for every native module.

cdef extern from "<poll.h>" nogil:
    """
    #ifndef POLLRDHUP
    #define POLLRDHUP 0
    #endif
    """
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *watched, unsigned long count, int timeout_ms)
    const short POLLIN, POLLOUT, POLLERR, POLLHUP, POLLRDHUP, POLLNVAL
