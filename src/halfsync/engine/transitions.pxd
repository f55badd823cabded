# The functions that change a phase, of a connection or of its request. In the checks build each asserts that the table
# in phases.pxd has the change, and that the calling thread may make it.
from libc.stdint cimport uint8_t

from halfsync.engine.engine cimport Connection, Request, connection_of
from halfsync.engine.phases cimport (
    OWNER_ENGINE, OWNER_WORKER, PHASE_ACTIVE, PHASE_IDLE, REQUEST_DONE, REQUEST_NONE, connection_may, owner_is,
    request_may,
)
from halfsync.native.checks cimport CHECKS, check


cdef inline void change_phase(Connection *connection, int after) noexcept nogil:
    """Change the phase of a connection. Only the engine calls this, and it must own the request."""
    if CHECKS:
        check(
            owner_is(&connection.request.owner, OWNER_ENGINE) and connection_may(connection.phase, after, c"E"),
            "a connection changes to a phase that cannot follow, or while a worker has its request")
    connection.phase = <uint8_t> after


cdef inline void change_request_phase(Request *request, int after) noexcept nogil:
    """Change the phase of a request. The calling thread must own it."""
    if CHECKS:
        check(
            (owner_is(&request.owner, OWNER_ENGINE) and request_may(request.phase, after, c"E"))
            or (owner_is(&request.owner, OWNER_WORKER) and request_may(request.phase, after, c"W")),
            "a request changes to a phase that cannot follow, or that its owner does not begin")
    request.phase = <uint8_t> after


# The engine's side. A connection is active exactly while it has a request.

cdef inline void begin_request_phase(Request *request, int after) noexcept nogil:
    """Change the phase of a request, and let its connection be active."""
    if connection_of(request).phase != PHASE_ACTIVE:
        change_phase(connection_of(request), PHASE_ACTIVE)
    change_request_phase(request, after)


cdef inline void begin_phase(Connection *connection, int after) noexcept nogil:
    """Change the phase of a connection that has no request from then on."""
    if connection.request.phase != REQUEST_NONE:
        change_request_phase(&connection.request, REQUEST_NONE)
    change_phase(connection, after)


cdef inline bint engine_owns(Connection *connection) noexcept nogil:
    """Return whether the engine owns the request of a connection. To be called before the phases are read.

    A worker that has sent all of a response releases the request, and the engine does not notice. The connection
    becomes idle here, when the engine looks at it, since the time that the worker noted.
    """
    if not owner_is(&connection.request.owner, OWNER_ENGINE):
        return False
    note_released(connection)
    return True


cdef inline void note_released(Connection *connection) noexcept nogil:
    """Let a connection be idle whose request is the engine's again, if its worker has released it."""
    if connection.request.phase == REQUEST_DONE:
        begin_phase(connection, PHASE_IDLE)
