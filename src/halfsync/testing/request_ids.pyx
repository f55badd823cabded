"""What a head says about the id of its request and about its trace, for their unit tests. Only in checks builds."""
from libc.stdint cimport uint8_t

from halfsync.http.parser cimport FIELDS_MAX, Head, HeadLimits, head_parse, head_reset
from halfsync.http.request_id cimport REQUEST_ID_BYTES, RequestIds, request_id_of
from halfsync.http.trace_context cimport TRACE_ID_BYTES, trace_id_of

ID_MOST = <int> REQUEST_ID_BYTES

cdef enum:
    PLENTY = 1 << 15


cdef int parse(Head *head, bytes data) except -1:
    """Parse a whole head."""
    cdef HeadLimits limits
    limits.request_line = limits.field = PLENTY
    limits.fields = FIELDS_MAX
    limits.head = 4 * PLENTY
    head_reset(head)
    if head_parse(head, data, len(data), &limits) != len(data):
        raise ValueError(f"not a head: {data!r}")
    return 0


def request_id(RequestIds ids not None, bytes data not None, bytes address not None):
    """Return the id of a request, and whether the field was sent. address: sockaddr of the peer."""
    cdef Head head
    cdef char[REQUEST_ID_BYTES] id
    cdef uint8_t is_sent = 2
    cdef const uint8_t *peer = address
    parse(&head, data)
    length = request_id_of(&ids.source, &head, data, peer, len(address), id, &is_sent)
    return id[:length].decode("ascii"), bool(is_sent)


def trace_id(bytes data not None):
    """Return the trace id of a request, or None."""
    cdef Head head
    cdef const char *found
    parse(&head, data)
    found = trace_id_of(&head, data)
    return None if found == NULL else found[:TRACE_ID_BYTES].decode("ascii")
