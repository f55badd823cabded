# Whether a connection stays open for another request after a response (RFC 9112 9.3). Plain values in, one answer out,
# for any thread.
from libc.stdint cimport uint32_t


cdef inline bint may_stay(
    bint asked, bint enabled, bint ending, uint32_t answered, uint32_t answers_max
) noexcept nogil:
    """Return whether the connection may stay after a response. Called before the response is made.

    asked: the version and the Connection fields of the request allow it (`Head.keep_alive`). enabled: the setting
    `keep_alive` is not 0. ending: the server, or this connection's process, is about to end. answered: requests on the
    connection, including this one. answers_max: their limit; 0: none.
    """
    return asked and enabled and not ending and (answers_max == 0 or answered < answers_max)


cdef inline bint stays_after(bint may, bint closes, bint until_close) noexcept nogil:
    """Return whether the connection stays. Called once the response's head is known.

    may: the result of `may_stay`. closes: the response's own fields say close (RFC 9112 9.6). until_close: its body
    ends with the connection, since nothing else shows its end (RFC 9112 6.3).
    """
    return may and not closes and not until_close
