# An answer of the admin engine, and what it is made from. Every function that makes one runs on the engine's thread,
# without the GIL, and reads shared memory only: nothing that it answers may wait for a worker.
from libc.string cimport strlen

from halfsync.exchange.exchange cimport Exchange
from halfsync.shared.activity cimport ActivityTable
from halfsync.shared.metrics cimport Metrics
from halfsync.shared.slots cimport ScoreboardRecord

# What answers are made from.
ctypedef struct AdminView:
    ScoreboardRecord *scoreboard
    ActivityTable *activity
    Metrics *metrics
    unsigned int max_stuck    # a process with more stuck threads is not ready
    const char *page          # the document at /
    size_t page_length
    const char *page_policy   # its Content-Security-Policy

# The answer to one request. Whoever makes it sets the status and the body, and the type unless it is plain text.
ctypedef struct AdminAnswer:
    int status
    const char *content_type  # with its charset; a constant text
    const char *body          # at `room`, or constant bytes
    size_t length             # of the body
    char *room                # where a body may be written
    size_t room_bytes
    const char *policy        # Content-Security-Policy; NULL: none
    bint goes_on              # it does not end: events follow

# Make the answer to a GET or HEAD of a path.
ctypedef void (*AdminAnswerer)(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil


cdef inline void answer_text(AdminAnswer *answer, int status, const char *text) noexcept nogil:
    """Answer with a constant text."""
    answer.status = status
    answer.body = text
    answer.length = strlen(text)
