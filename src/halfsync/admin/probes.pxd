# An orchestrator's probes: whether the server is alive, and whether it is ready for requests.
from halfsync.admin.answer cimport AdminAnswer, AdminView, answer_text
from halfsync.exchange.exchange cimport Exchange
from halfsync.native.sync cimport load_uint
from halfsync.shared.slots cimport scoreboard_serving


cdef inline void answer_livez(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil:
    """Answer 200 as long as this engine runs."""
    answer_text(answer, 200, b"ok\n")


cdef inline void answer_readyz(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil:
    """Answer 200 while a process serves and the server is not about to end, else 503.

    A process with more stuck threads than `max_stuck` does not count.
    """
    if load_uint(&view.scoreboard.shutting_down):
        answer_text(answer, 503, b"the server is shutting down\n")
    elif scoreboard_serving(view.scoreboard, view.max_stuck) == 0:
        answer_text(answer, 503, b"no process is serving\n")
    else:
        answer_text(answer, 200, b"ok\n")
