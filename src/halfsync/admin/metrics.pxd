# /metrics: what is counted of the server, summed over its processes, in the text format of Prometheus.
from halfsync.admin.answer cimport AdminAnswer, AdminView
from halfsync.exchange.exchange cimport Exchange

cdef void answer_metrics(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil
