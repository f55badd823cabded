# How a connection ends after its last response (RFC 9112 9.6). To close at once, with bytes unread, would reset it, and
# the client would lose what it has not received yet. So it is half-closed, and what still comes is dropped, until the
# client closes too or `linger` is over (exchange/deadlines).
from libc.stdint cimport int64_t

from halfsync.transport.transport cimport Transport, is_want, transport_receive

cdef enum:
    # Dropped at once, before a close: more than a socket's buffer holds. A client that goes on sending is not followed.
    LINGER_DISCARD_BYTES = 8 * 1024 * 1024
    REJECTED_LINGERING_MAX = 256  # connections that linger after they were rejected, at one time
    LINGER_CHECK_NS = 10000000  # between two checks of what the client has acknowledged, once the server ends


cdef inline bint linger_discard(Transport *transport, char *scratch, size_t room) noexcept nogil:
    """Drop what was received and not read. Returns False once the client has closed. Never waits.

    scratch: room for some of it.
    """
    cdef ssize_t length
    cdef size_t _visits
    for _visits in range(LINGER_DISCARD_BYTES // room):
        length = transport_receive(transport, scratch, room)
        if length <= 0:
            return is_want(length)
    return True


cdef inline bint linger_may_end(bint ending, int64_t unacknowledged) noexcept nogil:
    """Return whether a lingering connection may be closed before its deadline: its client has the whole response.

    ending: the server hands off or ends, and waits for no client that has all it needs. unacknowledged: bytes that were
    sent, as transport_unacknowledged tells.
    """
    return ending and unacknowledged <= 0
