# Accept a connection from a listening socket.
from libc.errno cimport ECONNABORTED, EINTR, EPROTO, errno

from halfsync.native.descriptors cimport move_out_of_low

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    struct sockaddr_storage:
        pass
    ctypedef unsigned int socklen_t
    const int SOCK_NONBLOCK, SOCK_CLOEXEC
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)


cdef inline int accept_client(int listener, sockaddr_storage *address, socklen_t *length) noexcept nogil:
    """Accept a connection. Returns its descriptor, non-blocking and close-on-exec, or -errno: -EAGAIN if none waits.

    Passes over those that have ended before they were accepted (accept(2)).
    """
    cdef int fd
    while True:
        length[0] = sizeof(sockaddr_storage)
        fd = accept4(listener, <sockaddr *> address, length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            return move_out_of_low(fd)
        if errno != EINTR and errno != ECONNABORTED and errno != EPROTO:
            return -errno
