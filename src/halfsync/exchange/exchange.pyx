"""One request on a connection: bytes in, a complete request out. No sockets, no threads, no Python objects.

The owner of a connection owns its exchange. It asks `exchange_room` where to receive, receives, and calls
`exchange_received`, which returns 1 (the request is complete), 0 (more is needed) or -status (refuse, and close). A
body up to `body_memory` bytes stays in memory; a longer one goes to an unlinked temporary file. Bytes behind the
request are kept, in order, for the next one: `exchange_follow` moves them to its beginning.

If a connection must begin with a PROXY header, its owner sets its first exchange to the phase EXCHANGE_PROXY. In that
phase, -1 means that there is no such header: close the connection without an answer.

The file is long because the pool of exchanges is in it: what an exchange owns, it begins with and gives back there.
"""
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy, memmove

from halfsync.exchange.blocks cimport BLOCK_BYTES, BLOCK_LEAST, blocks_give, blocks_take
from halfsync.exchange.outcome cimport outcome_reset
from halfsync.exchange.spool cimport spool_append, spool_close, spool_init, spool_reserve
from halfsync.exchange.timeline cimport timeline_reset
from halfsync.http.chunked cimport CHUNKED_DATA, CHUNKED_END, chunked_next, chunked_reset
from halfsync.http.parser cimport head_parse, head_reset
from halfsync.http.proxy_protocol cimport proxy_parse
from halfsync.native.checks cimport COUNT_BUFFER, COUNT_EXCHANGE, check, count
from halfsync.native.sync cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)

cdef enum:
    POOL_LIMIT = 256  # exchanges kept for reuse: 1.5 MiB at most
    FIRST_BODY_BYTES = 4096  # of memory for a chunked body; doubled as it grows


cdef void pool_init(ExchangePool *pool) noexcept nogil:
    """Initialize an empty pool."""
    pthread_mutex_init(&pool.lock, NULL)
    pool.first = NULL
    pool.length = 0
    pool.keeps_heads = False


cdef void pool_destroy(ExchangePool *pool) noexcept nogil:
    """Free the exchanges of a pool that is no longer used."""
    cdef Exchange *exchange
    while pool.first != NULL:
        exchange = pool.first
        pool.first = exchange.next
        free(exchange)
    pthread_mutex_destroy(&pool.lock)


cdef Exchange *pool_get(ExchangePool *pool) noexcept nogil:
    """Return an exchange for a new request, or NULL if memory is short."""
    cdef Exchange *exchange
    pthread_mutex_lock(&pool.lock)
    exchange = pool.first
    if exchange != NULL:
        pool.first = exchange.next
        pool.length -= 1
    pthread_mutex_unlock(&pool.lock)
    if exchange == NULL:
        exchange = <Exchange *> malloc(sizeof(Exchange))
        if exchange == NULL:
            return NULL
    count(COUNT_EXCHANGE, 1)
    exchange.data = exchange.inline_data
    exchange.capacity = INLINE_BYTES
    exchange.filled = 0
    exchange.spool.fd = -1
    exchange.block.owner = exchange.app_state = NULL
    exchange.blocks = NULL
    exchange.response_head = NULL
    exchange.keeps_head = pool.keeps_heads
    begin(exchange)
    return exchange


cdef void pool_put(ExchangePool *pool, Exchange *exchange) noexcept nogil:
    """Take back an exchange from its owner, with everything it holds."""
    count(COUNT_EXCHANGE, -1)
    check(exchange.app_state == NULL, "an exchange goes back with what its bridge keeps")
    drop_body(exchange)
    drop_data(exchange)
    drop_response_head(exchange)
    pthread_mutex_lock(&pool.lock)
    if pool.length < POOL_LIMIT:
        exchange.next = pool.first
        pool.first = exchange
        pool.length += 1
        exchange = NULL
    pthread_mutex_unlock(&pool.lock)
    free(exchange)


cdef void begin(Exchange *exchange) noexcept nogil:
    """Reset everything except data and filled for a new request."""
    exchange.phase = EXCHANGE_HEAD
    exchange.want_continue = False
    exchange.body_is_data = False
    exchange.used = 0
    exchange.body = NULL
    exchange.body_length = exchange.body_capacity = exchange.body_left = 0
    timeline_reset(&exchange.timeline)
    outcome_reset(&exchange.outcome)
    exchange.sent = exchange.status = 0
    exchange.wire_sent = exchange.response_head_length = 0
    exchange.forwarded_seen = exchange.client_length = exchange.id_is_sent = 0
    exchange.id_length = 0
    head_reset(&exchange.head)


