# The table of paths that the admin engine answers.
from halfsync.admin.answer cimport AdminAnswer, AdminView
from halfsync.exchange.exchange cimport Exchange

# Make the answer to a request: by the function of its path, or a refusal.
cdef void answer_path(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil
