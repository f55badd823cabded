# How long a connection waits for its client, and what follows when that is over: the rules for every model. Times are
# ns on the monotonic clock.
from libc.stdint cimport int64_t

from halfsync.exchange.timeouts cimport Timeouts

cdef enum:
    LATE_STATUS = 408         # Request Timeout: of the answer to a request that did not come in time

# What a connection waits for its client to do.
cdef enum Awaited:
    AWAITS_HANDSHAKE          # to do the handshake of a new connection
    AWAITS_FIRST_BYTE         # to send the first byte on a new connection
    AWAITS_REQUEST            # to send its next request
    AWAITS_HEAD               # to send the rest of a head, or of a PROXY header
    AWAITS_BODY               # to send more of a body
    AWAITS_READING            # to read more of its response
    AWAITS_CLOSE              # to close, after its last response

# What follows when it has not done so in time.
cdef enum Late:
    LATE_CLOSE                # close
    LATE_REFUSE               # refuse the request with LATE_STATUS
    LATE_RESET                # reset, so that the client does not take a part of its response for the whole


cdef inline int64_t deadline_after(
    const Timeouts *timeouts, int awaited, int64_t since, int64_t started
) noexcept nogil:
    """Return until when the client must have done what is awaited.

    since: when it began to be awaited; of a body or a response, when the client last made progress. started: when the
    first byte of the request came; for bodies.
    """
    cdef int64_t deadline
    if awaited == AWAITS_HANDSHAKE:
        return since + timeouts.handshake
    if awaited == AWAITS_FIRST_BYTE:
        return since + timeouts.first_byte
    if awaited == AWAITS_REQUEST:
        return since + timeouts.keep_alive
    if awaited == AWAITS_HEAD:
        return since + timeouts.head
    if awaited == AWAITS_BODY:
        deadline = since + timeouts.body
        if timeouts.request > 0:
            deadline = min(deadline, started + timeouts.request)
        return deadline
    if awaited == AWAITS_CLOSE:
        return since + timeouts.linger
    return since + timeouts.write


cdef inline int late(int awaited) noexcept nogil:
    """Return what follows when the client is late: a Late."""
    if awaited == AWAITS_HEAD or awaited == AWAITS_BODY:
        return LATE_REFUSE
    if awaited == AWAITS_READING:
        return LATE_RESET
    return LATE_CLOSE


cdef inline int64_t newcomer_deadline(const Timeouts *timeouts, int64_t since) noexcept nogil:
    """Return until when a server that drains waits for a client that has sent nothing since it connected, at `since`.

    Its first request may be on its way.
    """
    return since + timeouts.newcomer