cdef void drop_data(Exchange *exchange) noexcept nogil:
    """Free the input buffer if it outgrew the exchange."""
    if exchange.data != exchange.inline_data:
        free(exchange.data)
        count(COUNT_BUFFER, -1)
        exchange.data = exchange.inline_data
        exchange.capacity = INLINE_BYTES


cdef void drop_body(Exchange *exchange) noexcept nogil:
    """Free the body, in memory, in its block or on disk."""
    cdef bint given
    if exchange.block.owner != NULL:
        given = blocks_give(exchange.blocks, &exchange.block)
        check(given, "there are more blocks than their pool can hold")
        exchange.block.owner = NULL
    elif exchange.body != NULL and not exchange.body_is_data:
        free(exchange.body)
        count(COUNT_BUFFER, -1)
    exchange.body = NULL
    exchange.blocks = NULL
    if exchange.spool.fd >= 0:
        spool_close(&exchange.spool)


cdef void drop_response_head(Exchange *exchange) noexcept nogil:
    """Free the copy of the response's head, if there is one."""
    if exchange.response_head != NULL:
        free(exchange.response_head)
        exchange.response_head = NULL
        count(COUNT_BUFFER, -1)


cdef void keep_response_head(Exchange *exchange, const char *head) noexcept nogil:
    """Keep a copy of the response's head. See the .pxd."""
    drop_response_head(exchange)
    exchange.response_head = <char *> malloc(exchange.response_head_length)
    if exchange.response_head != NULL:
        count(COUNT_BUFFER, 1)
        memcpy(exchange.response_head, head, exchange.response_head_length)


cdef int grow_data(Exchange *exchange, uint32_t capacity) noexcept nogil:
    """Make room for `capacity` bytes of input. Returns -1 if memory is short."""
    cdef char *data
    if exchange.data == exchange.inline_data:
        data = <char *> malloc(capacity)
        if data == NULL:
            return -1
        memcpy(data, exchange.inline_data, exchange.filled)
        count(COUNT_BUFFER, 1)
    else:
        data = <char *> realloc(exchange.data, capacity)
        if data == NULL:
            return -1
    exchange.data = data
    exchange.capacity = capacity
    return 0


cdef char *exchange_room(Exchange *exchange, const Limits *limits, size_t *room) noexcept nogil:
    """Return where to receive to. NULL: any buffer of the caller's will do (or memory is short)."""
    if limits.raw:
        return NULL
    if exchange.phase == EXCHANGE_HEAD or exchange.phase == EXCHANGE_PROXY:
        if exchange.filled == exchange.capacity and grow_data(exchange, exchange.capacity * 2) < 0:
            return NULL
        room[0] = exchange.capacity - exchange.filled
        return exchange.data + exchange.filled
    if exchange.phase == EXCHANGE_BODY and exchange.body != NULL and exchange.body_left > 0:
        room[0] = exchange.body_capacity - exchange.body_length
        return exchange.body + exchange.body_length
    return NULL


cdef int exchange_received(Exchange *exchange, const Limits *limits, char *data, size_t length) noexcept nogil:
    """Take received bytes, which lie where exchange_room pointed, or in a buffer of the caller's.

    Returns 1 if the request is complete, 0 if more is needed, -status if it must be refused, and -1 if a required PROXY
    header is missing.
    """
    cdef int result
    check(exchange.phase != EXCHANGE_READY, "bytes for a complete request")
    if exchange.phase == EXCHANGE_BODY:
        return body_received(exchange, limits, data, length)
    if data != exchange.data + exchange.filled:
        while exchange.capacity - exchange.filled < length:
            if grow_data(exchange, exchange.capacity * 2) < 0:
                return -503
        memcpy(exchange.data + exchange.filled, data, length)
    exchange.filled += <uint32_t> length
    if exchange.phase == EXCHANGE_PROXY:
        result = proxy_received(exchange)
        if result <= 0 or exchange.filled == 0:
            return min(result, 0)
    if limits.raw:
        exchange.used = exchange.filled
        exchange.head.keep_alive = True
        exchange.phase = EXCHANGE_READY
        return 1
    return head_received(exchange, limits)


