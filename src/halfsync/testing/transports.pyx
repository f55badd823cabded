"""A transport that makes difficult everything that a transport may: for tests of the code above the seam.

It moves bytes over a plain socket. But it begins with a handshake; it gives and takes fewer bytes than it could; it
waits to write when it must read, and to read when it must write; it holds back bytes that no event of the socket
reports; it cannot send files; its end may have to wait; and, like TLS, it must be given the same bytes again after a
send that had to wait. It is deterministic for one seed and one order of connections. Only in checks builds.
"""
from libc.errno cimport EAGAIN, ENOMEM, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.uio cimport iovec

from halfsync.native.checks cimport check
from halfsync.native.poll cimport POLLIN, POLLOUT, poll, pollfd
from halfsync.native.sync cimport add_llong, atomic_llong
from halfsync.transport.profiles cimport Profile
from halfsync.transport.transport cimport (
    MSG_DONTWAIT, MSG_NOSIGNAL, PEEK_BYTES, PEEK_ENDED, PEEK_NOTHING, PEER_HERE, PEER_GONE, PEER_ENDED,
    Transport as NativeTransport, TransportKind, TransportState, WANT_READ, WANT_WRITE, c_recv, c_send, transport_abort,
    transport_choose, transport_close, transport_cut, transport_finish, transport_handshake, transport_may_move,
    transport_open,
    transport_peek, transport_pending, transport_presence, transport_receive, transport_send_bytes, transport_send_file,
    transport_send_whole, transport_shakes_hands, transport_unacknowledged,
)

cdef enum:
    HELD_BYTES = 8192
    SENT_MOST = 16384         # of one send
    STEPS_MOST = 4            # of a handshake

ctypedef struct State:
    TransportState base
    uint64_t random
    char held[HELD_BYTES]     # received, and not given out yet
    uint32_t start            # of those that are left
    uint32_t length           # of those that are left
    uint8_t steps             # left of the handshake, then of the end
    uint8_t open              # the handshake is done
    uint8_t waited            # the last call returned a want that was already fulfilled: this one does not
    int repeat                # first byte of a send that had to wait; -1: none did

cdef atomic_llong opened
cdef uint64_t seed = 0
cdef TransportKind kind


cdef State *state_of(NativeTransport *transport) noexcept nogil:
    return <State *> transport.state


