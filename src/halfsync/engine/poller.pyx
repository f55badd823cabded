"""What pollers share: they tell the engine what has *happened* (bytes received, a connection accepted, room to send),
not what could be done. A poller over readiness, as epoll and poll(2) are, makes the system call itself; one over
completion would only pass on what the kernel reports, and the engine would not see the difference.

All functions run on the engine's thread. A handle may be removed by the engine during any callback, so nothing of it is
touched after a callback unless its return value allows it.
"""
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EPROTO, errno
from libc.string cimport memset

from halfsync.native.descriptors cimport leave_low

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    struct sockaddr_storage:
        pass
    ctypedef unsigned int socklen_t
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    const int MSG_DONTWAIT, MSG_NOSIGNAL, MSG_MORE, SOCK_NONBLOCK, SOCK_CLOEXEC
    ssize_t c_recv "recv" (int fd, void *data, size_t length, int flags)
    ssize_t c_send "send" (int fd, const void *data, size_t length, int flags)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)

cdef extern from "<sys/sendfile.h>" nogil:
    ssize_t sendfile(int out, int source, long *offset, size_t count)

cdef extern from *:
    """
    #include <sys/ioctl.h>
    #include <termios.h>
    static int hs_unsent(int fd) {
        int bytes = 0;
        return ioctl(fd, TIOCOUTQ, &bytes) < 0 ? 0 : bytes;
    }
    static void hs_reset_on_close(int fd) {
        struct linger now = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    """
    int c_unsent "hs_unsent" (int fd) nogil
    void c_reset_on_close "hs_reset_on_close" (int fd) nogil

cdef enum:
    RECEIVES_PER_VISIT = 4  # of one handle before the others have their turn
    ACCEPTS_PER_VISIT = 64
    SEND_FILE_BYTES = 1024 * 1024 * 2  # of one sendfile call: more than a socket takes at once


cdef void ready_add(Poller *poller, Handle *handle) noexcept nogil:
    """Visit the handle again in the next turn, without waiting for the kernel to say so."""
    if handle.in_ready:
        return
    handle.in_ready = True
    handle.ready_next = NULL
    handle.ready_previous = poller.ready_last
    if poller.ready_last != NULL:
        poller.ready_last.ready_next = handle
    else:
        poller.ready = handle
    poller.ready_last = handle
    poller.ready_length += 1


cdef void ready_remove(Poller *poller, Handle *handle) noexcept nogil:
    """Take the handle off the ready list, if it is there."""
    if not handle.in_ready:
        return
    handle.in_ready = False
    if handle.ready_previous != NULL:
        handle.ready_previous.ready_next = handle.ready_next
    else:
        poller.ready = handle.ready_next
    if handle.ready_next != NULL:
        handle.ready_next.ready_previous = handle.ready_previous
    else:
        poller.ready_last = handle.ready_previous
    poller.ready_length -= 1


cdef Handle *ready_take(Poller *poller) noexcept nogil:
    """Take the first handle off the ready list. Returns NULL when it is empty."""
    cdef Handle *handle = poller.ready
    if handle != NULL:
        ready_remove(poller, handle)
    return handle


cdef int complete_receive(Poller *poller, Handle *handle) noexcept nogil:
    """Receive what is there and tell the engine. Returns what the engine last said, RECEIVE_*.

    Afterwards `readable` says whether something may be left.
    """
    cdef char *data
    cdef size_t room
    cdef ssize_t length
    cdef int result
    cdef int _visits
    for _visits in range(RECEIVES_PER_VISIT):
        data = poller.user.room(poller.user.engine, handle, &room)
        if data == NULL:
            return RECEIVE_HOLD
        while True:
            length = c_recv(handle.fd, data, room, MSG_DONTWAIT)
            if length >= 0 or errno != EINTR:
                break
        if length < 0:
            handle.readable = False
            if errno == EAGAIN:
                return poller.user.received(poller.user.engine, handle, data, -EAGAIN)
            return poller.user.received(poller.user.engine, handle, data, -errno)
        poller.received += length
        if <size_t> length < room:
            handle.readable = False  # a stream socket that gave less than was asked for is empty
        result = poller.user.received(poller.user.engine, handle, data, length)
        if result != RECEIVE_MORE or not handle.readable or poller.received > TURN_BYTES:
            return result
    return RECEIVE_MORE


cdef void complete_accept(Poller *poller, Handle *handle) noexcept nogil:
    """Accept what waits, up to a bound, and tell the engine."""
    cdef sockaddr_storage address
    cdef socklen_t length
    cdef int _visits, fd
    if not poller.user.acceptable(poller.user.engine, handle):
        return
    for _visits in range(ACCEPTS_PER_VISIT):
        length = sizeof(address)
        fd = accept4(handle.fd, <sockaddr *> &address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno == EINTR or errno == ECONNABORTED or errno == EPROTO:
                continue
            if errno != EAGAIN:  # whatever it is, the listener would be reported again at once
                poller.user.accept_failed(poller.user.engine, handle, errno)
            return
        if not poller.user.accepted(poller.user.engine, handle, leave_low(fd), &address, length):
            return


cdef int64_t sent_or_later(Poller *poller, Handle *handle, ssize_t sent) noexcept nogil:
    """Turn the result of a send that was not interrupted into bytes, POLLER_LATER or -errno."""
    if sent >= 0:
        return sent
    if errno == EAGAIN:
        poller.want_send(poller, handle)
        return POLLER_LATER
    return -errno


cdef void reset_on_close(int fd) noexcept nogil:
    """Let the socket's closing be a reset: the client must not take what it has for the whole. Any thread."""
    c_reset_on_close(fd)


cdef int unsent_bytes(int fd) noexcept nogil:
    """Return how many bytes the socket has taken that its peer has not acknowledged (SIOCOUTQ, tcp(7))."""
    return c_unsent(fd)


cdef void send_continue(int fd) noexcept nogil:
    """Send a 100 Continue (RFC 9110 15.2.1), if the socket takes it at once. Any thread."""
    c_send(fd, b"HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_DONTWAIT | MSG_NOSIGNAL)


cdef int64_t poller_send(Poller *poller, Handle *handle, iovec *vectors, int count, bint more) noexcept nogil:
    """Send from memory. more: further bytes follow at once. Returns bytes sent, POLLER_LATER or -errno."""
    cdef msghdr message
    cdef ssize_t sent
    memset(&message, 0, sizeof(message))
    message.msg_iov = vectors
    message.msg_iovlen = count
    while True:  # nothing would tell that there is room where there was some all along
        sent = sendmsg(handle.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | (MSG_MORE if more else 0))
        if sent >= 0 or errno != EINTR:
            return sent_or_later(poller, handle, sent)


cdef int64_t poller_send_file(Poller *poller, Handle *handle, int fd, int64_t offset, int64_t length) noexcept nogil:
    """Send from a file. Returns bytes sent (0: the file is shorter than it was), POLLER_LATER or -errno."""
    cdef long position = offset
    cdef ssize_t sent
    while True:  # as above
        sent = sendfile(handle.fd, fd, &position, min(length, <int64_t> SEND_FILE_BYTES))
        if sent >= 0 or errno != EINTR:
            return sent_or_later(poller, handle, sent)