cdef int proxy_received(Exchange *exchange) noexcept nogil:
    """Read the PROXY header as far as received. Returns 1 at its end, 0 if more is needed, -1 if it is not one."""
    cdef int length = proxy_parse(exchange.data, exchange.filled, &exchange.proxy)
    if length <= 0:
        return length
    exchange.filled -= length
    memmove(exchange.data, exchange.data + length, exchange.filled)
    exchange.phase = EXCHANGE_HEAD
    return 1


cdef int head_received(Exchange *exchange, const Limits *limits) noexcept nogil:
    """Parse the head as far as received, and the body behind it once the head is complete."""
    cdef Head *head = &exchange.head
    cdef int length = head_parse(head, exchange.data, exchange.filled, &limits.head)
    if length <= 0:
        return length
    exchange.used = length
    exchange.phase = EXCHANGE_BODY
    if head.chunked:
        exchange.body_left = -1
        chunked_reset(&exchange.chunked)
    elif head.content_length > limits.max_body:
        return -413
    elif head.content_length <= 0:
        exchange.phase = EXCHANGE_READY
        return 1
    else:
        exchange.body_left = head.content_length
        if exchange.filled - exchange.used >= head.content_length:
            exchange.body = exchange.data + exchange.used
            exchange.body_is_data = True
            exchange.body_length = head.content_length
            exchange.body_left = 0
            exchange.used += <uint32_t> head.content_length
            exchange.phase = EXCHANGE_READY
            return 1
        if (
            head.content_length <= limits.body_memory and not take_block(exchange, limits, head.content_length)
            and reserve_body(exchange, head.content_length) < 0
        ):
            return -503
    if exchange.filled == exchange.used:
        exchange.want_continue = head.expect_continue
        return 0
    return body_received(exchange, limits, exchange.data + exchange.used, exchange.filled - exchange.used)


cdef bint take_block(Exchange *exchange, const Limits *limits, int64_t length) noexcept nogil:
    """Take a block for the body. Returns False if no block fits or none is left."""
    if limits.blocks == NULL or not BLOCK_LEAST <= length <= BLOCK_BYTES:
        return False
    exchange.blocks = limits.blocks
    if not blocks_take(limits.blocks, &exchange.block):
        return False
    exchange.body = exchange.block.data
    exchange.body_capacity = length + BODY_SLACK
    return True


cdef int reserve_body(Exchange *exchange, int64_t length) noexcept nogil:
    """Make room in memory for a body of `length` bytes, with slack behind it. Returns -1 if memory is short."""
    cdef char *body = <char *> realloc(exchange.body, length + BODY_SLACK)
    if body == NULL:
        return -1
    if exchange.body == NULL:
        count(COUNT_BUFFER, 1)
    exchange.body = body
    exchange.body_capacity = length + BODY_SLACK
    return 0


cdef int body_received(Exchange *exchange, const Limits *limits, char *data, size_t length) noexcept nogil:
    """Take bytes of the body, and keep what follows it. Returns what exchange_received returns."""
    cdef size_t used = 0
    cdef int result
    if exchange.body_left >= 0:
        used = <size_t> exchange.body_left if <int64_t> length > exchange.body_left else length
        result = store_body(exchange, limits, data, used)
        if result < 0:
            return result
        exchange.body_left -= used
        if exchange.body_left > 0:
            keep_leftover(exchange, data, 0)
            return 0
    else:
        result = decode_chunked(exchange, limits, data, length, &used)
        if result <= 0:
            keep_leftover(exchange, data, 0)
            return result
    if keep_leftover(exchange, data + used, length - used) < 0:
        return -503
    exchange.phase = EXCHANGE_READY
    return 1


