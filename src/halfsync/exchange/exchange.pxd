# One request on a connection, from its first byte until its response is on its way. No socket I/O.
from libc.stdint cimport int64_t, uint8_t, uint32_t

from halfsync.exchange.blocks cimport Block, BlockPool
from halfsync.exchange.outcome cimport Outcome
from halfsync.exchange.spool cimport SpoolFile, Store
from halfsync.exchange.timeline cimport Timeline
from halfsync.http.chunked cimport Chunked
from halfsync.http.grammar cimport method_is
from halfsync.http.parser cimport Head, HeadLimits
from halfsync.http.proxy_protocol cimport ProxyHeader
from halfsync.http.request_id cimport REQUEST_ID_BYTES, IdSource, request_id_of
from halfsync.http.trust cimport ADDRESS_BYTES
from halfsync.native.sync cimport pthread_mutex_t

cdef enum:
    INLINE_BYTES = 4096       # of input held in the exchange itself: nearly every head, and small bodies
    BODY_SLACK = 512          # room behind a body: a receive that ends inside it shows that the socket is empty

cdef enum ExchangePhase:
    EXCHANGE_HEAD
    EXCHANGE_BODY
    EXCHANGE_READY            # the request is complete
    EXCHANGE_PROXY            # the PROXY header of the connection must come before the head; set by the owner

ctypedef struct Limits:
    HeadLimits head
    int64_t max_body
    int64_t body_memory       # bytes; a body up to this length is held in memory
    BlockPool *blocks         # for some of those bodies; NULL: none
    bint raw                  # no HTTP: whatever is received is a complete request
    Store *store

ctypedef struct Exchange:
    Exchange *next            # while it is in a pool
    uint8_t phase
    uint8_t want_continue     # the client waits for 100 Continue before it sends its body
    uint8_t body_is_data      # the body lies in `data`, and is not freed separately
    char *data                # the head, and what came in the same receives
    uint32_t capacity
    uint32_t filled
    uint32_t used             # bytes of `data` that belong to this request; those of the next request follow
    char *body                # NULL: no body, or it is on disk
    int64_t body_length
    int64_t body_capacity
    Block block               # holds the body; owner NULL: the body has its own memory
    BlockPool *blocks         # pool for the block, even if it had none to give; NULL: no block fits the body
    int64_t body_left         # bytes still to come; -1: chunked
    SpoolFile spool
    Timeline timeline
    Outcome outcome
    int64_t sent              # bytes of the response's body that are on their way
    int status                # of the response; 0: none yet
    int64_t wire_sent         # bytes of the response that were sent, its head included
    uint32_t response_head_length  # bytes of the response's head; 0: there is none yet
    char *response_head       # a copy of it, for the access log; NULL: none is kept
    uint8_t keeps_head        # the access log shows fields of the response
    void *app_state           # the bridge's, during a turn; between turns the connection has it
    ProxyHeader proxy         # what the connection's PROXY header says, once EXCHANGE_PROXY is over
    uint8_t forwarded_seen    # the headers in which proxies describe the client were read
    uint8_t client_length     # 0: the client is the peer
    uint8_t client[ADDRESS_BYTES]  # sockaddr of the client, according to trusted proxies
    uint8_t id_is_sent        # the request has the field from which ids are taken
    uint32_t id_length        # 0: it has no id, or not yet
    char id[REQUEST_ID_BYTES]  # the request's, everywhere
    Chunked chunked
    Head head
    char inline_data[INLINE_BYTES]

# Exchanges for reuse. Any thread may get and put.
ctypedef struct ExchangePool:
    pthread_mutex_t lock
    Exchange *first
    uint32_t length
    bint keeps_heads          # its exchanges keep the heads of their responses

cdef void pool_init(ExchangePool *pool) noexcept nogil
cdef void pool_destroy(ExchangePool *pool) noexcept nogil
cdef Exchange *pool_get(ExchangePool *pool) noexcept nogil
cdef void pool_put(ExchangePool *pool, Exchange *exchange) noexcept nogil

# Return where to receive the next bytes. NULL: into any buffer of the caller's.
cdef char *exchange_room(Exchange *exchange, const Limits *limits, size_t *room) noexcept nogil
cdef int exchange_received(Exchange *exchange, const Limits *limits, char *data, size_t length) noexcept nogil
cdef bint exchange_has_more(const Exchange *exchange) noexcept nogil
cdef void exchange_follow(Exchange *exchange) noexcept nogil

# Keep a copy of the response's head, and free it. If memory is short, there is none.
cdef void keep_response_head(Exchange *exchange, const char *head) noexcept nogil
cdef void drop_response_head(Exchange *exchange) noexcept nogil

# Return the length of the line that begins at `at`, as far as it was received, without CR and LF.
cdef uint32_t exchange_line(const Exchange *exchange, uint32_t at) noexcept nogil


cdef inline void exchange_identify(
    Exchange *exchange, const IdSource *source, const uint8_t *address, int address_length
) noexcept nogil:
    """Give a request its id, unless it has one. source: NULL: requests have no ids. address: sockaddr of the peer.

    For the owner of the exchange, once the head is complete, or if it never will be.
    """
    if source != NULL and exchange.id_length == 0:
        exchange.id_length = request_id_of(
            source, &exchange.head, exchange.data, address, address_length, exchange.id, &exchange.id_is_sent)


cdef inline void exchange_note_framed(Exchange *exchange, int64_t now) noexcept nogil:
    """Note in the timeline what of a request is complete since the last call, at `now` ns."""
    if exchange.timeline.head_ns == 0 and exchange.head.length > 0:
        exchange.timeline.head_ns = now
    if exchange.phase == EXCHANGE_READY:
        exchange.timeline.complete_ns = now


cdef inline bint exchange_is_begun(const Exchange *exchange) noexcept nogil:
    """Return whether a part of a request was received, and not all of it."""
    return exchange.filled > 0 and exchange.phase in (EXCHANGE_HEAD, EXCHANGE_BODY)


cdef inline bint exchange_is_head(const Exchange *exchange) noexcept nogil:
    """Return whether the request's method is HEAD, whose response has no body (RFC 9110 9.3.2)."""
    return method_is(exchange.data + exchange.head.method, exchange.head.method_length, b"HEAD")


cdef inline bint exchange_is_get(const Exchange *exchange) noexcept nogil:
    """Return whether the request's method is GET."""
    return method_is(exchange.data + exchange.head.method, exchange.head.method_length, b"GET")


cdef inline uint32_t exchange_begin(const Exchange *exchange) noexcept nogil:
    """Return where the request line begins."""
    return exchange.head.method if exchange.head.method_length else exchange.head.line


cdef inline bint exchange_knows_target(const Exchange *exchange) noexcept nogil:
    """Return whether the request line was understood: method, target and version."""
    return exchange.head.seen_request_line and exchange.head.line > exchange.head.method


cdef inline void exchange_note_head(Exchange *exchange, const char *head, uint32_t length) noexcept nogil:
    """Note the head of the response, or of one that takes its place. For whoever has made it."""
    exchange.response_head_length = length
    if exchange.keeps_head:
        keep_response_head(exchange, head)


cdef inline int64_t exchange_body_sent(const Exchange *exchange) noexcept nogil:
    """Return how many bytes of the response's body were sent. If it was cut, framing of chunks may count as body."""
    return max(<int64_t> 0, min(exchange.sent, exchange.wire_sent - <int64_t> exchange.response_head_length))
