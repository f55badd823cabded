# Interim responses, sent by the owner of the connection.
from halfsync.http.response_head cimport CONTINUE_BYTES, write_continue
from halfsync.transport.transport cimport Transport, transport_send_whole


cdef inline void send_continue(Transport *transport) noexcept nogil:
    """Send a 100 Continue (RFC 9110 15.2.1), if the transport takes it at once."""
    cdef char[CONTINUE_BYTES] interim
    transport_send_whole(transport, interim, write_continue(interim) - interim)
