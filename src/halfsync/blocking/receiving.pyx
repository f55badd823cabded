# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Receive a complete request: idle, read the PROXY header if there must be one, receive head and body.

`advance` is the entry point. While the server hands off, a connection is handed off if it is between two requests or
has received only a part of a head. If that is not possible at once, it is tried again every few milliseconds, and the
connection is served until then.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

from halfsync.blocking.client_limit cimport limit_identify
from halfsync.blocking.connection cimport drop_exchange
from halfsync.blocking.handing_off cimport handoff_connection
from halfsync.blocking.idle_lists cimport idle_enter, idle_leave, idle_park, idle_wake, is_evicted
from halfsync.blocking.overdue cimport note_silence
from halfsync.blocking.records cimport (
    ENDED, IDLE_KEEPALIVE, IDLE_NEW, IDLE_NONE, PARKED, SCRATCH_BYTES, has_sigterm, is_handing_off,
)
from halfsync.blocking.waiting cimport WAIT_READY, WAIT_STOPPED, WAIT_TIMEOUT, WAIT_WOKEN, others_wait, wait, wait_idle
from halfsync.exchange.deadlines cimport (
    AWAITS_BODY, AWAITS_FIRST_BYTE, AWAITS_HANDSHAKE, AWAITS_HEAD, AWAITS_REQUEST, LATE_STATUS, deadline_after,
    newcomer_deadline,
)
from halfsync.exchange.exchange cimport (
    EXCHANGE_BODY, EXCHANGE_HEAD, EXCHANGE_PROXY, Exchange, Limits, exchange_follow, exchange_has_more,
    exchange_note_framed, exchange_received, exchange_room, pool_get,
)
from halfsync.exchange.interim cimport send_continue
from halfsync.exchange.outcome cimport OUTCOME_DISCONNECTED, outcome_note
from halfsync.exchange.rates cimport Pace, is_too_slow, next_pace_check, pace_begin
from halfsync.exchange.reasons cimport REASON_CLIENT, REASON_GONE, REASON_LATE_PROXY
from halfsync.exchange.timeline cimport timeline_begin
from halfsync.http.proxy_protocol cimport PROXY_V2_BYTES
from halfsync.native.counting cimport count_shared
from halfsync.native.sync cimport load_uint, monotonic_ns
from halfsync.shared.client_counts cimport CLIENT_OVER_LIMIT, client_key
from halfsync.shared.command cimport COMMAND_HANDOFF, COMMAND_SERVE
from halfsync.shared.handoff cimport HANDOFF_RETRY_NS, next_handoff_retry
from halfsync.transport.transport cimport (
    WANT_READ, is_want, transport_handshake, transport_may_move, transport_receive, transport_shakes_hands,
)

# How far the body of a request has come.
ctypedef struct Progress:
    bint in_body              # some of it was received
    int64_t since             # ns: when some last was
    Pace pace

cdef int64_t IDLE_NS = 1000000000  # after which a connection is closed if others wait for its thread


