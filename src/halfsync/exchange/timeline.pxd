# When what happened to a request: points on the monotonic clock, written by the owner of the request at that moment. In
# the engine they are on its loop's clock, which is read once a cycle.
from libc.stdint cimport int64_t
from libc.string cimport memset

# ns; 0: it has not happened, or never does. In the order in which they happen, except in the model pool: there the
# connection is queued and taken before its first request is received.
ctypedef struct Timeline:
    int64_t accepted_ns       # the connection was accepted, or adopted from another process
    int64_t first_byte_ns     # the first byte of the request was received, or came next on its connection
    int64_t head_ns           # its head was complete
    int64_t complete_ns       # so was its body, if it has one
    int64_t queued_ns         # it was put into the queue; model pool: its connection was
    int64_t taken_ns          # a worker took it from there; without a queue: its turn began
    int64_t first_sent_ns     # the first bytes of its response were sent
    int64_t last_sent_ns      # the last ones were, so far
    int64_t turned_ns         # the turn of the application ended; noted if it is to be reported


cdef inline void timeline_reset(Timeline *timeline) noexcept nogil:
    memset(timeline, 0, sizeof(Timeline))


cdef inline void timeline_begin(Timeline *timeline, int64_t accepted_ns, int64_t now) noexcept nogil:
    """Note the first byte of a request."""
    timeline.accepted_ns = accepted_ns
    timeline.first_byte_ns = now


cdef inline void timeline_note_sent(Timeline *timeline, int64_t now) noexcept nogil:
    """Note that bytes of the response were sent."""
    if timeline.first_sent_ns == 0:
        timeline.first_sent_ns = now
    timeline.last_sent_ns = now


cdef inline int64_t timeline_waited_ns(const Timeline *timeline, int64_t now) noexcept nogil:
    """Return how long the request waited for a worker; if none has taken it, until `now`. 0: it did not wait."""
    if timeline.queued_ns == 0:
        return 0
    return max((timeline.taken_ns if timeline.taken_ns > 0 else now) - timeline.queued_ns, <int64_t> 0)


cdef inline int64_t timeline_turn_ns(const Timeline *timeline) noexcept nogil:
    """Return when the turn of the application could begin: the request was complete, and had a worker. 0: not yet."""
    return max(timeline.taken_ns, timeline.complete_ns) if timeline.taken_ns > 0 else 0
