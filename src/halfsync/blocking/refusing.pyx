# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Send the server's own answers, and let a client read its last response before the close (RFC 9112 9.6).

`refuse` and `linger` are for the thread that has the connection, and wait for the client; `shed` and `discard` are for
the thread that accepts, and never wait.
"""
from libc.stdint cimport int64_t

from halfsync.blocking.connection cimport drop_exchange, uncount_client
from halfsync.blocking.idle_lists cimport is_evicted
from halfsync.blocking.records cimport SCRATCH_BYTES, has_sigterm, is_ending, is_handing_off
from halfsync.blocking.sink cimport BlockingSink, blocking_sink, sink_bytes
from halfsync.blocking.waiting cimport WAIT_READY, WAIT_STOPPED, others_wait, wait_idle
from halfsync.exchange.deadlines cimport AWAITS_CLOSE, deadline_after
from halfsync.exchange.exchange cimport Exchange, exchange_has_more, exchange_identify, exchange_is_begun
from halfsync.exchange.lingering cimport LINGER_CHECK_NS, linger_discard, linger_may_end
from halfsync.exchange.outcome cimport OUTCOME_ERROR, OUTCOME_EXPIRED, OUTCOME_SHED, outcome_note
from halfsync.exchange.persistence cimport may_stay
from halfsync.exchange.reasons cimport REASON_ROOM, REASON_STOP
from halfsync.exchange.refusal cimport exchange_error
from halfsync.http.response_head cimport ERROR_BYTES, ServerFields
from halfsync.native.counting cimport count_shared
from halfsync.native.sync cimport add_llong, load_uint, monotonic_ns
from halfsync.observe.causes cimport measure_refusal
from halfsync.observe.completion cimport request_ended
from halfsync.observe.refusals cimport (
    ANSWER_ERROR, ANSWER_RESET, refusal_answer, refusal_counter, refusal_ended, refusal_status, refusals_note,
)
from halfsync.shared.command cimport COMMAND_SERVE
from halfsync.transport.transport cimport (
    is_want, transport_abort, transport_finish, transport_may_move, transport_receive, transport_send_whole,
    transport_shakes_hands, transport_unacknowledged,
)


cdef void refuse(DriverRecord *driver, BlockingConnection *connection, int status) noexcept nogil:
    """Answer with an error and end the connection: nothing after it is read as a request.

    If the connection has a reason, that is noted with the refusal.
    """
    cdef int answer = refusal_answer(
        driver.limits.raw, driver.proxies != NULL and not connection.proxy_header_read, False)
    note_refusal(driver, connection, answer, status, connection.reason)
    if answer == ANSWER_RESET:
        transport_abort(&connection.transport)
        return
    if answer == ANSWER_ERROR and not send_refusal(
        driver, connection, status, &driver.fields, False, connection.reason
    ):
        return
    drop_exchange(driver, connection)
    linger(driver, connection)


cdef bint send_refusal(
    DriverRecord *driver, BlockingConnection *connection, int status, const ServerFields *fields, bint stays,
    int reason
) noexcept nogil:
    """Send an error page, and report the end of its request. Return False if the client is gone.

    fields, stays: as for exchange_error. reason: a Reason, as for refusal_text.
    """
    cdef char response[ERROR_BYTES]
    cdef Exchange *exchange = connection.exchange
    cdef BlockingSink sink
    cdef int64_t body
    cdef int length = exchange_error(exchange, status, fields, stays, response, &body)
    cdef bint sent
    blocking_sink(
        &sink, &connection.transport, driver.stop_fd, &driver.timeouts,
        &exchange.timeline if exchange != NULL else NULL, NULL)
    sent = sink_bytes(&sink, response, length) == 0
    if exchange != NULL:
        exchange.wire_sent = sink.sent
    refusal_ended(
        &driver.observers, exchange, status, body, reason, connection.address, connection.address_length,
        monotonic_ns())
    if not sent:
        count_shared(&driver.shared.counters.disconnected, 1)
        transport_abort(&connection.transport)
        return False
    connection.sent_ns = sink.sent_ns
    return True


cdef bint may_stay_after(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Tell whether the connection may stay after the response to its complete request."""
    return may_stay(
        connection.exchange.head.keep_alive, driver.timeouts.keep_alive > 0,
        is_ending(driver) or (is_handing_off(driver) and not transport_may_move(&connection.transport)),
        connection.requests + 1, 0)


cdef void count_request(DriverRecord *driver) noexcept nogil:
    """Count a complete request."""
    count_shared(&driver.shared.counters.requests, 1)
    if driver.slot != NULL:
        add_llong(&driver.slot.requests, 1)


