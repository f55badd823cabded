# A response on its way: what the socket has not taken yet. One worker appends, the engine sends.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from posix.uio cimport iovec

from halfsync.exchange cimport Exchange
from halfsync.native.sync cimport atomic_uint, pthread_cond_t, pthread_mutex_t
from halfsync.spool cimport SpoolFile, Store

cdef enum:
    VECTORS_MAX = 16          # memory segments that outbox_next offers to one send
    PIECE_BYTES = 256 * 1024  # appended at most at once: a piece waits for its room on its own

cdef enum SegmentKind:
    SEGMENT_MEMORY            # the bytes follow the segment itself
    SEGMENT_SPOOLED           # a range of the outbox's spool file
    SEGMENT_FILE              # a range of a file of the application's; the descriptor is the segment's own

ctypedef struct Segment:
    Segment *next
    uint8_t kind
    int fd                    # SEGMENT_FILE
    int64_t offset            # of the first byte not sent yet
    int64_t length            # bytes not sent yet

cdef enum OutboxEnd:
    OUTBOX_OPEN               # the worker may append
    OUTBOX_COMPLETE           # the response is whole
    OUTBOX_CUT                # the response broke off; its framing shows that
    OUTBOX_RESET              # it broke off, and only a reset shows that: its end was to be the end of the connection

# What the engine finds to send.
cdef enum OutboxTurn:
    TURN_MEMORY               # vectors of memory
    TURN_FILE                 # a range of a file
    TURN_WAIT                 # nothing now: the worker will announce more
    TURN_ENDED                # nothing, and nothing will come: see end

ctypedef struct Outbox:
    Outbox *next_announced    # in the engine's list of announcements
    atomic_uint references    # two at first: the worker's and the engine's
    atomic_uint announced     # it is in that list
    void *engine              # whom to announce to
    void *connection          # the engine's only; NULL once that has ended
    int64_t memory_limit
    Store *store
    pthread_mutex_t lock      # guards everything below
    pthread_cond_t room       # signalled when the engine has sent something, or the client is gone
    Segment *first
    Segment *last
    int64_t memory            # bytes held in memory segments, and by them
    int64_t spooled           # bytes in the spool file not sent yet
    SpoolFile spool
    Exchange *exchange        # given over by the worker with the end
    uint8_t keep_alive        # after the end
    uint8_t end               # OutboxEnd
    uint8_t gone              # the client is: nothing will be sent any more
    uint8_t waits             # its worker waits for room
    uint8_t starved           # the engine has nothing to send and waits for an announcement

cdef Outbox *outbox_open(void *engine, int64_t memory_limit, Store *store) noexcept nogil
cdef void outbox_release(Outbox *outbox) noexcept nogil

# The worker's side. Each returns 1 when the engine must be told, 0, or -1: gone. The engine must be told before the
# next call. With `wait` outbox_append may wait for room, so the caller must not hold the GIL; without, what fits
# nowhere else goes to memory.
cdef int outbox_append(Outbox *outbox, const char *data, int64_t length, bint wait) noexcept nogil
cdef int outbox_append_file(Outbox *outbox, int fd, int64_t offset, int64_t length) noexcept nogil
cdef int outbox_finish(Outbox *outbox, int end, bint keep_alive, Exchange *exchange) noexcept nogil

# The engine's side.
cdef int outbox_next(Outbox *outbox, iovec *vectors, int *count, Segment **segment) noexcept nogil
cdef void outbox_sent(Outbox *outbox, int64_t length) noexcept nogil
cdef int64_t outbox_let_try(Outbox *outbox) noexcept nogil
cdef bint outbox_is_gone(Outbox *outbox) noexcept nogil
cdef Exchange *outbox_abandon(Outbox *outbox) noexcept nogil
