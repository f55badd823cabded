# Refusals: what a client is answered, what counts it and, noted by the thread that refuses, without the GIL, and logged
# by a thread that has it, why. The same for every model.
from libc.stdint cimport int64_t, uint8_t, uint32_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.refusal cimport exchange_error
from halfsync.http.response_head cimport ServerFields
from halfsync.http.trust cimport ADDRESS_BYTES, Trust
from halfsync.native.sync cimport atomic_llong, pthread_mutex_t
from halfsync.observe.access cimport AccessLogRecord, log_exchange, log_unheard
from halfsync.observe.counters cimport Counters

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

# Reasons that the refusing code knows, but no exchange has.
cdef extern from *:
    """
    #define HS_REASON_PEER "proxy_allow_ips does not name it"
    #define HS_REASON_LATE_PROXY "its PROXY header did not come in time"
    #define HS_REASON_CLIENT "its client has max_connections_per_client connections"
    #define HS_REASON_REQUESTS "queue_size requests wait already"
    #define HS_REASON_CONNECTIONS "queue_size connections wait already"
    #define HS_REASON_WAIT "it waited for queue_timeout"
    #define HS_REASON_OVERLOAD "it waited too long in an overloaded queue"
    #define HS_REASON_THREAD "the system gives no thread for it"
    #define HS_REASON_PROCESS "the system gives no process for it"
    """
    const char *REASON_PEER "HS_REASON_PEER"
    const char *REASON_LATE_PROXY "HS_REASON_LATE_PROXY"
    const char *REASON_CLIENT "HS_REASON_CLIENT"
    const char *REASON_REQUESTS "HS_REASON_REQUESTS"  # of the proactor
    const char *REASON_CONNECTIONS "HS_REASON_CONNECTIONS"  # of the pool
    const char *REASON_WAIT "HS_REASON_WAIT"
    const char *REASON_OVERLOAD "HS_REASON_OVERLOAD"
    const char *REASON_THREAD "HS_REASON_THREAD"
    const char *REASON_PROCESS "HS_REASON_PROCESS"

# Note a refusal, unless there were too many recently. exchange: NULL if nothing was received. status: of the answer, or
# 0 if there is none. reason: a constant text; NULL: that of exchange_reason. Never blocks. Returns whether there is a
# note to log.
cdef bint refusals_note(Refusals *refusals, const Exchange *exchange, const uint8_t *address, int address_length,
                        int status, const char *reason) noexcept nogil


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


cdef inline int refusal_write(
    AccessLogRecord *access, Exchange *exchange, const uint8_t *address, int address_length, int status,
    const ServerFields *fields, int64_t now, char *response
) noexcept nogil:
    """Write the error page for what is refused, and log the request. Returns the page's length.

    access: NULL: nothing is logged. exchange: NULL: nothing was received. response: ERROR_BYTES.
    """
    cdef int64_t body
    cdef int length = exchange_error(exchange, status, fields, False, response, &body)
    if access != NULL and exchange != NULL:
        log_exchange(access, exchange, address, address_length, now)
    elif access != NULL:
        log_unheard(access, address, address_length, status, body)
    return length


cdef class RefusalLog:
    cdef Refusals refusals
    cdef object pinned        # what the pointers point to

    cpdef void log_notes(self) noexcept