cdef int decode_chunked(
    Exchange *exchange, const Limits *limits, char *data, size_t length, size_t *used
) noexcept nogil:
    """Decode a piece of a chunked body. Returns 1 at its end, 0 if more is needed, or -status.

    The bytes of all chunks are moved together at the front of `data` and stored at once: a client that sends chunks of
    one byte must not make the engine write to its file byte by byte.
    """
    cdef size_t taken, at, piece
    cdef size_t joined = 0
    cdef int event, result
    while True:
        event = chunked_next(&exchange.chunked, data + used[0], length - used[0], &taken, &at, &piece)
        if event < 0:
            return event
        if event != CHUNKED_DATA:
            break
        if exchange.body_length + <int64_t> (joined + piece) > limits.max_body:
            return -413
        memmove(data + joined, data + used[0] + at, piece)
        joined += piece
        used[0] += taken
    used[0] += taken
    if joined > 0:
        result = store_body(exchange, limits, data, joined)
        if result < 0:
            return result
    return 1 if event == CHUNKED_END else 0


cdef int store_body(Exchange *exchange, const Limits *limits, const char *data, size_t length) noexcept nogil:
    """Append to the body in memory or, once it is too long for that, on disk. Returns 0 or -status."""
    cdef int64_t total = exchange.body_length + <int64_t> length
    cdef int64_t wanted = total
    if exchange.body_left > 0:
        wanted = exchange.body_length + exchange.body_left
    if exchange.spool.fd < 0 and wanted <= limits.body_memory:
        if exchange.body != NULL and data == exchange.body + exchange.body_length:
            exchange.body_length = total  # received in place
            return 0
        if total + BODY_SLACK > exchange.body_capacity:
            wanted = exchange.body_capacity * 2 if exchange.body_capacity > 0 else FIRST_BODY_BYTES
            if reserve_body(exchange, max(wanted, total)) < 0:
                return -503
        memcpy(exchange.body + exchange.body_length, data, length)
        exchange.body_length = total
        return 0
    if exchange.spool.fd < 0:
        spool_init(&exchange.spool, limits.store)
        if exchange.body_length > 0 and spill(exchange, exchange.body, exchange.body_length) < 0:
            return -503
        if exchange.body != NULL:
            free(exchange.body)
            count(COUNT_BUFFER, -1)
            exchange.body = NULL
            exchange.body_capacity = 0
    if spill(exchange, data, length) < 0:
        return -503
    exchange.body_length = total
    return 0


cdef int spill(Exchange *exchange, const char *data, int64_t length) noexcept nogil:
    """Append to the body's file within the budget. Returns -1 if the budget or the disk is exhausted."""
    if spool_reserve(&exchange.spool, length) < 0 or spool_append(&exchange.spool, data, length) < 0:
        spool_close(&exchange.spool)
        return -1
    return 0


cdef int keep_leftover(Exchange *exchange, const char *data, size_t length) noexcept nogil:
    """Keep the bytes behind the request in `data`, for the next request. Returns -1 if memory is short."""
    if exchange.data <= data <= exchange.data + exchange.filled and length > 0:
        exchange.used = <uint32_t> (data - exchange.data)  # they are already there
        return 0
    # What was behind the head was body and has been stored: the next request's bytes take its place.
    exchange.used = exchange.filled = exchange.head.length
    while exchange.capacity - exchange.filled < length:
        if grow_data(exchange, exchange.capacity * 2) < 0:
            return -1
    memcpy(exchange.data + exchange.filled, data, length)
    exchange.filled += <uint32_t> length
    return 0


cdef bint exchange_has_more(const Exchange *exchange) noexcept nogil:
    """Return whether bytes of a following request have been received."""
    return exchange.filled > exchange.used


cdef void exchange_follow(Exchange *exchange) noexcept nogil:
    """Move the bytes behind a finished request to the beginning, for the next one."""
    check(exchange.phase == EXCHANGE_READY, "an unfinished request is followed")
    drop_body(exchange)
    drop_response_head(exchange)
    exchange.filled -= exchange.used
    memmove(exchange.data, exchange.data + exchange.used, exchange.filled)
    begin(exchange)


cdef uint32_t exchange_line(const Exchange *exchange, uint32_t at) noexcept nogil:
    """Return the length of the line that begins at `at`. See the .pxd."""
    cdef const char *begin = exchange.data + at
    cdef const char *found = <const char *> memchr(begin, c"\n", exchange.filled - at)
    cdef uint32_t length = exchange.filled - at if found == NULL else <uint32_t> (found - begin)
    return length - 1 if length > 0 and begin[length - 1] == c"\r" else length
