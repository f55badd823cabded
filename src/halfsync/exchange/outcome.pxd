# How a request ended. The first outcome that is noted counts: what happens later follows from it.
from libc.stdint cimport uint8_t

from halfsync.exchange.reasons cimport reason_text

cdef enum OutcomeKind:
    OUTCOME_NONE              # it has not ended
    OUTCOME_OK                # all of a response was sent, whatever its status; not one that says one of the following
    OUTCOME_SHED              # there was no room for it: 503, or its connection was closed for others
    OUTCOME_EXPIRED           # it waited too long for a worker: 503
    OUTCOME_TIMED_OUT         # the application took longer than request_timeout: 504, or cut
    OUTCOME_DISCONNECTED      # its client was gone, or took the response too slowly
    OUTCOME_REFUSED           # it was malformed, too large or too late
    OUTCOME_ERROR             # the application failed, or broke off its response, or the server did
    OUTCOME_KINDS             # how many there are

ctypedef struct Outcome:
    uint8_t kind              # OutcomeKind
    uint8_t reported          # the end of the request was reported (observe/completion.pxd)
    const char *reason        # in words, about the request as "it"; NULL: OUTCOME_OK or OUTCOME_NONE


cdef inline void outcome_reset(Outcome *outcome) noexcept nogil:
    outcome.kind = OUTCOME_NONE
    outcome.reported = False
    outcome.reason = NULL


cdef inline void outcome_note_text(Outcome *outcome, int kind, const char *reason) noexcept nogil:
    """Note how a request ended, unless that is known. reason: a constant text."""
    if outcome.kind == OUTCOME_NONE:
        outcome.kind = <uint8_t> kind
        outcome.reason = reason


cdef inline void outcome_note(Outcome *outcome, int kind, int reason) noexcept nogil:
    """Note how a request ended, unless that is known. reason: a Reason."""
    outcome_note_text(outcome, kind, reason_text(reason))


cdef inline const char *outcome_name(int kind) noexcept nogil:
    """Return the name by which logs and metrics report an outcome."""
    if kind == OUTCOME_OK:
        return b"ok"
    if kind == OUTCOME_SHED:
        return b"shed"
    if kind == OUTCOME_EXPIRED:
        return b"expired"
    if kind == OUTCOME_TIMED_OUT:
        return b"timed_out"
    if kind == OUTCOME_DISCONNECTED:
        return b"disconnected"
    if kind == OUTCOME_REFUSED:
        return b"refused"
    return b"error" if kind == OUTCOME_ERROR else b""
