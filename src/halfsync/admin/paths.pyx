# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""The paths that the admin engine answers, each with the function that makes its answer."""
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, strlen

from halfsync.admin.answer cimport AdminAnswerer, answer_text
from halfsync.admin.metrics cimport answer_metrics
from halfsync.admin.probes cimport answer_livez, answer_readyz
from halfsync.admin.status cimport answer_events, answer_page, answer_status
from halfsync.exchange.exchange cimport exchange_is_get, exchange_is_head
from halfsync.http.response_head cimport write_text

ctypedef struct AdminPath:
    const char *path          # the whole path; the query does not count
    AdminAnswerer answer

cdef AdminPath[6] PATHS
PATHS[:] = [
    AdminPath(b"/", answer_page),
    AdminPath(b"/status", answer_status),
    AdminPath(b"/events", answer_events),
    AdminPath(b"/livez", answer_livez),
    AdminPath(b"/metrics", answer_metrics),
    AdminPath(b"/readyz", answer_readyz),
]


cdef bint is_path(const Exchange *exchange, const char *path) noexcept nogil:
    cdef uint32_t length = <uint32_t> strlen(path)
    return exchange.head.path_length == length and memcmp(exchange.data + exchange.head.path, path, length) == 0


cdef void answer_unknown(AdminAnswer *answer) noexcept nogil:
    """Answer 404, and say which paths there are."""
    cdef char *at = write_text(answer.room, b"there are only")
    cdef size_t index
    for index in range(sizeof(PATHS) // sizeof(PATHS[0])):
        at = write_text(write_text(at, b" "), PATHS[index].path)
    at = write_text(at, b"\n")
    answer.status = 404
    answer.body = answer.room
    answer.length = at - answer.room


cdef void answer_path(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil:
    """Make the answer to a request. See the .pxd."""
    cdef size_t index
    if not exchange_is_get(exchange) and not exchange_is_head(exchange):
        answer_text(answer, 405, b"use GET or HEAD\n")
        return
    for index in range(sizeof(PATHS) // sizeof(PATHS[0])):
        if is_path(exchange, PATHS[index].path):
            PATHS[index].answer(view, exchange, answer)
            return
    answer_unknown(answer)
