# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Hand a connection over to another process when this one leaves, and adopt those of processes that have left."""

from libc.errno cimport EMFILE
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy
from posix.unistd cimport close

from halfsync.blocking.connection cimport close_client, count_open, open_client
from halfsync.blocking.idle_lists cimport rise
from halfsync.blocking.records cimport CARRY_DRAIN, CARRY_LEAVE
from halfsync.exchange.exchange cimport Exchange, exchange_room, pool_get
from halfsync.listening.endpoints cimport ENDPOINT_UNKNOWN, endpoint_at, endpoint_find
from halfsync.native.sync cimport add_llong, cas_uint, monotonic_ns
from halfsync.shared.handoff_queue cimport (
    HANDOVER_BYTES, HANDOVER_DESERTED, HANDOVER_OVER, HANDOVER_REFUSED, HANDOVER_SENT, HANDOVER_SHORT, HANDOVER_TAKEN,
    handover_send, handover_take,
)
from halfsync.transport.transport cimport transport_may_move

from halfsync.runtime.originals import os


cdef bint hand_over(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Hand a connection at rest over to another process: between two requests, or with a part of a head.

    Returns True once it is closed here. False: the queue is full, or nobody is left who could adopt; then the
    server drains from now on.
    """
    cdef unsigned int command = CARRY_LEAVE
    cdef Exchange *exchange = client.exchange
    cdef Handover handover
    cdef int sent
    if not rise(carrier, client):
        return False
    handover.data = NULL
    handover.length = 0
    if exchange != NULL:
        handover.data = exchange.data + exchange.used
        handover.length = exchange.filled - exchange.used
    if client.kept != NULL or handover.length > HANDOVER_BYTES or not transport_may_move(&client.transport):
        return False
    handover.fd = client.transport.fd
    handover.endpoint = endpoint_at(carrier.endpoints, client.listener)[0]
    handover.awaits_proxy = carrier.proxies != NULL and not client.greeted
    handover.requests = client.requests
    handover.address_length = client.address_length
    memcpy(handover.address, client.address, client.address_length)
    sent = handover_send(carrier.leaving_fd, &handover)
    if sent == HANDOVER_DESERTED:
        cas_uint(&carrier.tally.command, &command, CARRY_DRAIN)
    if sent != HANDOVER_SENT:
        return False
    close_client(carrier, client)
    add_llong(&carrier.tally.handed_over, 1)
    return True


cdef Client adopt(CarrierRecord *carrier, int queue):
    """Take over a connection that another process has handed over. Returns a Client, or None when none waits.

    queue: the reading end. Raises OSError when descriptors or memory are short, and EOFError when nobody can hand over
    any more. For the thread that accepts.
    """
    cdef char buffer[HANDOVER_BYTES]
    cdef Handover handover
    cdef int taken = HANDOVER_REFUSED
    while taken == HANDOVER_REFUSED:
        taken = handover_take(queue, &handover, buffer)
        # Whether it begins with a PROXY header was decided where it was accepted; here nobody may read it.
        if taken == HANDOVER_TAKEN and handover.awaits_proxy and carrier.proxies == NULL:
            close(handover.fd)
            taken = HANDOVER_REFUSED
    if taken == HANDOVER_SHORT:
        raise OSError(EMFILE, os.strerror(EMFILE))
    if taken == HANDOVER_OVER:
        raise EOFError
    if taken != HANDOVER_TAKEN:
        return None
    return begin(carrier, &handover)


cdef Client begin(CarrierRecord *carrier, const Handover *handover):
    """Make a client of a record: as if it had been accepted here, and its bytes been received just now."""
    cdef Client made = Client.__new__(Client)
    cdef ClientRecord *client = &made.record
    cdef const char *data = handover.data
    cdef uint32_t left = handover.length
    cdef int listener = endpoint_find(carrier.endpoints, &handover.endpoint)
    cdef char *to
    cdef size_t room
    if listener == ENDPOINT_UNKNOWN:  # memory is short
        close(handover.fd)
        return None
    if not open_client(client, handover.fd):
        return None
    client.shook_hands = True
    client.address_length = handover.address_length
    memcpy(client.address, handover.address, handover.address_length)
    client.listener = <uint16_t> listener
    client.greeted = not handover.awaits_proxy
    client.adopted = True
    client.requests = handover.requests
    client.put_ns = client.idle_ns = monotonic_ns()
    add_llong(&carrier.tally.adopted, 1)
    count_open(carrier, 1)
    if left > 0:
        client.exchange = pool_get(&carrier.pool)
        client.unframed = True
    while left > 0 and client.exchange != NULL:
        to = exchange_room(client.exchange, &carrier.limits, &room)
        if to == NULL:
            break
        room = min(room, <size_t> left)
        memcpy(to, data, room)
        client.exchange.filled += <uint32_t> room
        data += room
        left -= <uint32_t> room
    if left > 0:  # memory is short
        close_client(carrier, client)
        return None
    return made
