# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""From silence to a complete request: idle, read the PROXY header where there must be one, receive head and body.

`advance` is the way in. While the server leaves, a connection that is at rest is handed over: between two requests, or
with a part of a head. Where that cannot be at once it is tried again every few milliseconds, and it is served
meanwhile.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

from halfsync.blocking.client_limit cimport admission_tell
from halfsync.blocking.connection cimport drop_exchange
from halfsync.blocking.handing_off cimport hand_over
from halfsync.blocking.idle_lists cimport is_told, park, rest, rise, stir
from halfsync.blocking.records cimport (
    CARRY_LEAVE, CARRY_ON, ENDED, PARKED, REST_FRESH, REST_IDLE, REST_NOT, SCRATCH_BYTES, is_leaving,
    is_told_to_end,
)
from halfsync.blocking.refusing cimport note_refusal
from halfsync.blocking.waiting cimport (
    WAITED_LATE, WAITED_READY, WAITED_STOPPED, WAITED_TOLD, others_wait, wait, wait_idle,
)
from halfsync.exchange.exchange cimport (
    EXCHANGE_BODY, EXCHANGE_HEAD, EXCHANGE_PROXY, Exchange, exchange_follow, exchange_has_more, exchange_received,
    exchange_room, pool_get,
)
from halfsync.exchange.interim cimport send_continue
from halfsync.exchange.rates cimport Pace, pace_begin, pace_fails
from halfsync.http.proxy_protocol cimport PROXY_V2_BYTES
from halfsync.native.sync cimport add_llong, load_uint, monotonic_ns
from halfsync.observe.refusals cimport REASON_CLIENT, REASON_LATE_PROXY
from halfsync.shared.client_counts cimport ENTER_REFUSED, client_key
from halfsync.transport.transport cimport (
    WANT_READ, is_want, transport_abort, transport_receive, transport_shakes_hands,
)

cdef int64_t HAND_OVER_AGAIN_NS = 5000000  # after the queue was full; doubled each time, since each thread tries
cdef int64_t HAND_OVER_MOST_NS = 80000000
cdef int64_t IDLE_NS = 1000000000  # after which it is closed for those who wait for its thread