cdef int advance(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Continue until a request is complete (1) or must be refused (-status), or the connection is ENDED or PARKED."""
    cdef Exchange *exchange = connection.exchange
    cdef int result = 0
    if not connection.shook_hands:
        result = shake_hands(driver, connection)
        if result <= 0:
            return result
    if exchange == NULL:
        result = idle(driver, connection)
        if result <= 0:
            return result
        exchange = connection.exchange = pool_get(&driver.pool)
        if exchange == NULL:
            return ENDED
    elif not connection.unframed and exchange_has_more(exchange):  # received after the last request
        exchange_follow(exchange)
    connection.unframed = False
    timeline_begin(&exchange.timeline, connection.accepted_ns, monotonic_ns())
    result = 0
    if driver.proxies != NULL and not connection.proxy_header_read:
        exchange.phase = EXCHANGE_PROXY
        result = read_proxy_header(driver, connection)
        if result == 0 and exchange.filled == 0:
            drop_exchange(driver, connection)
            return advance(driver, connection)
    elif exchange.filled > 0:
        result = exchange_received(exchange, &driver.limits, exchange.data + exchange.filled, 0)
    exchange_note_framed(exchange, exchange.timeline.first_byte_ns)
    if result != 0:
        return result
    connection.idle_ns = 0
    return receive(driver, connection)


cdef int shake_hands(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Let a new connection's transport do its handshake, if it has one. Return 1 once it is done, else ENDED or PARKED.

    In the pool a silent client does not hold the thread while other connections wait for one.
    """
    cdef int64_t deadline = deadline_after(&driver.timeouts, AWAITS_HANDSHAKE, connection.idle_ns, 0)
    cdef unsigned int command
    cdef int result = 0
    cdef int64_t now
    cdef int waited
    while transport_shakes_hands(&connection.transport):
        result = transport_handshake(&connection.transport)
        if result >= 0:
            connection.idle_ns = monotonic_ns()  # its first byte has a deadline of its own
            break
        if not is_want(result):
            return ENDED
        command = load_uint(&driver.shared.command)
        if command > COMMAND_HANDOFF:
            deadline = min(deadline, newcomer_deadline(&driver.timeouts, connection.idle_ns))
        if driver.waiting != NULL and command == COMMAND_SERVE:
            if not idle_enter(driver, connection, IDLE_NEW, connection.idle_ns):
                return ENDED
            waited = wait_idle(driver, &connection.transport, result, deadline, True)
            now = monotonic_ns()
            if waited in (WAIT_TIMEOUT, WAIT_WOKEN) and now < deadline:
                if others_wait(driver):
                    connection.put_ns = now
                    return PARKED if idle_park(driver, connection) else ENDED
                waited = WAIT_READY  # look again
            if not idle_wake(driver, connection):
                return ENDED
        else:
            waited = wait_more(driver, connection, result, deadline, command == COMMAND_SERVE)
        if waited == WAIT_WOKEN and command == COMMAND_SERVE and load_uint(&driver.shared.command) != COMMAND_SERVE:
            continue
        if waited != WAIT_READY:
            return ENDED
    connection.shook_hands = True
    return 1


cdef int idle(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Wait for the first byte of a request. Return 1 once it is there, else ENDED or PARKED.

    While the server hands off, the connection is handed off, and then has ENDED here.
    """
    cdef int64_t deadline = deadline_after(
        &driver.timeouts, AWAITS_REQUEST if connection.requests > 0 else AWAITS_FIRST_BYTE, connection.idle_ns, 0)
    cdef int64_t since = connection.sent_ns if connection.sent_ns > 0 else connection.idle_ns
    cdef int64_t began = monotonic_ns() if driver.overload != NULL else 0  # for note_silence
    cdef int64_t now
    cdef int64_t look
    cdef int64_t pause = HANDOFF_RETRY_NS
    cdef int waited
    cdef bint handing_off, ends
    while True:
        if not idle_enter(driver, connection, IDLE_KEEPALIVE if connection.requests > 0 else IDLE_NEW, since):
            return ENDED
        handing_off = is_handing_off(driver)
        if handing_off:
            if handoff_connection(driver, connection):
                return ENDED
            if not transport_may_move(&connection.transport):  # it can only end here; a request may be on its way
                deadline = min(deadline, newcomer_deadline(&driver.timeouts, monotonic_ns()))
                waited = wait(driver, &connection.transport, WANT_READ, deadline, False, False)
                return 1 if waited == WAIT_READY and idle_leave(driver, connection) else ENDED
            handing_off = is_handing_off(driver)  # False if no process is left that could adopt
        look = min(deadline, monotonic_ns() + pause) if handing_off else deadline
        # not the drain pipe while handing off: it is readable already
        waited = wait_idle(driver, &connection.transport, WANT_READ, look, not handing_off)
        if waited == WAIT_READY:
            return 1 if idle_leave(driver, connection) else ENDED
        now = monotonic_ns()
        if waited == WAIT_TIMEOUT and now < deadline and not others_wait(driver):
            if handing_off:
                pause = next_handoff_retry(pause)
            continue
        if handing_off or waited != WAIT_WOKEN or not is_handing_off(driver):
            break
    ends = load_uint(&driver.shared.command) > COMMAND_HANDOFF or driver.waiting == NULL
    if ends and waited == WAIT_WOKEN and connection.requests == 0:
        deadline = min(deadline, newcomer_deadline(&driver.timeouts, connection.idle_ns))
        waited = wait(driver, &connection.transport, WANT_READ, deadline, False, False)
        return 1 if waited == WAIT_READY and idle_leave(driver, connection) else ENDED
    if waited == WAIT_STOPPED or ends or now >= deadline:
        return ENDED
    if not handing_off and not driver.limits.raw and connection.requests > 0 and now - connection.idle_ns > IDLE_NS:
        return ENDED
    note_silence(driver, began, now)
    connection.put_ns = now
    return PARKED if idle_park(driver, connection) else ENDED


cdef int read_proxy_header(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Receive the PROXY header that a connection begins with, and take the client's address from it.

    Returns what exchange_received returns for the bytes after it, -status, or ENDED.
    """
    cdef char scratch[PROXY_V2_BYTES]
    cdef Exchange *exchange = connection.exchange
    cdef int64_t deadline = deadline_after(&driver.timeouts, AWAITS_HEAD, exchange.timeline.first_byte_ns, 0)
    cdef char *data
    cdef size_t room = 0
    cdef ssize_t length
    cdef int result = 0
    if exchange.filled > 0:  # adopted with a part of it
        result = exchange_received(exchange, &driver.limits, exchange.data + exchange.filled, 0)
    while exchange.phase == EXCHANGE_PROXY and result >= 0:
        data = room_for(exchange, &driver.limits, scratch, sizeof(scratch), &room)
        length = transport_receive(&connection.transport, data, room)
        if length > 0:
            result = exchange_received(exchange, &driver.limits, data, length)
        elif is_want(length):
            if wait_more(driver, connection, <int> length, deadline, False) == WAIT_STOPPED:
                return ENDED
        else:
            note_end(driver, exchange)
            return ENDED
        if monotonic_ns() >= deadline:
            break
    if exchange.phase == EXCHANGE_PROXY and result == 0:
        connection.reason = REASON_LATE_PROXY
        return -LATE_STATUS
    if exchange.phase == EXCHANGE_PROXY:
        return -400  # not sent: it speaks no HTTP
    idle_leave(driver, connection)
    connection.proxy_header_read = True
    connection.idle_ns = monotonic_ns()
    timeline_begin(&exchange.timeline, connection.accepted_ns, connection.idle_ns)
    if exchange.proxy.address_length > 0:
        connection.address_length = exchange.proxy.address_length
        memcpy(connection.address, exchange.proxy.address, connection.address_length)
        if driver.client_limit != NULL and not count_proxied_client(driver, connection):
            return -503
    return result


cdef bint count_proxied_client(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Count a connection for the client that its PROXY header names. Return False if it has reached its limit."""
    cdef int64_t client_index = limit_identify(
        driver.client_limit, connection.client_index, client_key(connection.address, connection.address_length))
    if client_index != CLIENT_OVER_LIMIT:
        connection.client_index = <uint32_t> client_index
        return True
    count_shared(&driver.shared.counters.limited, 1)
    connection.reason = REASON_CLIENT
    return False


cdef inline char *room_for(
    Exchange *exchange, const Limits *limits, char *scratch, size_t scratch_bytes, size_t *room
) noexcept nogil:
    """Return where to receive to: into the exchange, or into `scratch` if it has no room of its own."""
    cdef char *data = exchange_room(exchange, limits, room)
    if data == NULL:
        room[0] = scratch_bytes
        return scratch
    return data


cdef void note_end(DriverRecord *driver, Exchange *exchange) noexcept nogil:
    """Count a client that has disconnected in the middle of a request, or of its PROXY header."""
    if exchange.filled > 0:
        count_shared(&driver.shared.counters.disconnected, 1)
        outcome_note(&exchange.outcome, OUTCOME_DISCONNECTED, REASON_GONE)


cdef int receive(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Receive the rest of a request whose first byte has come. Returns as advance."""
    cdef char scratch[SCRATCH_BYTES]
    cdef Exchange *exchange = connection.exchange
    cdef Progress progress
    cdef int64_t pause = HANDOFF_RETRY_NS
    cdef char *data
    cdef size_t room = 0
    cdef ssize_t length
    cdef int result
    progress.in_body = exchange.phase == EXCHANGE_BODY
    progress.since = monotonic_ns()
    pace_begin(&progress.pace, progress.since)
    while True:
        if exchange.want_continue:
            exchange.want_continue = False
            send_continue(&connection.transport)
        data = room_for(exchange, &driver.limits, scratch, SCRATCH_BYTES, &room)
        length = transport_receive(&connection.transport, data, room)
        if length > 0:
            result = take_received(driver, connection, data, length, &progress)
            if result != 0:
                return result
        elif is_want(length):
            result = wait_rest(driver, connection, <int> length, &progress, &pause)
            if result == WAIT_READY:
                continue
            if result == WAIT_STOPPED:
                return ENDED
        else:
            note_end(driver, exchange)
            return ENDED
        if is_late(driver, exchange, &progress):
            return -LATE_STATUS


cdef int take_received(
    DriverRecord *driver, BlockingConnection *connection, char *data, ssize_t length, Progress *progress
) noexcept nogil:
    """Frame received bytes, and note progress. Returns what exchange_received returns."""
    cdef Exchange *exchange = connection.exchange
    cdef int result = exchange_received(exchange, &driver.limits, data, length)
    cdef int64_t now
    if connection.idle_kind != IDLE_NONE and (result != 0 or exchange.phase != EXCHANGE_HEAD):
        idle_leave(driver, connection)
    if exchange.phase == EXCHANGE_HEAD:
        return result
    now = monotonic_ns()
    exchange_note_framed(exchange, now)
    if result == 0 and exchange.phase == EXCHANGE_BODY:
        progress.since = now
        if progress.in_body:
            progress.pace.moved += length
        else:
            progress.in_body = True
            pace_begin(&progress.pace, progress.since)
    return result


cdef int wait_rest(
    DriverRecord *driver, BlockingConnection *connection, int want, const Progress *progress, int64_t *pause
) noexcept nogil:
    """Wait for more of a request. pause: as for wait_head. Returns a WaitResult."""
    cdef int64_t look = next_check(driver, connection.exchange, progress)
    if connection.exchange.phase == EXCHANGE_HEAD:
        return wait_head(driver, connection, want, look, pause)
    return wait(driver, &connection.transport, want, look, False, False)


cdef int wait_head(
    DriverRecord *driver, BlockingConnection *connection, int want, int64_t deadline, int64_t *pause
) noexcept nogil:
    """Wait for more of a head. While the server hands off, the connection is handed off, and then has STOPPED here.

    pause: ns until the next attempt to hand off; 0 once the parent, which would signal a hand-off, is dead. Returns a
    WaitResult.
    """
    cdef bint watch_drain
    cdef bint signalled = has_sigterm(driver)
    cdef int waited
    if is_handing_off(driver):
        if handoff_connection(driver, connection):
            return WAIT_STOPPED
        deadline = min(deadline, monotonic_ns() + max(pause[0], <int64_t> HANDOFF_RETRY_NS))
        pause[0] = next_handoff_retry(pause[0])
    watch_drain = pause[0] > 0 and load_uint(&driver.shared.command) == COMMAND_SERVE
    waited = wait_more(driver, connection, want, deadline, watch_drain)
    if waited == WAIT_WOKEN and has_sigterm(driver) == signalled and load_uint(&driver.shared.command) == COMMAND_SERVE:
        pause[0] = 0
    return waited


cdef int wait_more(
    DriverRecord *driver, BlockingConnection *connection, int want, int64_t deadline, bint watch_drain
) noexcept nogil:
    """Wait for more of a head, or of a handshake. Returns a WaitResult.

    During the wait the connection may be closed for a new one: then WAIT_STOPPED.
    """
    cdef int64_t since = connection.idle_ns
    cdef int waited
    if connection.exchange != NULL:
        since = connection.exchange.timeline.first_byte_ns
    if not idle_enter(driver, connection, IDLE_NEW, since):
        return WAIT_STOPPED
    waited = wait(driver, &connection.transport, want, deadline, watch_drain, driver.is_child)
    if not idle_wake(driver, connection) or (waited == WAIT_WOKEN and is_evicted(driver)):
        return WAIT_STOPPED
    return waited


cdef inline int awaited_by(const Exchange *exchange) noexcept nogil:
    """Return what a request waits for its client to send: an Awaited."""
    return AWAITS_BODY if exchange.phase == EXCHANGE_BODY else AWAITS_HEAD


cdef int64_t next_check(DriverRecord *driver, const Exchange *exchange, const Progress *progress) noexcept nogil:
    """Return when to check a request: it must be complete, or have made progress, or its pace is due."""
    cdef int awaited = awaited_by(exchange)
    cdef int64_t since = progress.since if awaited == AWAITS_BODY else exchange.timeline.first_byte_ns
    cdef int64_t deadline = deadline_after(&driver.timeouts, awaited, since, exchange.timeline.first_byte_ns)
    return next_pace_check(&driver.timeouts, awaited, &progress.pace, deadline, since)


cdef bint is_late(DriverRecord *driver, const Exchange *exchange, Progress *progress) noexcept nogil:
    """Tell whether a request has come more slowly than it must."""
    cdef int64_t now = monotonic_ns()
    return (
        is_too_slow(&driver.timeouts, awaited_by(exchange), &progress.pace, now)
        or now >= next_check(driver, exchange, progress)
    )