cdef uint32_t draw(State *state, uint32_t below) noexcept nogil:
    """Return a number from 0 to below - 1 (splitmix64)."""
    cdef uint64_t mixed
    state.random += <uint64_t> 0x9E3779B97F4A7C15
    mixed = state.random
    mixed = (mixed ^ (mixed >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    mixed = (mixed ^ (mixed >> 27)) * <uint64_t> 0x94D049BB133111EB
    return <uint32_t> ((mixed ^ (mixed >> 31)) % below)


cdef bint is_ready(NativeTransport *transport, short events) noexcept nogil:
    """Return whether the socket is ready now. The transport never waits for anything that may not come."""
    cdef pollfd watched
    watched.fd = transport.fd
    watched.events = events
    return poll(&watched, 1, 0) > 0


cdef int wait_for_nothing(NativeTransport *transport, bint receives) noexcept nogil:
    """Return a want that is already fulfilled, or 0: this time the call continues.

    A receive that wants to read has already read everything, so it never gets WANT_READ here.
    """
    cdef State *state = state_of(transport)
    if state.waited:
        state.waited = False
        return 0
    if draw(state, 4) == 0 and is_ready(transport, POLLOUT):
        state.waited = True
        return WANT_WRITE
    if not receives and draw(state, 4) == 0 and is_ready(transport, POLLIN):
        state.waited = True
        return WANT_READ
    return 0


cdef int begin(NativeTransport *transport, void *_settings) noexcept nogil:
    cdef State *state = <State *> calloc(1, sizeof(State))
    if state == NULL:
        return -ENOMEM
    state.base.kind = &kind
    state.random = seed + <uint64_t> add_llong(&opened, 1)
    state.steps = draw(state, STEPS_MOST)
    state.repeat = -1
    transport.state = &state.base
    return 0


cdef int shake_hands(NativeTransport *transport) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef int want
    check(not state.open, "a handshake is done twice")
    while state.steps > 0:
        want = wait_for_nothing(transport, False)
        if want != 0:
            return want
        state.steps -= 1
    state.open = True
    state.steps = draw(state, STEPS_MOST)
    return 0


cdef ssize_t receive(NativeTransport *transport, void *data, size_t room) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef ssize_t length
    cdef uint32_t given, at
    cdef int want
    state.open = True  # an adopted connection needs no handshake
    want = wait_for_nothing(transport, True)
    transport.drained = want != 0
    if want != 0:
        return want
    if state.length == 0:
        length = c_recv(transport.fd, state.held, 1 + draw(state, HELD_BYTES), MSG_DONTWAIT)
        if length < 0:
            if errno == EINTR or errno == EAGAIN:
                transport.drained = True
                return WANT_READ
            return -errno
        if length == 0:
            return 0
        state.start = 0
        state.length = <uint32_t> length
    given = 1 + draw(state, state.length)
    if draw(state, 2):
        given = state.length
    if given > room:
        given = <uint32_t> room
    for at in range(given):
        (<char *> data)[at] = state.held[state.start + at]
    state.start += given
    state.length -= given
    return given


cdef ssize_t send(NativeTransport *transport, iovec *vectors, int count, bint more) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef size_t length
    cdef ssize_t sent
    cdef uint8_t first
    cdef int want
    state.open = True
    while count > 1 and vectors.iov_len == 0:
        vectors += 1
        count -= 1
    check(vectors.iov_len > 0, "nothing is to be sent")
    first = (<uint8_t *> vectors.iov_base)[0]
    check(state.repeat < 0 or state.repeat == first, "other bytes are sent than those that had to wait")
    want = wait_for_nothing(transport, False)
    if want == 0:
        length = 1 + draw(state, SENT_MOST)
        if length > vectors.iov_len or draw(state, 2):
            length = vectors.iov_len
        sent = c_send(transport.fd, vectors.iov_base, length, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent >= 0:
            state.repeat = -1
            return sent
        if errno != EAGAIN and errno != EINTR:
            return -errno
        want = WANT_WRITE
    state.repeat = first
    return want


cdef bint send_whole(NativeTransport *transport, const char *data, size_t length) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef ssize_t sent
    if state.repeat >= 0:
        return False
    sent = c_send(transport.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent > 0 and <size_t> sent < length:
        transport_cut(transport, True)
    return sent == <ssize_t> length


cdef size_t pending(NativeTransport *transport) noexcept nogil:
    return state_of(transport).length


cdef int finish(NativeTransport *transport) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef int want
    check(state.repeat < 0, "the end is sent before bytes that had to wait")
    while state.steps > 0:
        want = wait_for_nothing(transport, False)
        if want != 0:
            return want
        state.steps -= 1
    return 0


cdef int64_t unacknowledged(NativeTransport *transport) noexcept nogil:
    return 0


cdef bint may_move(NativeTransport *transport) noexcept nogil:
    return state_of(transport).length == 0 and state_of(transport).repeat < 0


cdef void end(NativeTransport *transport) noexcept nogil:
    free(transport.state)
    transport.state = NULL


kind.computes = True
kind.client_begins = False
kind.open = begin
kind.handshake = shake_hands
kind.receive = receive
kind.send = send
kind.send_file = NULL
kind.send_whole = send_whole
kind.pending = pending
kind.finish = finish
kind.unacknowledged = unacknowledged
kind.may_move = may_move
kind.close = end


def use(uint64_t number):
    """Let all servers of this process, and of processes that it forks, use the difficult transport from now on."""
    global seed
    seed = number * 1000003
    transport_choose(&kind)


def use_plain():
    """Use plain sockets again."""
    transport_choose(NULL)


cdef class Transport:
    """A transport of the chosen kind over a connected socket, which it closes. Results are those of its functions."""
    cdef NativeTransport native
    cdef Profile profile

    def __init__(self, int fd, Profile profile=None):
        """profile: the kind of transport; None: the chosen one."""
        self.profile = profile
        if transport_open(&self.native, fd, NULL if profile is None else &profile.native) < 0:
            raise MemoryError

    def close(self):
        transport_close(&self.native)

    def handshake(self):
        return transport_handshake(&self.native) if transport_shakes_hands(&self.native) else 0

    def receive(self, size_t room):
        """Return the received bytes, or a number."""
        cdef bytearray data = bytearray(room)
        cdef ssize_t length = transport_receive(&self.native, <char *> data, room)
        return bytes(data[:length]) if length >= 0 else length

    def send(self, bytes data):
        return transport_send_bytes(&self.native, data, len(data), False)

    def send_file(self, int fd, int64_t offset, int64_t length):
        return transport_send_file(&self.native, fd, offset, length)

    def send_whole(self, bytes data):
        transport_send_whole(&self.native, data, len(data))

    def finish(self):
        return transport_finish(&self.native)

    def cut(self, bint both):
        transport_cut(&self.native, both)

    def abort(self):
        transport_abort(&self.native)

    @property
    def drained(self):
        return bool(self.native.drained)

    @property
    def pending(self):
        return transport_pending(&self.native)

    @property
    def peek(self):
        return transport_peek(&self.native)

    @property
    def presence(self):
        return transport_presence(&self.native)

    @property
    def unacknowledged(self):
        return transport_unacknowledged(&self.native)

    @property
    def may_move(self):
        return transport_may_move(&self.native)


READ, WRITE = WANT_READ, WANT_WRITE
NOTHING, BYTES, ENDED = PEEK_NOTHING, PEEK_BYTES, PEEK_ENDED
HERE, SILENT, GONE = PEER_HERE, PEER_ENDED, PEER_GONE
