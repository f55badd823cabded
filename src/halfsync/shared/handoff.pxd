# When a connection may move to another process, what its record says, and which record this process adopts: the rules
# for every model. The queue itself is in handoff_queue. Any thread; nothing here blocks.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy
from posix.unistd cimport close

from halfsync.http.trust cimport ADDRESS_BYTES
from halfsync.listening.endpoints cimport ENDPOINT_UNKNOWN, Endpoint, EndpointTable, endpoint_find
from halfsync.native.sync cimport atomic_uint
from halfsync.shared.command cimport COMMAND_DRAIN, command_give
from halfsync.shared.handoff_queue cimport (
    HANDOFF_BYTES, HANDOFF_INVALID, HANDOFF_NO_READER, HANDOFF_TAKEN, HANDOFF_TOO_LONG, HandoffRecord, handoff_send,
    handoff_take,
)
from halfsync.transport.transport cimport Transport, transport_may_move

cdef enum:
    HANDOFF_RETRY_NS = 5000000  # until the next attempt, after the queue was full
    HANDOFF_RETRY_MAX_NS = 80000000


cdef inline int64_t next_handoff_retry(int64_t pause) noexcept nogil:
    """Return the pause after an attempt that followed a pause. It grows where each connection has a thread that tries.
    """
    return min(pause * 2, <int64_t> HANDOFF_RETRY_MAX_NS)


cdef inline void handoff_describe(
    HandoffRecord *handoff, const Endpoint *endpoint, bint awaits_proxy, uint32_t requests, const uint8_t *address,
    uint8_t address_length
) noexcept nogil:
    """Fill in what a record says of a connection, but not its bytes.

    awaits_proxy: a PROXY header must come first, and is not complete yet. address: of its client.
    """
    handoff.endpoint = endpoint[0]
    handoff.awaits_proxy = awaits_proxy
    handoff.requests = requests
    handoff.address_length = min(address_length, <uint8_t> ADDRESS_BYTES)
    memcpy(handoff.address, address, handoff.address_length)
    handoff.data = NULL
    handoff.length = 0


cdef inline int handoff_offer(
    int queue, atomic_uint *command, HandoffRecord *handoff, Transport *transport, bint has_state
) noexcept nogil:
    """Offer a connection to the other processes. Returns a HandoffSent. HANDOFF_SENT: close the descriptor here.

    The caller owns it. It must be between two requests, or with a part of a head: data and length are what was received
    and not framed. It stays if its bridge keeps something (has_state), if it has too many bytes, or if its transport
    cannot go on elsewhere: HANDOFF_TOO_LONG. Once no process is left that could adopt it, the server drains: `command`
    says so from then on.
    """
    cdef int sent
    if has_state or handoff.length > HANDOFF_BYTES or not transport_may_move(transport):
        return HANDOFF_TOO_LONG
    handoff.fd = transport.fd
    sent = handoff_send(queue, handoff)
    if sent == HANDOFF_NO_READER:
        command_give(command, COMMAND_DRAIN)
    return sent


cdef inline int handoff_adopt(
    int queue, EndpointTable *endpoints, bint reads_proxy, HandoffRecord *handoff, char *buffer, int *listener
) noexcept nogil:
    """Take the next connection that this process can go on with, and the index of its listener. Returns a HandoffTaken.

    HANDOFF_INVALID: one was taken, and closed. This process cannot go on with it: its PROXY header must come first, and
    none is read here (reads_proxy), or memory is short. HANDOFF_NO_DESCRIPTOR: adopt nothing for ACCEPT_PAUSE_NS.
    HANDOFF_NO_WRITER: adopt nothing more. The process goes on with a connection as if it had been accepted here, and
    its bytes received just now. One past its client's limit is kept all the same.
    """
    cdef int taken = handoff_take(queue, handoff, buffer)
    if taken != HANDOFF_TAKEN:
        return taken
    if not handoff.awaits_proxy or reads_proxy:
        listener[0] = endpoint_find(endpoints, &handoff.endpoint)
        if listener[0] != ENDPOINT_UNKNOWN:
            return HANDOFF_TAKEN
    close(handoff.fd)
    return HANDOFF_INVALID
