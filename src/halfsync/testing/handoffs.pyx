"""A thin Python wrapper of the records of connections that move to another process. Only in checks builds."""
from libc.string cimport memcpy, memset

from halfsync.listening.endpoints cimport ENDPOINT_BYTES, Endpoint, Endpoints
from halfsync.native.sync cimport atomic_uint, init_uint, load_uint
from halfsync.shared.command cimport COMMAND_DRAIN, COMMAND_HANDOFF
from halfsync.shared.handoff cimport handoff_adopt, handoff_describe, handoff_offer, next_handoff_retry
from halfsync.shared.handoff_queue cimport HANDOFF_BYTES, HANDOFF_TAKEN, HandoffRecord, handoff_send, handoff_take
from halfsync.transport.transport cimport Transport, TransportKind, TransportState

SENT = ("sent", "later", "too long", "deserted")
TAKEN = ("taken", "none", "short", "refused", "over")
MOST = <int> HANDOFF_BYTES


def send(
    int queue, int fd, *, bytes endpoint=bytes(28), awaits_proxy=False, requests=0, bytes address=b"", bytes data=b""
):
    cdef HandoffRecord handoff
    cdef const unsigned char *sockaddr = address
    cdef const unsigned char *listener = endpoint
    handoff.fd = fd
    memcpy(handoff.endpoint.address, listener, ENDPOINT_BYTES)
    handoff.awaits_proxy = awaits_proxy
    handoff.requests = requests
    handoff.address_length = len(address)
    memcpy(handoff.address, sockaddr, len(address))
    handoff.data = data
    handoff.length = len(data)
    return SENT[handoff_send(queue, &handoff)]


def take(int queue):
    cdef HandoffRecord handoff
    cdef char buffer[HANDOFF_BYTES]
    cdef int taken = handoff_take(queue, &handoff, buffer)
    if taken != HANDOFF_TAKEN:
        return TAKEN[taken]
    return (
        handoff.fd, handoff.endpoint.address[:ENDPOINT_BYTES], bool(handoff.awaits_proxy), handoff.requests,
        handoff.address[:handoff.address_length], handoff.data[:handoff.length],
    )


cdef bint never_moves(Transport *transport) noexcept nogil:
    return False

cdef TransportKind rooted
cdef TransportState rooted_state
rooted.may_move = never_moves
rooted_state.kind = &rooted


def offer(
    int queue, int fd, *, bytes endpoint=bytes(28), bint awaits_proxy=False, int requests=0, bytes address=b"",
    bytes data=b"", bint has_state=False, bint may_move=True
):
    """Return what became of it, and whether the server drains from now on."""
    cdef HandoffRecord handoff
    cdef Transport transport
    cdef Endpoint listener
    cdef atomic_uint command
    cdef const unsigned char *sockaddr = address
    cdef const unsigned char *listener_address = endpoint
    memset(&transport, 0, sizeof(transport))
    transport.fd = fd
    if not may_move:
        transport.state = &rooted_state
    memcpy(listener.address, listener_address, ENDPOINT_BYTES)
    init_uint(&command, COMMAND_HANDOFF)
    handoff_describe(&handoff, &listener, awaits_proxy, requests, sockaddr, len(address))
    handoff.data = data
    handoff.length = len(data)
    sent = handoff_offer(queue, &command, &handoff, &transport, has_state)
    return SENT[sent], load_uint(&command) == COMMAND_DRAIN


def adopt(int queue, Endpoints endpoints not None, *, bint reads_proxy):
    """Return the index of the listener, what the record says, and the bytes; or why there is none."""
    cdef HandoffRecord handoff
    cdef char buffer[HANDOFF_BYTES]
    cdef int listener = -1
    cdef int taken = handoff_adopt(queue, &endpoints.table, reads_proxy, &handoff, buffer, &listener)
    if taken != HANDOFF_TAKEN:
        return TAKEN[taken]
    return (
        handoff.fd, listener, bool(handoff.awaits_proxy), handoff.requests, handoff.address[:handoff.address_length],
        handoff.data[:handoff.length],
    )


def next_retry(pause_ns):
    return next_handoff_retry(pause_ns)
