# The end of a request: the one place from which everything that the server reports about requests is written. Each
# function is called once for each request, by the thread that ends it, and never blocks on a file of a log with a
# writer thread.
from libc.stdint cimport int64_t, uint8_t

from halfsync.exchange.exchange cimport Exchange, exchange_identify
from halfsync.exchange.outcome cimport OUTCOME_NONE, outcome_name
from halfsync.http.request_id cimport IdSource
from halfsync.native.checks cimport CHECKS, check, note_ending
from halfsync.observe.access cimport AccessLogRecord, log_exchange, log_unheard
from halfsync.observe.measuring cimport measure_request
from halfsync.shared.metrics cimport SlotMetrics

# Who is told. A server has one, in the record of its engine or driver; read only once it serves.
ctypedef struct Observers:
    AccessLogRecord *access   # NULL: there is no access log
    SlotMetrics *metrics      # NULL: nothing is counted for metrics
    const IdSource *ids       # where the ids of requests come from; NULL: they have none


cdef inline bint is_observed(const Observers *observers) noexcept nogil:
    """Return whether anybody is told, so that an exact time is worth reading the clock."""
    return observers.access != NULL or observers.metrics != NULL


cdef inline void request_ended(
    const Observers *observers, Exchange *exchange, const uint8_t *address, int address_length, int64_t now
) noexcept nogil:
    """Report a request that was answered, cut or given up at `now` ns. Its outcome must be noted.

    address: sockaddr of the peer. The caller owns the exchange.
    """
    check(exchange.outcome.kind != OUTCOME_NONE, "a request ends without an outcome")
    check(not exchange.outcome.reported, "the end of a request is reported twice")
    exchange.outcome.reported = True
    if CHECKS:
        note_ending(
            exchange.status, outcome_name(exchange.outcome.kind), exchange.outcome.reason,
            &exchange.timeline.accepted_ns)
    if observers.access != NULL:
        exchange_identify(exchange, observers.ids, address, address_length)  # it may have been cut before
        log_exchange(observers.access, exchange, address, address_length, now)
    if observers.metrics != NULL:
        measure_request(observers.metrics, exchange, now)


cdef inline void request_unheard(
    const Observers *observers, int status, int64_t sent, int outcome, const char *reason, const uint8_t *address,
    int address_length
) noexcept nogil:
    """Report a peer that was refused before any byte of its request was received.

    sent: bytes of the answer's body. outcome: an OutcomeKind. reason: of it, in words.
    """
    if CHECKS:
        note_ending(status, outcome_name(outcome), reason, NULL)
    if observers.access != NULL:
        log_unheard(observers.access, address, address_length, status, sent, outcome, reason)
