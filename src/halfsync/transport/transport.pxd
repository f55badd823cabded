# The seam between a connection and its bytes (decisions/0034). A plain socket, TCP or unix, is the first kind of
# transport.
#
# Only the owner of the connection calls these functions; none blocks, and none needs the GIL. Another thread that keeps
# the owner from closing the transport may call three of them: transport_peek, transport_cut and transport_abort.
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset
from posix.uio cimport iovec

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    const int MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL
    ssize_t c_recv "recv" (int fd, void *data, size_t length, int flags)
    ssize_t c_send "send" (int fd, const void *data, size_t length, int flags)
    ssize_t c_sendmsg "sendmsg" (int fd, const msghdr *message, int flags)

# What a call waits for, in place of a result: repeat that call once the socket can be read from, or written to. It may
# be the opposite of the call's own direction. Both are below every -errno.
cdef enum:
    WANT_READ = -10001
    WANT_WRITE = -10002

cdef enum Peek:
    PEEK_NOTHING
    PEEK_BYTES                # something can be received
    PEEK_ENDED                # the peer will send no more, or is gone

cdef enum Peer:
    PEER_HERE
    PEER_ENDED                # it will send no more; it may still read
    PEER_GONE                 # the connection is dead

ctypedef struct Transport:
    TransportState *state     # NULL: a plain socket
    int fd                    # -1: closed
    uint8_t drained           # after a receive: nothing is left to receive before the next event of the socket
    # What a poller that watches the socket notes about it.
    uint8_t ended             # the peer will send no more
    uint8_t receive_wants_write  # the last receive must be repeated when the socket can be written to
    uint8_t send_wants_read   # the last send must be repeated when the socket can be read from

# What the state of each kind begins with.
ctypedef struct TransportState:
    const TransportKind *kind

# What a kind other than plain sockets does in its own way. Results are those of the functions below.
ctypedef struct TransportKind:
    uint8_t computes          # a step of the handshake may take a ms of a processor: not on the engine's thread
    uint8_t client_begins     # a handshake: there is nothing to do before the client has sent something
    int (*open)(Transport *transport, void *settings) noexcept nogil  # allocates the state
    int (*handshake)(Transport *transport) noexcept nogil  # NULL: there is none
    ssize_t (*receive)(Transport *transport, void *data, size_t room) noexcept nogil
    ssize_t (*send)(Transport *transport, iovec *vectors, int count, bint more) noexcept nogil
    int64_t (*send_file)(Transport *transport, int fd, int64_t offset, int64_t length) noexcept nogil  # NULL: use send
    bint (*send_whole)(Transport *transport, const char *data, size_t length) noexcept nogil
    size_t (*pending)(Transport *transport) noexcept nogil
    int (*finish)(Transport *transport) noexcept nogil
    int64_t (*unacknowledged)(Transport *transport) noexcept nogil
    bint (*may_move)(Transport *transport) noexcept nogil
    void (*close)(Transport *transport) noexcept nogil  # frees the state; the descriptor is closed afterwards

# What connections of one listener begin with. A profile without a kind, and NULL in place of a profile: plain sockets.
ctypedef struct TransportProfile:
    const TransportKind *kind
    void *settings            # the kind's own

# The kind of connections without a profile, for tests; NULL: plain sockets. Set before a server starts.
cdef void transport_choose(const TransportKind *kind) noexcept nogil

# Whether connections of any of these listeners have handshakes that compute. profiles: one for each, or NULL.
cdef bint transport_computes(const TransportProfile *profiles, int count) noexcept nogil

# Begin with a connected, non-blocking socket. Returns 0, or -errno: then the caller still owns the descriptor.
cdef int transport_open(Transport *transport, int fd, const TransportProfile *profile) noexcept nogil

# End in good order: say that nothing more will be sent, if the kind has a way to say so and can at once.
cdef void transport_take_leave(Transport *transport) noexcept nogil

# Free the state and close the descriptor.
cdef void transport_close(Transport *transport) noexcept nogil

# Send a part of a file. Returns bytes sent (0: the file is shorter than `length`), a WANT, or -errno. The caller has
# blocked SIGPIPE, as the engine's thread always has: sendfile has no flag as send has.
cdef int64_t transport_send_file(Transport *transport, int fd, int64_t offset, int64_t length) noexcept nogil

# Send a few bytes, all or none: an interim response. If they cannot be sent now, they are dropped.
cdef void transport_send_whole(Transport *transport, const char *data, size_t length) noexcept nogil

# Return a Peek: whether something can be received, without receiving it.
cdef int transport_peek(Transport *transport) noexcept nogil

