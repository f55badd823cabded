# The fields of a response that say something about its request: its id, and Server-Timing.
from libc.stdint cimport int64_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.timeline cimport Timeline, timeline_turn_ns, timeline_waited_ns
from halfsync.http.response_head cimport ServerFields, write_id_line, write_server_timing
from halfsync.native.sync cimport monotonic_ns


cdef inline char *write_timing(
    char *at, const ServerFields *fields, const Timeline *timeline, bint has_turn
) noexcept nogil:
    """Write how long the request has waited and taken so far, if the settings ask for it.

    has_turn: it is for the application, not for a file.
    """
    cdef int64_t now, began
    if not fields.timing:
        return at
    now = monotonic_ns()
    began = timeline_turn_ns(timeline) if has_turn else 0
    return write_server_timing(
        at,
        timeline_waited_ns(timeline, now) if timeline.queued_ns > 0 else -1,
        max(now - began, <int64_t> 0) if began > 0 else -1,
        max(now - timeline.first_byte_ns, <int64_t> 0) if timeline.first_byte_ns > 0 else -1)


cdef inline char *write_own_fields(
    char *at, const ServerFields *fields, const Exchange *exchange, bint has_turn
) noexcept nogil:
    """Write what an error page says of its request."""
    at = write_id_line(at, fields, exchange.id, exchange.id_length)
    return write_timing(at, fields, &exchange.timeline, has_turn)
