"""Serve one request of a connection after another, until it ends, moves, or gives its thread up to others.

Each function is called with the GIL, and gives it up while it waits for the client. Before it takes the GIL again it
passes a gate (`native/gate.pxd`).
"""
from libc.stdint cimport int64_t

from halfsync.blocking.connection cimport close_connection
from halfsync.blocking.handing_off cimport handoff_connection
from halfsync.blocking.idle_lists cimport idle_enter, idle_park
from halfsync.blocking.overdue cimport is_overdue
from halfsync.blocking.receiving cimport advance
from halfsync.blocking.records cimport ENDED, IDLE_KEEPALIVE, PARKED, is_handing_off
from halfsync.blocking.refusing cimport refuse, refuse_and_stay, report_cut
from halfsync.blocking.responding cimport respond
from halfsync.blocking.waiting cimport others_wait
from halfsync.exchange.exchange cimport exchange_is_begun
from halfsync.exchange.reasons cimport REASON_OVERLOAD
from halfsync.native.gate cimport Gate, gate_enter, gate_leave
from halfsync.native.sync cimport load_uint, monotonic_ns
from halfsync.shared.command cimport COMMAND_HANDOFF
from halfsync.transport.transport cimport transport_cut, transport_take_leave


cdef bint must_park(DriverRecord *driver) noexcept nogil:
    """Tell whether a connection must leave its thread to others after a response."""
    return others_wait(driver) and load_uint(&driver.shared.command) <= COMMAND_HANDOFF


cdef int park(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Prepare a connection for the queue, where it waits for a thread again. Returns PARKED, or ENDED."""
    connection.put_ns = monotonic_ns()
    if connection.exchange == NULL and not (
        idle_enter(driver, connection, IDLE_KEEPALIVE, connection.sent_ns) and idle_park(driver, connection)
    ):
        return ENDED
    return PARKED


cdef int advance_to_served(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Receive the next request that is not refused because of an overload. Returns as `advance`."""
    cdef int result, retry_after_s
    while True:
        result = advance(driver, connection)
        if result <= 0 or not is_overdue(driver, connection, &retry_after_s):
            return result
        if not refuse_and_stay(driver, connection, REASON_OVERLOAD, retry_after_s):
            return ENDED
        if must_park(driver):
            return park(driver, connection)


cdef int next_request(DriverRecord *driver, BlockingConnection *connection) noexcept:
    """Receive the next request. Returns as `advance`. A connection that has ended is closed."""
    cdef Gate *gate = &driver.resuming_gate
    cdef int result
    cdef int64_t since
    with nogil:
        result = advance_to_served(driver, connection)
        if result == ENDED:
            gate = &driver.closing_gate
            if connection.transport.fd >= 0:
                report_cut(driver, connection)
                if connection.exchange == NULL or not exchange_is_begun(connection.exchange):
                    transport_take_leave(&connection.transport)
                # A process that the application forked may have a copy: then a close alone goes unnoticed.
                transport_cut(&connection.transport, True)
                close_connection(driver, connection)
        since = gate_enter(gate)
    gate_leave(gate, since)
    return result


cdef int serve_requests(DriverRecord *driver, BlockingConnection *connection, Bridge bridge) except? -1:
    """Serve requests until the connection has ENDED, must be PARKED, or a request must be refused (-status)."""
    cdef int result
    while True:
        result = next_request(driver, connection)
        if result <= 0:
            return result
        if not respond(driver, connection, bridge):
            return ENDED
        if is_handing_off(driver) and handoff_connection(driver, connection):
            return ENDED
        if must_park(driver):
            return park(driver, connection)


cdef void refuse_last(DriverRecord *driver, BlockingConnection *connection, int status) noexcept:
    """Refuse the last request of a connection, and wait until the client has the answer."""
    cdef int64_t since
    with nogil:
        refuse(driver, connection, status)
        since = gate_enter(&driver.closing_gate)
    gate_leave(&driver.closing_gate, since)