cdef int advance(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Go on until a request is complete (1), must be refused (-status), or the connection is ENDED or PARKED."""
    cdef Exchange *exchange = client.exchange
    cdef int result = 0
    if not client.shook_hands and not shake_hands(carrier, client):
        return ENDED
    if exchange == NULL:
        result = idle(carrier, client)
        if result <= 0:
            return result
        exchange = client.exchange = pool_get(&carrier.pool)
        if exchange == NULL:
            return ENDED
    elif not client.unframed and exchange_has_more(exchange):  # what was received behind the last request
        exchange_follow(exchange)
    client.unframed = False
    exchange.started_ns = monotonic_ns()
    result = 0
    if carrier.proxies != NULL and not client.greeted:
        exchange.phase = EXCHANGE_PROXY
        result = greet(carrier, client)
        if result == 0 and exchange.filled == 0:
            drop_exchange(carrier, client)
            return advance(carrier, client)
    elif exchange.filled > 0:
        result = exchange_received(exchange, &carrier.limits, exchange.data + exchange.filled, 0)
    if result != 0:
        return result
    client.idle_ns = 0
    return receive(carrier, client)


cdef bint shake_hands(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Let the transport of a new connection do its handshake, if it has one. Returns False when the connection ends."""
    cdef int64_t deadline = client.idle_ns + carrier.timeouts.first_byte
    cdef int result = 0
    while transport_shakes_hands(&client.transport):
        result = client.transport.kind.handshake(&client.transport)
        if result >= 0:
            break
        if not is_want(result) or wait_more(carrier, client, result, deadline, False) != WAITED_READY:
            return False
    client.shook_hands = True
    return True


cdef int idle(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Wait for the first byte of a request. Returns 1 when it is there, else ENDED or PARKED.

    While the server leaves the connection is handed over, and then has ended here.
    """
    cdef int64_t allowed = carrier.timeouts.keep_alive if client.requests > 0 else carrier.timeouts.first_byte
    cdef int64_t deadline = client.idle_ns + allowed
    cdef int64_t since = client.sent_ns if client.sent_ns > 0 else client.idle_ns
    cdef int64_t now
    cdef int64_t look
    cdef int64_t pause = HAND_OVER_AGAIN_NS
    cdef int waited
    cdef bint leaving, ends
    while True:
        if not rest(carrier, client, REST_IDLE if client.requests > 0 else REST_FRESH, since):
            return ENDED
        leaving = is_leaving(carrier)
        if leaving:
            if hand_over(carrier, client):
                return ENDED
            leaving = is_leaving(carrier)  # no more where nobody is left who could adopt
        look = min(deadline, monotonic_ns() + pause) if leaving else deadline
        waited = wait_idle(carrier, &client.transport, WANT_READ, look, not leaving)  # its bell has rung
        if waited == WAITED_READY:
            return 1 if rise(carrier, client) else ENDED
        now = monotonic_ns()
        if waited == WAITED_LATE and now < deadline and not others_wait(carrier):
            if leaving:
                pause = min(pause * 2, HAND_OVER_MOST_NS)
            continue
        if leaving or waited != WAITED_TOLD or not is_leaving(carrier):
            break
    ends = load_uint(&carrier.tally.command) > CARRY_LEAVE or carrier.waiting == NULL
    if ends and waited == WAITED_TOLD and client.requests == 0:  # its first request may be on its way
        deadline = min(deadline, client.idle_ns + carrier.timeouts.newcomer)
        waited = wait(carrier, &client.transport, WANT_READ, deadline, False, False)
        return 1 if waited == WAITED_READY and rise(carrier, client) else ENDED
    if waited == WAITED_STOPPED or ends or now >= deadline:
        return ENDED
    if not leaving and not carrier.limits.raw and client.requests > 0 and now - client.idle_ns > IDLE_NS:
        return ENDED
    client.put_ns = now
    return PARKED if park(carrier, client) else ENDED


cdef int greet(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Receive the PROXY header that a connection begins with; then the client is who that tells.

    Returns what exchange_received says of the bytes behind it, or ENDED.
    """
    cdef char scratch[PROXY_V2_BYTES]
    cdef Exchange *exchange = client.exchange
    cdef int64_t deadline = exchange.started_ns + carrier.timeouts.head
    cdef char *data
    cdef size_t room
    cdef ssize_t length
    cdef int result = 0
    if exchange.filled > 0:  # it was adopted with a part of it
        result = exchange_received(exchange, &carrier.limits, exchange.data + exchange.filled, 0)
    while exchange.phase == EXCHANGE_PROXY and result >= 0:
        room = sizeof(scratch)
        data = exchange_room(exchange, &carrier.limits, &room)
        if data == NULL:
            data = scratch
            room = sizeof(scratch)
        length = transport_receive(&client.transport, data, room)
        if length > 0:
            result = exchange_received(exchange, &carrier.limits, data, length)
        elif is_want(length):
            if wait_more(carrier, client, <int> length, deadline, False) == WAITED_STOPPED:
                return ENDED
        else:
            add_llong(&carrier.tally.left, 1)
            return ENDED
        if monotonic_ns() >= deadline:
            break
    if exchange.phase == EXCHANGE_PROXY:
        add_llong(&carrier.tally.refused, 1)
        note_refusal(carrier, client, 0, NULL if result < 0 else REASON_LATE_PROXY)
        return ENDED
    rise(carrier, client)
    client.greeted = True
    client.idle_ns = exchange.started_ns = monotonic_ns()
    if exchange.proxy.address_length > 0:
        client.address_length = exchange.proxy.address_length
        memcpy(client.address, exchange.proxy.address, client.address_length)
        if carrier.admission != NULL and not recognize(carrier, client):
            return -503
    return result


cdef bint recognize(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Count a connection for the client that its PROXY header tells. Returns False when that has its limit."""
    cdef int64_t place = admission_tell(
        carrier.admission, client.place, client_key(client.address, client.address_length))
    if place != ENTER_REFUSED:
        client.place = <uint32_t> place
        return True
    add_llong(&carrier.tally.shed, 1)
    add_llong(&carrier.tally.limited, 1)
    client.reason = REASON_CLIENT
    if carrier.limits.raw:
        transport_abort(&client.transport)
    return False


cdef int receive(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Receive the rest of a request whose first byte has come. Returns as advance."""
    cdef char scratch[SCRATCH_BYTES]
    cdef Exchange *exchange = client.exchange
    cdef Pace pace  # of the body
    cdef bint in_body = exchange.phase == EXCHANGE_BODY
    cdef int64_t since = monotonic_ns()  # when the body last went on
    cdef int64_t look
    cdef int64_t pause = HAND_OVER_AGAIN_NS
    cdef char *data
    cdef size_t room
    cdef ssize_t length
    cdef int result
    pace_begin(&pace, since)
    while True:
        if exchange.want_continue:
            exchange.want_continue = False
            send_continue(&client.transport)
        room = SCRATCH_BYTES
        data = exchange_room(exchange, &carrier.limits, &room)
        if data == NULL:
            data = scratch
            room = SCRATCH_BYTES
        length = transport_receive(&client.transport, data, room)
        if length > 0:
            result = exchange_received(exchange, &carrier.limits, data, length)
            if client.rests != REST_NOT and (result != 0 or exchange.phase != EXCHANGE_HEAD):
                rise(carrier, client)
            if result != 0:
                return result
            if exchange.phase == EXCHANGE_BODY:
                since = monotonic_ns()
                if in_body:
                    pace.moved += length
                else:
                    in_body = True
                    pace_begin(&pace, since)
        elif is_want(length):
            look = next_look(carrier, exchange, &pace, since)
            if exchange.phase == EXCHANGE_HEAD:
                result = wait_head(carrier, client, <int> length, look, &pause)
            else:
                result = wait(carrier, &client.transport, <int> length, look, False, False)
            if result == WAITED_READY:
                continue
            if result == WAITED_STOPPED:
                return ENDED
        else:
            if exchange.filled > 0:
                add_llong(&carrier.tally.left, 1)
            return ENDED
        if is_late(carrier, exchange, &pace, since):
            return -408


cdef int wait_head(
    CarrierRecord *carrier, ClientRecord *client, int want, int64_t deadline, int64_t *pause
) noexcept nogil:
    """Wait for more of a head. While the server leaves the connection is handed over, and then has STOPPED here.

    pause: ns until that is tried again; 0 once whoever would tell of leaving is dead. Returns a Waited.
    """
    cdef bint bell
    cdef bint signalled = is_told_to_end(carrier)
    cdef int waited
    if is_leaving(carrier):
        if hand_over(carrier, client):
            return WAITED_STOPPED
        deadline = min(deadline, monotonic_ns() + max(pause[0], HAND_OVER_AGAIN_NS))
        pause[0] = min(pause[0] * 2, HAND_OVER_MOST_NS)
    bell = pause[0] > 0 and load_uint(&carrier.tally.command) == CARRY_ON
    waited = wait_more(carrier, client, want, deadline, bell)
    if waited == WAITED_TOLD and is_told_to_end(carrier) == signalled and load_uint(&carrier.tally.command) == CARRY_ON:
        pause[0] = 0
    return waited


cdef int wait_more(
    CarrierRecord *carrier, ClientRecord *client, int want, int64_t deadline, bint bell
) noexcept nogil:
    """Wait for more of a head, or of a handshake. During the wait the connection may be closed for a newcomer.

    Returns a Waited. It is WAITED_STOPPED if the connection was closed for a newcomer.
    """
    cdef int64_t since = client.idle_ns if client.exchange == NULL else client.exchange.started_ns
    cdef int waited
    if not rest(carrier, client, REST_FRESH, since):
        return WAITED_STOPPED
    waited = wait(carrier, &client.transport, want, deadline, bell, carrier.is_child)
    if not stir(carrier, client) or (waited == WAITED_TOLD and is_told(carrier)):
        return WAITED_STOPPED
    return waited


cdef int64_t next_look(
    const CarrierRecord *carrier, const Exchange *exchange, const Pace *pace, int64_t since
) noexcept nogil:
    """Return when a request must be complete, or have gone on since `since`, or have its pace judged."""
    cdef int64_t deadline
    if exchange.phase != EXCHANGE_BODY:
        return exchange.started_ns + carrier.timeouts.head
    deadline = min(since + carrier.timeouts.body, pace.since + carrier.timeouts.window)
    if carrier.timeouts.request > 0:
        deadline = min(deadline, exchange.started_ns + carrier.timeouts.request)
    return deadline


cdef bint is_late(const CarrierRecord *carrier, const Exchange *exchange, Pace *pace, int64_t since) noexcept nogil:
    """Tell whether a request has not come as fast as it must."""
    cdef int64_t now = monotonic_ns()
    if exchange.phase == EXCHANGE_BODY and pace_fails(
        pace, now, carrier.timeouts.window, carrier.timeouts.least_received
    ):
        return True
    return now >= next_look(carrier, exchange, pace, since)
