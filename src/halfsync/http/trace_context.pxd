# The trace that a request belongs to: its field traceparent (W3C Trace Context, 3.2).
from halfsync.http.parser cimport Head

cdef enum:
    TRACE_ID_BYTES = 32       # hexadecimal digits

# Return the trace id in the head, TRACE_ID_BYTES; NULL: there is none, or the field is invalid or repeated.
cdef const char *trace_id_of(const Head *head, const char *data) noexcept nogil
