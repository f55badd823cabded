# What a server does now: as JSON, as server-sent events, and the page that shows these. See status.pyx.
from libc.stdint cimport int64_t

from halfsync.admin.answer cimport AdminAnswer, AdminView
from halfsync.exchange.exchange cimport Exchange

cdef void answer_page(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil
cdef void answer_status(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil
cdef void answer_events(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil

# Write an event, of at most `room` bytes. Returns its length.
cdef int64_t write_event(const AdminView *view, char *buffer, int64_t room) noexcept nogil
