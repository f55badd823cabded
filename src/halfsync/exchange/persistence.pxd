# Whether a connection stays open for another request once a response is sent (RFC 9112 9.3). Plain values in, one
# answer out, for any thread.
from libc.stdint cimport uint32_t


cdef inline bint may_stay(
    bint asked, bint enabled, bint ending, uint32_t answered, uint32_t answers_max
) noexcept nogil:
    """Tell, before a response is made, whether the connection may stay after it.

    asked: the version and the Connection fields of the request allow it (`Head.keep_alive`). enabled: the setting
    `keep_alive` is not 0. ending: the server, or this connection's process, is about to end. answered: requests on the
    connection, this one among them; answers_max: how many there may be; 0: any number.
    """
    return asked and enabled and not ending and (answers_max == 0 or answered < answers_max)


cdef inline bint stays_after(bint may, bint closes, bint until_close) noexcept nogil:
    """Tell, once the head is known, whether the connection stays.

    may: as `may_stay` said. closes: the response's own fields say close (RFC 9112 9.6). until_close: its body ends with
    the connection, since nothing else shows its end (RFC 9112 6.3).
    """
    return may and not closes and not until_close
