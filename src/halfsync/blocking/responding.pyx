# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Answer a complete request: with a static file, without the GIL, or by a call of the application."""
from libc.stdint cimport int64_t
from posix.uio cimport iovec

from cpython.exc cimport PyErr_CheckSignals

from halfsync.blocking.overdue cimport note_turn
from halfsync.blocking.refusing cimport count_request, finish_response, may_stay_after
from halfsync.blocking.sink cimport BlockingSink, blocking_sink
from halfsync.exchange.bridging cimport Origin, Sink, TURN_COMPLETE, TURN_CUT, TURN_RESET
from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.native_handler cimport NATIVE_RESPONSE_BYTES, NativeResponse
from halfsync.exchange.outcome cimport (
    OUTCOME_DISCONNECTED, OUTCOME_ERROR, OUTCOME_NONE, OUTCOME_OK, outcome_note, outcome_note_text,
)
from halfsync.exchange.reasons cimport REASON_CUT, REASON_GONE, REASON_NONE
from halfsync.native.counting cimport count_shared
from halfsync.native.gate cimport gate_enter, gate_leave
from halfsync.native.sync cimport monotonic_ns
from halfsync.observe.completion cimport is_observed, request_ended
from halfsync.transport.transport cimport transport_abort, transport_cut
from halfsync.host.handlers import contain_handlers

cdef enum:
    NOT_A_FILE = -1           # in the place of a TurnEnd: the request is the application's


cdef int answer_file(DriverRecord *driver, Exchange *exchange, Sink *sink) noexcept nogil:
    """Answer a request for a static file. Returns a TurnEnd, or NOT_A_FILE if it is for none."""
    cdef char buffer[NATIVE_RESPONSE_BYTES]
    cdef NativeResponse answer
    cdef iovec vector
    cdef int result
    if not driver.files.answer(driver.files, exchange, sink.stays, buffer, &answer):
        return NOT_A_FILE
    if answer.length > 0:
        result = sink.send_file(sink, buffer, answer.ready, answer.fd, answer.offset, answer.length)
    else:
        vector.iov_base = buffer
        vector.iov_len = answer.ready
        result = sink.send(sink, &vector, 1)
    return TURN_COMPLETE if result == 0 else TURN_CUT


cdef int64_t begin_turn(
    DriverRecord *driver, BlockingConnection *connection, BlockingSink *sink, Origin *origin
) noexcept nogil:
    """Prepare the sink and the origin of a request, and count it. Returns the time."""
    cdef Exchange *exchange = connection.exchange
    cdef int64_t now = monotonic_ns()
    if connection.waited_ns > 0:
        exchange.timeline.queued_ns = connection.put_ns
        exchange.timeline.taken_ns = connection.put_ns + connection.waited_ns
    else:
        exchange.timeline.taken_ns = now
    blocking_sink(
        sink, &connection.transport, driver.stop_fd, &driver.timeouts, &exchange.timeline, &driver.resuming_gate)
    sink.probed = exchange.head.minor == 0  # HTTP/1.0 has no interim responses
    sink.sink.stays = may_stay_after(driver, connection)
    origin.address = connection.address
    origin.address_length = connection.address_length
    origin.listener = connection.listener
    exchange.app_state = connection.app_state
    connection.app_state = NULL
    count_request(driver)
    count_shared(&driver.shared.counters.running, 1)
    return now


cdef int run_turn(
    DriverRecord *driver, BlockingConnection *connection, Bridge bridge, BlockingSink *sink, const Origin *origin
) except -2:
    """Answer with a file, or by the application. Returns a TurnEnd."""
    cdef int end = NOT_A_FILE
    cdef int64_t since
    if driver.files != NULL:
        with nogil:
            end = answer_file(driver, connection.exchange, &sink.sink)
            since = gate_enter(&driver.resuming_gate)
        gate_leave(&driver.resuming_gate, since)
    if end != NOT_A_FILE:
        count_shared(&driver.shared.counters.files, 1)
        return end
    if driver.is_child:  # signals that came earlier must not interrupt the application
        PyErr_CheckSignals()
    end = bridge.run(connection.exchange, origin, &sink.sink, connection.waited_ns * 1e-9)
    if is_observed(&driver.observers):
        connection.exchange.timeline.turned_ns = monotonic_ns()
    if driver.is_child:  # in its main thread: the application may have set handlers
        try:
            contain_handlers()
        except BaseException:  # noqa: BLE001 - memory is short; the response was sent
            pass
    return end


cdef void report_turn(
    DriverRecord *driver, BlockingConnection *connection, const BlockingSink *sink, int end
) noexcept nogil:
    """Report a request whose response is complete, or was cut. end: a TurnEnd."""
    cdef Exchange *exchange = connection.exchange
    exchange.wire_sent = sink.sent
    if sink.gone and sink.outcome.kind != OUTCOME_NONE:
        outcome_note_text(&exchange.outcome, sink.outcome.kind, sink.outcome.reason)
    elif sink.gone:
        outcome_note(&exchange.outcome, OUTCOME_DISCONNECTED, REASON_GONE)
    elif end != TURN_COMPLETE:
        outcome_note(&exchange.outcome, OUTCOME_ERROR, REASON_CUT)
    else:
        outcome_note(&exchange.outcome, OUTCOME_OK, REASON_NONE)
    request_ended(
        &driver.observers, exchange, connection.address, connection.address_length,
        monotonic_ns() if is_observed(&driver.observers) else exchange.timeline.last_sent_ns)


cdef bint end_turn(DriverRecord *driver, BlockingConnection *connection, BlockingSink *sink, int end) noexcept:
    """Continue or end the connection, according to how the response ended. Returns False if it must end."""
    cdef int64_t since
    if sink.gone:
        count_shared(&driver.shared.counters.disconnected, 1)
    if end != TURN_COMPLETE or sink.gone:
        if end == TURN_RESET or sink.gone:
            transport_abort(&connection.transport)  # the client must not take a part for the whole
        else:
            transport_cut(&connection.transport, False)
        return False
    connection.sent_ns = sink.sent_ns
    if sink.sink.stays:
        return finish_response(driver, connection, True)
    with nogil:
        finish_response(driver, connection, False)
        since = gate_enter(&driver.closing_gate)
    gate_leave(&driver.closing_gate, since)
    return False


cdef bint respond(DriverRecord *driver, BlockingConnection *connection, Bridge bridge) except -1:
    """Answer a complete request with a file, or by the application. Return False if the connection must end."""
    cdef BlockingSink sink
    cdef Origin origin
    cdef int end = TURN_CUT
    cdef int64_t began_ns = begin_turn(driver, connection, &sink, &origin)
    try:
        end = run_turn(driver, connection, bridge, &sink, &origin)
    finally:
        connection.waited_ns = 0
        count_shared(&driver.shared.counters.running, -1)
        count_shared(&driver.shared.counters.finished, 1)
        connection.app_state = connection.exchange.app_state
        connection.exchange.app_state = NULL
        report_turn(driver, connection, &sink, end)
        note_turn(driver, began_ns)
    connection.requests += 1
    return end_turn(driver, connection, &sink, end)
