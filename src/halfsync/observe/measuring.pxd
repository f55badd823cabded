# What metrics keep of the end of a request. Called where that is reported (completion.pxd).
from libc.stdint cimport int64_t

from halfsync.exchange.exchange cimport Exchange, exchange_body_sent
from halfsync.exchange.outcome cimport OUTCOME_TIMED_OUT
from halfsync.exchange.timeline cimport Timeline, timeline_turn_ns, timeline_waited_ns
from halfsync.shared.metrics cimport RequestFacts, SlotMetrics, method_class, metrics_add_request


cdef inline void measure_request(SlotMetrics *metrics, const Exchange *exchange, int64_t now) noexcept nogil:
    """Count a request that ended at `now` ns. The caller owns the exchange."""
    cdef const Timeline *timeline = &exchange.timeline
    cdef int64_t turn = timeline_turn_ns(timeline)
    cdef RequestFacts facts
    facts.method = method_class(exchange.data + exchange.head.method, exchange.head.method_length)
    facts.status = exchange.status
    facts.outcome = exchange.outcome.kind
    facts.queue_wait = timeline_waited_ns(timeline, now) if timeline.queued_ns > 0 else -1
    facts.application = -1
    if timeline.turned_ns > 0:
        facts.application = max(timeline.turned_ns - turn, <int64_t> 0)
    elif turn > 0 and exchange.outcome.kind == OUTCOME_TIMED_OUT:
        facts.application = max(now - turn, <int64_t> 0)
    facts.response = max(now - timeline.first_byte_ns, <int64_t> 0) if timeline.first_byte_ns > 0 else -1
    facts.request_bytes = exchange.body_length if timeline.complete_ns > 0 else -1
    facts.response_bytes = exchange_body_sent(exchange) if exchange.status > 0 else -1
    metrics_add_request(metrics, &facts)
