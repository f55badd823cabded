"""Plain sockets, apart from the calls that every request makes, and the choice of a kind (see the .pxd)."""
from posix.unistd cimport close, pread

from halfsync.native.checks cimport check
from halfsync.native.pipes cimport pipe_is_quiet
from halfsync.native.poll cimport POLLERR, POLLHUP, POLLRDHUP, poll, pollfd

cdef extern from "<sys/socket.h>" nogil:
    const int MSG_PEEK, SHUT_RDWR, SHUT_WR
    int shutdown(int fd, int how)

cdef extern from "<sys/sendfile.h>" nogil:
    ssize_t sendfile(int out, int source, long *offset, size_t count)

cdef extern from *:
    """
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <sys/ioctl.h>
    #include <stdint.h>
    #include <sys/socket.h>
    #include <termios.h>
    static int hs_unacknowledged(int fd) {
        int bytes = 0;
        return ioctl(fd, TIOCOUTQ, &bytes) < 0 ? 0 : bytes;
    }
    static int64_t hs_quiet_ms(int fd) {
        struct tcp_info info = {0};
        socklen_t length = sizeof(info);
        return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ? -1 : (int64_t)info.tcpi_last_data_recv;
    }
    static void hs_reset_on_close(int fd) {
        struct linger now = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    """
    int64_t c_quiet_ms "hs_quiet_ms" (int fd) nogil
    int c_unacknowledged "hs_unacknowledged" (int fd) nogil
    void c_reset_on_close "hs_reset_on_close" (int fd) nogil

cdef enum:
    SEND_FILE_BYTES = 2 * 1024 * 1024  # of one sendfile call: more than a socket takes at once
    READ_BYTES = 16 * 1024             # of a file that is read and sent

cdef const TransportKind *chosen = NULL


cdef void transport_choose(const TransportKind *kind) noexcept nogil:
    global chosen
    chosen = kind


cdef bint transport_computes(const TransportProfile *profiles, int count) noexcept nogil:
    cdef int position
    if chosen != NULL and chosen.computes:
        return True
    for position in range(count if profiles != NULL else 0):
        if profiles[position].kind != NULL and profiles[position].kind.computes:
            return True
    return False


cdef int transport_open(Transport *transport, int fd, const TransportProfile *profile) noexcept nogil:
    cdef int result = 0
    transport.fd = fd
    transport.drained = False
    transport.state = NULL
    if profile != NULL and profile.kind != NULL:
        result = profile.kind.open(transport, profile.settings)
    elif chosen != NULL:
        result = chosen.open(transport, NULL)
    if result < 0:
        transport.fd = -1
    return result


cdef void transport_close(Transport *transport) noexcept nogil:
    check(transport.fd >= 0, "a transport is closed twice")
    if transport.state != NULL:
        transport.state.kind.close(transport)
    close(transport.fd)
    transport.fd = -1


cdef int64_t transport_send_file(Transport *transport, int fd, int64_t offset, int64_t length) noexcept nogil:
    cdef long position = offset
    cdef char data[READ_BYTES]
    cdef ssize_t sent
    if transport.state == NULL:
        check(pipe_is_quiet(), "a file is sent while SIGPIPE could end the process")
        while True:
            sent = sendfile(transport.fd, fd, &position, <size_t> min(length, <int64_t> SEND_FILE_BYTES))
            if sent >= 0:
                return sent
            if errno != EINTR:
                return WANT_WRITE if errno == EAGAIN else -errno
    if transport.state.kind.send_file != NULL:
        return transport.state.kind.send_file(transport, fd, offset, length)
    while True:
        sent = pread(fd, data, <size_t> min(length, <int64_t> READ_BYTES), offset)
        if sent >= 0:
            break
        if errno != EINTR:
            return -errno
    return 0 if sent == 0 else transport_send_bytes(transport, data, sent, sent < length)


cdef void transport_send_whole(Transport *transport, const char *data, size_t length) noexcept nogil:
    cdef ssize_t sent
    if transport.state != NULL:
        transport.state.kind.send_whole(transport, data, length)
        return
    sent = c_send(transport.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent > 0 and <size_t> sent < length:  # the client would take what follows for the rest of it
        transport_abort(transport)
        transport_cut(transport, True)


cdef int transport_peek(Transport *transport) noexcept nogil:
    cdef char byte
    cdef ssize_t length
    if transport_pending(transport) > 0:
        return PEEK_BYTES
    length = c_recv(transport.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT)
    if length > 0:
        return PEEK_BYTES
    return PEEK_NOTHING if length < 0 and (errno == EAGAIN or errno == EINTR) else PEEK_ENDED


cdef int transport_presence(Transport *transport) noexcept nogil:
    cdef pollfd watched
    watched.fd = transport.fd
    watched.events = POLLRDHUP
    if poll(&watched, 1, 0) <= 0:
        return PEER_HERE
    return PEER_GONE if watched.revents & (POLLERR | POLLHUP) else PEER_ENDED


cdef int transport_finish(Transport *transport) noexcept nogil:
    cdef int result = 0
    if transport.state != NULL:
        result = transport.state.kind.finish(transport)
    if result == 0:
        shutdown(transport.fd, SHUT_WR)
    return result


cdef void transport_take_leave(Transport *transport) noexcept nogil:
    if transport.state != NULL:
        transport.state.kind.finish(transport)


cdef void transport_cut(Transport *transport, bint both) noexcept nogil:
    shutdown(transport.fd, SHUT_RDWR if both else SHUT_WR)


cdef void transport_abort(Transport *transport) noexcept nogil:
    c_reset_on_close(transport.fd)


cdef int64_t transport_unacknowledged(Transport *transport) noexcept nogil:
    cdef int64_t held = 0
    if transport.state != NULL:
        held = transport.state.kind.unacknowledged(transport)
    return held + c_unacknowledged(transport.fd)


cdef int64_t transport_quiet_ns(const Transport *transport) noexcept nogil:
    cdef int64_t quiet_ms = c_quiet_ms(transport.fd)
    return quiet_ms * 1000000 if quiet_ms >= 0 else -1
