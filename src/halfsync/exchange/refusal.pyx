"""The answer to a refused request, and the reason: what the parser says, or else what the status stands for."""
from libc.stdint cimport int64_t, uint32_t

from halfsync.exchange.exchange cimport EXCHANGE_PROXY, Exchange, exchange_is_head, exchange_note_head
from halfsync.exchange.reasons cimport REASON_NONE, reason_text
from halfsync.http.response_head cimport ServerFields, write_error


cdef int exchange_error(
    Exchange *exchange, int status, const ServerFields *fields, bint stays, char *response, int64_t *sent
) noexcept nogil:
    """Write an error page. See the .pxd."""
    cdef bint is_head = exchange != NULL and exchange_is_head(exchange)
    cdef int length = write_error(response, fields, status, stays, is_head, sent)
    if exchange != NULL:
        exchange.status = status
        exchange.sent = sent[0]
        exchange_note_head(exchange, response, length - <uint32_t> sent[0])
    return length


cdef const char *refusal_text(const Exchange *exchange, int status, int reason) noexcept nogil:
    """Return why a request was refused: the caller's reason, the parser's, or else what the status stands for."""
    if reason != REASON_NONE:
        return reason_text(reason)
    if exchange != NULL and exchange.phase == EXCHANGE_PROXY:
        return b"it does not begin with a PROXY header, which proxy_protocol asks for"
    if exchange != NULL and exchange.head.refused > 0 and exchange.head.refused == status:
        return exchange.head.reason
    if exchange != NULL and exchange.head.chunked and exchange.chunked.refused == status:
        return exchange.chunked.reason
    if status == 408:
        return b"it did not come in time"
    if status == 413:
        return b"its body is longer than max_body"
    return b"there is no room for it in memory, in spool_disk or on the disk"