cdef bint refuse_and_stay(
    DriverRecord *driver, BlockingConnection *connection, int reason, int retry_after_s
) noexcept nogil:
    """Answer 503 to a complete request. Return False if the connection must end; else it may serve the next request."""
    cdef ServerFields fields = driver.fields
    cdef Exchange *exchange = connection.exchange
    cdef bint stays = may_stay_after(driver, connection)
    exchange.timeline.queued_ns = connection.put_ns
    connection.waited_ns = 0
    connection.requests += 1
    fields.retry_after_s = retry_after_s
    count_request(driver)
    note_refusal(driver, connection, ANSWER_ERROR, 503, reason)
    outcome_note(&exchange.outcome, OUTCOME_EXPIRED, reason)
    return (
        send_refusal(driver, connection, 503, &fields, stays, reason) and finish_response(driver, connection, stays))


cdef bint finish_response(DriverRecord *driver, BlockingConnection *connection, bint stays) noexcept nogil:
    """Prepare a connection for its next request, or end it (not stays). Return False if it ends."""
    if not stays:
        drop_exchange(driver, connection)
        linger(driver, connection)
        return False
    connection.idle_ns = monotonic_ns()
    if not exchange_has_more(connection.exchange):
        drop_exchange(driver, connection)
    return True


cdef void note_refusal(
    DriverRecord *driver, BlockingConnection *connection, int answer, int status, int reason
) noexcept nogil:
    """Give a refused request its id, count its refusal, and note the reason. See the .pxd."""
    if connection.exchange != NULL:
        exchange_identify(
            connection.exchange, driver.observers.ids, connection.address, connection.address_length)
    count_shared(refusal_counter(driver.shared.counters, status), 1)
    measure_refusal(driver.metrics, status, reason)
    refusals_note(
        driver.refusals, connection.exchange, connection.address, connection.address_length,
        refusal_status(answer, status), reason)


cdef void linger(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Shut down sending, and drop what still comes until the client closes, or need not be waited for."""
    cdef char scratch[SCRATCH_BYTES]
    cdef int64_t now = monotonic_ns()
    cdef int64_t deadline = deadline_after(&driver.timeouts, AWAITS_CLOSE, now, 0)
    cdef ssize_t length = transport_finish(&connection.transport)
    cdef bint finishing = is_want(length)
    cdef bint ending = False
    cdef int waited
    while now < deadline:
        if ending and linger_may_end(True, transport_unacknowledged(&connection.transport)):
            break
        waited = wait_idle(
            driver, &connection.transport, <int> length, min(deadline, now + LINGER_CHECK_NS) if ending else deadline,
            not ending)
        now = monotonic_ns()
        if waited == WAIT_READY and finishing:
            length = transport_finish(&connection.transport)
            finishing = is_want(length)
        elif waited == WAIT_READY:
            length = transport_receive(&connection.transport, scratch, SCRATCH_BYTES)
            if length == 0 or (length < 0 and not is_want(length)):
                return
        else:
            ending = has_sigterm(driver) or load_uint(&driver.shared.command) != COMMAND_SERVE
            if not ending or waited == WAIT_STOPPED or others_wait(driver):
                break
    linger_discard(&connection.transport, scratch, SCRATCH_BYTES)


cdef void report_cut(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Report a request that was not received completely, if there is one: its connection ends."""
    cdef Exchange *exchange = connection.exchange
    if exchange == NULL or not exchange_is_begun(exchange) or exchange.outcome.reported:
        return
    if connection.evicted or is_evicted(driver):
        outcome_note(&exchange.outcome, OUTCOME_SHED, REASON_ROOM)
    outcome_note(&exchange.outcome, OUTCOME_ERROR, REASON_STOP)
    request_ended(
        &driver.observers, exchange, connection.address, connection.address_length, monotonic_ns())


cdef bint shed(DriverRecord *driver, BlockingConnection *connection, int reason) noexcept nogil:
    """Answer 503 to a new connection without waiting. Return False if no answer could be sent.

    The caller must close the connection, once the client has had time to read the answer.
    """
    cdef char response[ERROR_BYTES]
    # A PROXY header that is still to come is not waited for.
    cdef int answer = refusal_answer(driver.limits.raw, False, transport_shakes_hands(&connection.transport))
    cdef int length
    cdef int64_t body
    uncount_client(driver, connection)
    note_refusal(driver, connection, answer, 503, reason)
    if answer == ANSWER_RESET:
        transport_abort(&connection.transport)
        return False
    length = exchange_error(NULL, 503, &driver.fields, False, response, &body)
    transport_send_whole(&connection.transport, response, length)
    refusal_ended(
        &driver.observers, NULL, 503, body, reason, connection.address, connection.address_length, monotonic_ns())
    transport_finish(&connection.transport)
    return True


cdef bint discard(BlockingConnection *connection) noexcept nogil:
    """Drop some of what a rejected client still sends. Return False once the client has closed. Never waits."""
    cdef char scratch[SCRATCH_BYTES]
    return linger_discard(&connection.transport, scratch, SCRATCH_BYTES)
