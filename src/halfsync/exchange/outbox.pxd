# A response on its way: what the socket has not taken yet. One worker appends, the engine sends.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from posix.uio cimport iovec

from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.outcome cimport OUTCOME_NONE, Outcome, outcome_note_text
from halfsync.exchange.spool cimport SpoolFile, Store
from halfsync.exchange.timeline cimport timeline_note_sent
from halfsync.native.sync cimport atomic_uint, pthread_cond_t, pthread_mutex_t

cdef enum:
    VECTORS_MAX = 16          # memory segments that outbox_next offers to one send
    PIECE_BYTES = 256 * 1024  # appended at most at once: each piece waits for its own room
    SPOOL_TURN_BYTES = 16 * 1024 * 1024  # of a spool file that is never empty, before the next is begun

cdef enum SegmentKind:
    SEGMENT_MEMORY            # the bytes follow the segment itself
    SEGMENT_SPOOLED           # a range of one of the outbox's spool files
    SEGMENT_FILE              # a range of the application's file; the segment owns the descriptor

ctypedef struct Segment:
    Segment *next
    uint8_t kind
    int fd                    # SEGMENT_SPOOLED: of the spool file; SEGMENT_FILE: its own
    int64_t offset            # of the first byte not sent yet
    int64_t length            # bytes not sent yet

cdef enum OutboxEnd:
    OUTBOX_OPEN               # the worker may append
    OUTBOX_COMPLETE           # the response is whole
    OUTBOX_CUT                # the response broke off; its framing shows that
    OUTBOX_RESET              # it broke off, and only a reset shows that: it would end with the connection

# What the worker waits for.
cdef enum OutboxWait:
    OUTBOX_WAITS_NOT
    OUTBOX_WAITS_FOR_ROOM     # in memory or on the disk
    OUTBOX_WAITS_FOR_CLIENT   # to take more, since the response is far ahead of it

# What the engine finds to send.
cdef enum OutboxNext:
    NEXT_MEMORY               # vectors of memory
    NEXT_FILE                 # a range of a file
    NEXT_WAIT                 # nothing now: the worker will announce more
    NEXT_ENDED                # nothing, and nothing will come: see `end`

ctypedef struct Outbox:
    Outbox *next_announced    # in the engine's list of announcements
    atomic_uint references    # initially two: the worker's and the engine's
    atomic_uint announced     # it is in that list
    void *engine              # the engine to announce to
    void *request             # for the engine only; NULL once its connection has ended
    int64_t memory_limit
    Store *store
    int64_t *begun_ns         # when the worker's turn began; waiting adds to it. NULL: its turn has no deadline
    Outcome outcome           # engine; why it abandons the outbox
    int64_t first_sent_ns     # engine; when it sent something of the outbox first; 0: it has not
    int64_t last_sent_ns      # engine; and last
    int64_t wire_sent         # engine; bytes of it that were sent
    pthread_mutex_t lock      # guards everything below
    pthread_cond_t room       # signalled when the engine has sent something, or the client is gone
    Segment *first
    Segment *last
    int64_t memory            # bytes in memory segments, including the segments themselves
    int64_t spooled           # bytes in spool files not sent yet
    int64_t older_left        # those of them in the older file
    SpoolFile spool           # worker; the file it appends to
    SpoolFile older           # worker; the file before, until all of it is sent
    Exchange *exchange        # given to the engine by the worker at the end
    uint8_t keep_alive        # after the end
    uint8_t end               # OutboxEnd
    uint8_t gone              # the client is gone: nothing more will be sent
    uint8_t waits             # OutboxWait
    uint8_t starved           # the engine has nothing to send and waits for an announcement

cdef Outbox *outbox_open(void *engine, int64_t memory_limit, Store *store) noexcept nogil
cdef void outbox_release(Outbox *outbox) noexcept nogil

# The worker's side. Each function returns 1 if the engine must be informed, 0 if not, or -1: the client is gone. Inform
# the engine before the next call. outbox_wait may wait for the client, and outbox_append with `wait` may wait for room,
# so the caller must not hold the GIL. Without `wait`, what fits nowhere else goes to memory.
cdef int outbox_wait(Outbox *outbox, int64_t length, int64_t most) noexcept nogil
cdef int outbox_append(Outbox *outbox, const char *data, int64_t length, bint wait) noexcept nogil
cdef int outbox_append_file(Outbox *outbox, int fd, int64_t offset, int64_t length) noexcept nogil
cdef int outbox_finish(Outbox *outbox, int end, bint keep_alive, Exchange *exchange) noexcept nogil

# The engine's side.
cdef int outbox_next(Outbox *outbox, iovec *vectors, int *count, Segment **segment) noexcept nogil
cdef void outbox_sent(Outbox *outbox, int64_t length) noexcept nogil
cdef int64_t outbox_retry(Outbox *outbox) noexcept nogil
cdef int outbox_waits(Outbox *outbox) noexcept nogil
cdef int64_t outbox_ahead(Outbox *outbox) noexcept nogil
cdef bint outbox_is_gone(Outbox *outbox) noexcept nogil
cdef Exchange *outbox_abandon(Outbox *outbox) noexcept nogil


cdef inline void outbox_note_sent(Outbox *outbox, int64_t sent, int64_t now) noexcept nogil:
    """Note how many bytes of the outbox were sent, and when. For the engine."""
    outbox.wire_sent += sent
    if outbox.first_sent_ns == 0:
        outbox.first_sent_ns = now
    outbox.last_sent_ns = now


cdef inline void outbox_settle(Outbox *outbox, Exchange *exchange) noexcept nogil:
    """Note in an exchange what the engine has noted in its outbox. For the exchange's owner, at the response's end.

    The engine has sent all of the outbox, or has abandoned it.
    """
    exchange.wire_sent += outbox.wire_sent
    if outbox.first_sent_ns > 0:
        timeline_note_sent(&exchange.timeline, outbox.first_sent_ns)
        timeline_note_sent(&exchange.timeline, outbox.last_sent_ns)
    if outbox.outcome.kind != OUTCOME_NONE:
        outcome_note_text(&exchange.outcome, outbox.outcome.kind, outbox.outcome.reason)
