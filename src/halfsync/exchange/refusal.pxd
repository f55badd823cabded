# What a refused request is answered, and the reason in words. Pure functions over the exchange, for any thread.
from libc.stdint cimport int64_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.http.response_head cimport ServerFields

# Write an error page, and note in its exchange (NULL: nothing was received) what is sent. Every refusal goes through
# this function. stays: the connection stays. response: ERROR_BYTES. sent: bytes of its body. Returns its length.
cdef int exchange_error(Exchange *exchange, int status, const ServerFields *fields, bint stays, char *response,
                        int64_t *sent) noexcept nogil

# Return why a request was refused with this status, or a connection without an answer (0), in words. reason: a Reason;
# REASON_NONE: what its exchange (NULL: nothing was received) and the status say. A constant text.
cdef const char *refusal_text(const Exchange *exchange, int status, int reason) noexcept nogil
