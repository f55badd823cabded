# Refusals: what a client is answered, what counts it and, noted by the thread that refuses, without the GIL, and logged
# by a thread that has it, why. The same for every model.
from libc.stdint cimport int64_t, uint8_t, uint32_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.outcome cimport OUTCOME_REFUSED, OUTCOME_SHED, outcome_note_text
from halfsync.exchange.refusal cimport refusal_text
from halfsync.http.trust cimport ADDRESS_BYTES, Trust
from halfsync.native.sync cimport atomic_llong, pthread_mutex_t
from halfsync.observe.completion cimport Observers, request_ended, request_unheard
from halfsync.shared.activity cimport ActivityTable
from halfsync.shared.counters cimport Counters

cdef enum:
    NOTES_MOST = 20           # the most notes that wait to be logged, and that may be logged at once
    SHOWN_BYTES = 200         # of each line that was received

ctypedef struct Note:
    uint8_t client[ADDRESS_BYTES]   # sockaddr of the client, according to trusted proxies
    int client_length
    uint8_t peer[ADDRESS_BYTES]     # sockaddr of the other end of the connection
    int peer_length
    int status                # of the answer; 0: closed without one
    const char *reason
    char lines[2][SHOWN_BYTES]     # the request line, and the line that was refused if it is another one
    uint32_t lengths[2]       # their lengths as received; 0: there is none
    uint32_t shown[2]         # their bytes that are kept
    int64_t unlogged            # refusals before this one that were not noted

# How many refusals may still be noted. In memory shared by all processes of one server.
ctypedef struct Allowance:
    atomic_llong next_ns      # when the next one could be noted if they came evenly
    atomic_llong unlogged       # refusals not noted since the last noted one

ctypedef struct Refusals:
    pthread_mutex_t lock      # guards notes and count
    Note notes[NOTES_MOST]
    uint32_t count
    Allowance *allowance
    const Trust *trust        # the peers whose forwarded fields are believed
    bint raw                  # no HTTP, so there is no answer
    ActivityTable *recent     # where the last refusals are kept for the status; NULL: nowhere

# Note a refusal, unless there were too many recently. exchange: NULL if nothing was received. status: of the answer, or
# 0 if there is none. reason: a Reason, as for refusal_text. Never blocks. Returns whether there is a note to log.
cdef bint refusals_note(Refusals *refusals, const Exchange *exchange, const uint8_t *address, int address_length,
                        int status, int reason) noexcept nogil


# How a refused client is answered.
cdef enum Answer:
    ANSWER_ERROR              # with an error page; then its connection lingers (exchange/lingering.pxd)
    ANSWER_END                # with nothing, since it does not speak HTTP yet: its connection lingers
    ANSWER_RESET              # with a reset, since there is no answer that it could understand


cdef inline int refusal_answer(bint raw, bint awaits_proxy, bint shakes_hands) noexcept nogil:
    """Return how to answer a refused client.

    raw: no HTTP is spoken. awaits_proxy: its PROXY header is refused, or has not come. shakes_hands: the handshake of
    its transport is not done.
    """
    if awaits_proxy:
        return ANSWER_END
    return ANSWER_RESET if raw or shakes_hands else ANSWER_ERROR


cdef inline int refusal_status(int answer, int status) noexcept nogil:
    """Return the status to note."""
    return status if answer == ANSWER_ERROR else 0


cdef inline long long *refusal_counter(Counters *counters, int status) noexcept nogil:
    """Return what counts a refusal with this status. 503: there is no room, now."""
    return &counters.shed if status == 503 else &counters.refused


cdef inline int refusal_outcome(int status) noexcept nogil:
    """Return the outcome of what is refused with this status: an OutcomeKind."""
    return OUTCOME_SHED if status == 503 else OUTCOME_REFUSED


cdef inline void refusal_ended(
    const Observers *observers, Exchange *exchange, int status, int64_t sent, int reason,
    const uint8_t *address, int address_length, int64_t now
) noexcept nogil:
    """Report what was answered with an error page, unless its outcome is known already: as refused, or shed.

    exchange: NULL: nothing was received. sent: bytes of the page's text. reason: a Reason, as for refusal_text.
    """
    cdef int outcome = refusal_outcome(status)
    cdef const char *text = refusal_text(exchange, status, reason)
    if exchange != NULL:
        outcome_note_text(&exchange.outcome, outcome, text)
        request_ended(observers, exchange, address, address_length, now)
    else:
        request_unheard(observers, status, sent, outcome, text, address, address_length)


cdef class RefusalLog:
    cdef Refusals refusals
    cdef object pinned        # what the pointers point to

    cpdef void log_notes(self) noexcept
