# What names a request to people: its method, its path, and its ids.
from libc.string cimport memset

from halfsync.exchange.exchange cimport Exchange, exchange_knows_target
from halfsync.http.trace_context cimport trace_id_of
from halfsync.shared.activity cimport RequestNames


cdef inline void exchange_names(const Exchange *exchange, RequestNames *names) noexcept nogil:
    """Set what names a request, as far as it was understood. Valid as long as the exchange has this request."""
    memset(names, 0, sizeof(RequestNames))
    names.method = names.path = b""
    if exchange_knows_target(exchange):
        names.method = exchange.data + exchange.head.method
        names.method_length = exchange.head.method_length
        names.path = exchange.data + exchange.head.path
        names.path_length = exchange.head.path_length
    names.id = exchange.id
    names.id_length = exchange.id_length
    names.trace = trace_id_of(&exchange.head, exchange.data)