# Return a Peer: whether it is there, as the system reports it.
cdef int transport_presence(Transport *transport) noexcept nogil

# Announce that nothing more will be sent. Returns 0 once that is done, a WANT, or -errno.
cdef int transport_finish(Transport *transport) noexcept nogil

# Stop sending, or, with `both`, sending and receiving, without announcing that what was sent is complete. Copies of the
# descriptor in other processes are cut too.
cdef void transport_cut(Transport *transport, bint both) noexcept nogil

# Make closing a reset: the peer must not take what it has for the whole.
cdef void transport_abort(Transport *transport) noexcept nogil

# Return how many sent bytes the peer has not acknowledged (SIOCOUTQ, tcp(7)), including those that the transport itself
# holds.
cdef int64_t transport_unacknowledged(Transport *transport) noexcept nogil

# Return how long ago the last bytes of the peer arrived, in ns, to a few ms (TCP_INFO, tcp(7)); -1: not known, as of a
# unix socket.
cdef int64_t transport_quiet_ns(const Transport *transport) noexcept nogil


cdef inline bint is_want(int64_t result) noexcept nogil:
    """Return whether a call must be repeated once the socket is ready."""
    return result == WANT_READ or result == WANT_WRITE


cdef inline bint transport_shakes_hands(const Transport *transport) noexcept nogil:
    """Return whether a new connection begins with a handshake."""
    return transport.state != NULL and transport.state.kind.handshake != NULL


cdef inline bint transport_handshake_computes(const Transport *transport) noexcept nogil:
    """Return whether a step of the handshake may take a ms of a processor. There must be a handshake."""
    return transport.state.kind.computes


cdef inline int transport_handshake(Transport *transport) noexcept nogil:
    """Go on with the handshake. Returns 0 once it is done, a WANT, or -errno."""
    return transport.state.kind.handshake(transport)


cdef inline bint transport_may_move(Transport *transport) noexcept nogil:
    """Return whether another process could continue with the descriptor alone."""
    return transport.state == NULL or transport.state.kind.may_move(transport)


cdef inline size_t transport_pending(Transport *transport) noexcept nogil:
    """Return how many bytes can be received that no event of the socket will report."""
    return 0 if transport.state == NULL else transport.state.kind.pending(transport)


cdef inline ssize_t transport_receive(Transport *transport, void *data, size_t room) noexcept nogil:
    """Receive. Returns bytes; 0: the peer's end; a WANT; or -errno. Sets `drained`.

    Fewer bytes than `room` do not mean that nothing is left: see `drained`.
    """
    cdef ssize_t length
    if transport.state != NULL:
        return transport.state.kind.receive(transport, data, room)
    while True:
        length = c_recv(transport.fd, data, room, MSG_DONTWAIT)
        if length >= 0:
            transport.drained = <size_t> length < room  # a stream socket that gives less than was asked for is empty
            return length
        if errno != EINTR:
            transport.drained = True
            return WANT_READ if errno == EAGAIN else -errno


cdef inline ssize_t transport_send(Transport *transport, iovec *vectors, int count, bint more) noexcept nogil:
    """Send from memory. more: further bytes follow at once. Returns bytes, at least one; a WANT; or -errno."""
    cdef msghdr message
    cdef ssize_t sent
    cdef int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (MSG_MORE if more else 0)
    if transport.state != NULL:
        return transport.state.kind.send(transport, vectors, count, more)
    while True:
        if count == 1:
            sent = c_send(transport.fd, vectors.iov_base, vectors.iov_len, flags)
        else:
            memset(&message, 0, sizeof(message))
            message.msg_iov = vectors
            message.msg_iovlen = count
            sent = c_sendmsg(transport.fd, &message, flags)
        if sent >= 0:
            return sent
        if errno != EINTR:
            return WANT_WRITE if errno == EAGAIN else -errno


cdef inline ssize_t transport_send_bytes(
    Transport *transport, const char *data, size_t length, bint more
) noexcept nogil:
    """Send bytes, as transport_send does."""
    cdef iovec vector
    vector.iov_base = <void *> data
    vector.iov_len = length
    return transport_send(transport, &vector, 1, more)


cdef inline bint pass_sent(iovec *vectors, int count, size_t sent) noexcept nogil:
    """Move vectors past bytes that were sent. Returns whether any are left."""
    cdef int position
    cdef bint left = False
    cdef size_t passed
    for position in range(count):
        passed = min(sent, vectors[position].iov_len)
        vectors[position].iov_base = <char *> vectors[position].iov_base + passed
        vectors[position].iov_len -= passed
        sent -= passed
        left = left or vectors[position].iov_len > 0
    return left
