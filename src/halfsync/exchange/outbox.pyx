"""A response that its socket did not take at once, on its way to the client.

The worker that makes the response appends; the engine sends at the client's speed. Neither waits for the other, except
that a worker with a slow client waits in two cases: for room, once the response's memory and the server's spool budget
are both full; and for the client, before it makes more of a response that is far ahead of it (outbox_wait). Each piece
that the engine sends, and the end of the connection, wakes a waiting worker, so the engine's write deadline bounds the
wait. The time in which a worker waits is not the application's: it postpones the deadline of the turn.

One lock guards the list of segments. It is held only to link or unlink one: bytes are copied, written and sent outside
it. The outbox has two references and is freed with the second.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.unistd cimport close

from halfsync.exchange.outcome cimport outcome_reset
from halfsync.exchange.spool cimport spool_append, spool_close, spool_init, spool_reserve
from halfsync.native.checks cimport COUNT_OUTBOX, COUNT_SEGMENT, check, count
from halfsync.native.sync cimport (
    add_uint, atomic_uint, init_uint, monotonic_ns, pthread_cond_destroy, pthread_cond_init, pthread_cond_signal,
    pthread_cond_wait, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock, sub_uint,
)


cdef Outbox *outbox_open(void *engine, int64_t memory_limit, Store *store) noexcept nogil:
    """Make an empty outbox with both its references. Returns NULL if memory is short."""
    cdef Outbox *outbox = <Outbox *> malloc(sizeof(Outbox))
    if outbox == NULL:
        return NULL
    count(COUNT_OUTBOX, 1)
    init_uint(&outbox.references, 2)
    init_uint(&outbox.announced, 0)
    outbox.next_announced = NULL
    outbox.engine = engine
    outbox.request = NULL
    outbox.exchange = NULL
    outbox.memory_limit = memory_limit
    outbox.store = store
    outbox.begun_ns = NULL
    outcome_reset(&outbox.outcome)
    outbox.first_sent_ns = outbox.last_sent_ns = outbox.wire_sent = 0
    outbox.keep_alive = False
    pthread_mutex_init(&outbox.lock, NULL)
    pthread_cond_init(&outbox.room, NULL)
    outbox.first = outbox.last = NULL
    outbox.memory = outbox.spooled = outbox.older_left = 0
    spool_init(&outbox.spool, store)
    spool_init(&outbox.older, store)
    outbox.end = OUTBOX_OPEN
    outbox.waits = OUTBOX_WAITS_NOT
    outbox.gone = outbox.starved = False
    return outbox


cdef void outbox_release(Outbox *outbox) noexcept nogil:
    """Release one reference. The exchange must have been taken out before the last one."""
    if sub_uint(&outbox.references, 1) != 1:
        return
    check(outbox.exchange == NULL, "an outbox is freed with its exchange")
    drop_segments(outbox)
    spool_close(&outbox.spool)
    spool_close(&outbox.older)
    pthread_cond_destroy(&outbox.room)
    pthread_mutex_destroy(&outbox.lock)
    free(outbox)
    count(COUNT_OUTBOX, -1)


cdef void drop_segment(Segment *segment) noexcept nogil:
    """Free a segment that is not in a list."""
    if segment.kind == SEGMENT_FILE:
        close(segment.fd)
    free(segment)
    count(COUNT_SEGMENT, -1)


cdef void drop_segments(Outbox *outbox) noexcept nogil:
    """Free every segment. The caller holds the lock or the last reference."""
    cdef Segment *segment
    while outbox.first != NULL:
        segment = outbox.first
        outbox.first = segment.next
        drop_segment(segment)
    outbox.last = NULL
    outbox.memory = outbox.spooled = outbox.older_left = 0


cdef Segment *new_segment(int kind, int64_t length, size_t extra) noexcept nogil:
    """Make a segment, with `extra` bytes behind it. Returns NULL if memory is short."""
    cdef Segment *segment = <Segment *> malloc(sizeof(Segment) + extra)
    if segment != NULL:
        count(COUNT_SEGMENT, 1)
        segment.next = NULL
        segment.kind = kind
        segment.fd = -1
        segment.offset = 0
        segment.length = length
    return segment


cdef int link(Outbox *outbox, Segment *segment) noexcept nogil:
    """Append a segment. The caller holds the lock. Returns 1 if the engine waits for it, else 0."""
    cdef int starved = outbox.starved
    if outbox.last == NULL:
        outbox.first = segment
    else:
        outbox.last.next = segment
    outbox.last = segment
    outbox.starved = False
    return starved


cdef void wait_for(Outbox *outbox, int what, atomic_uint *waiters) noexcept nogil:
    """Wait until the engine has sent something or lets the worker look again, or the client is gone.

    what: an OutboxWait; `waiters` counts the threads in it. The caller holds the lock.
    """
    cdef int64_t since = monotonic_ns()
    outbox.waits = what
    add_uint(waiters, 1)
    pthread_cond_wait(&outbox.room, &outbox.lock)
    sub_uint(waiters, 1)
    outbox.waits = OUTBOX_WAITS_NOT
    if outbox.begun_ns != NULL:
        outbox.begun_ns[0] += monotonic_ns() - since


cdef int outbox_wait(Outbox *outbox, int64_t length, int64_t most) noexcept nogil:
    """Wait until the response, with `length` more bytes, is at most `most` bytes ahead of its client. Returns 0, or -1.

    A longer piece waits until everything before it is sent. Files that the response sends do not count: they exist
    anyway.
    """
    cdef bint gone
    pthread_mutex_lock(&outbox.lock)
    while not outbox.gone and outbox.first != NULL and outbox.memory + outbox.spooled + length > most:
        wait_for(outbox, OUTBOX_WAITS_FOR_CLIENT, &outbox.store.held)
    gone = outbox.gone
    pthread_mutex_unlock(&outbox.lock)
    return -1 if gone else 0


cdef void reclaim_spool(Outbox *outbox) noexcept nogil:
    """Give back the disk space of what was sent. The caller holds the lock.

    A file is closed once all its bytes are sent. If a stream is always a little ahead of its client, its file never
    becomes empty. So after SPOOL_TURN_BYTES the next file is begun, while the engine sends the rest of the older one.
    """
    if outbox.older.end > 0 and outbox.older_left == 0:
        spool_close(&outbox.older)
    if outbox.spool.end > 0 and outbox.spooled == outbox.older_left:
        spool_close(&outbox.spool)
    elif outbox.spool.end >= SPOOL_TURN_BYTES and outbox.older.end == 0:
        outbox.older = outbox.spool
        outbox.older_left = outbox.spooled
        spool_init(&outbox.spool, outbox.store)


cdef int take_room(Outbox *outbox, int64_t length, bint wait) noexcept nogil:
    """Reserve room for a piece. Returns the SegmentKind to make of it, or -1: the client is gone. For outbox_append.

    An empty outbox takes a piece whatever the limits: it would have nothing to send, and so would never get room.
    """
    cdef int64_t cost = length + <int64_t> sizeof(Segment)  # small pieces must not cost memory that is not counted
    cdef int kind = -1
    pthread_mutex_lock(&outbox.lock)
    while not outbox.gone:
        if outbox.memory + cost <= outbox.memory_limit:
            kind = SEGMENT_MEMORY
            break
        reclaim_spool(outbox)
        if spool_reserve(&outbox.spool, length) == 0:
            kind = SEGMENT_SPOOLED
            break
        if outbox.first == NULL or not wait:
            kind = SEGMENT_MEMORY  # with nothing to send, a wait for room would never end
            break
        wait_for(outbox, OUTBOX_WAITS_FOR_ROOM, &outbox.store.waiters)
    if kind == SEGMENT_MEMORY:
        outbox.memory += cost
    pthread_mutex_unlock(&outbox.lock)
    return kind


cdef Segment *fill_segment(Outbox *outbox, int kind, const char *data, int64_t length) noexcept nogil:
    """Make a segment of a piece, for which there is room. Returns NULL if memory or the disk is short."""
    cdef Segment *segment = new_segment(kind, length, length if kind == SEGMENT_MEMORY else 0)
    if segment == NULL:
        return NULL
    if kind == SEGMENT_MEMORY:
        memcpy(segment + 1, data, length)
        return segment
    segment.offset = outbox.spool.end
    if spool_append(&outbox.spool, data, length) < 0:
        drop_segment(segment)
        return NULL
    segment.fd = outbox.spool.fd
    return segment


cdef bint continues(const Segment *last, const Segment *segment) noexcept nogil:
    """Return whether a spooled segment begins where the last one ends in the same file: one segment does for both."""
    return (
        last != NULL and last.kind == SEGMENT_SPOOLED and segment.kind == SEGMENT_SPOOLED and last.fd == segment.fd
        and last.offset + last.length == segment.offset
    )


cdef int outbox_append(Outbox *outbox, const char *data, int64_t length, bint wait) noexcept nogil:
    """Append at most PIECE_BYTES: to memory, else to the spool file, else (with `wait`) after a wait for room."""
    cdef Segment *segment
    cdef int result = 0
    cdef int kind
    check(length <= PIECE_BYTES, "more than a piece is appended at once")
    kind = take_room(outbox, length, wait)
    if kind < 0:
        return -1
    segment = fill_segment(outbox, kind, data, length)
    if segment == NULL:
        return -1  # the worker breaks off the response
    pthread_mutex_lock(&outbox.lock)
    if kind == SEGMENT_SPOOLED:
        outbox.spooled += length
    if continues(outbox.last, segment):
        outbox.last.length += length
    else:
        result = link(outbox, segment)
        segment = NULL
    pthread_mutex_unlock(&outbox.lock)
    if segment != NULL:
        drop_segment(segment)
    return result


cdef int outbox_append_file(Outbox *outbox, int fd, int64_t offset, int64_t length) noexcept nogil:
    """Append a range of a file. The outbox takes over the descriptor, whatever it returns."""
    cdef Segment *segment = new_segment(SEGMENT_FILE, length, 0)
    cdef int result = -1
    if segment == NULL:
        close(fd)
        return -1
    segment.fd = fd
    segment.offset = offset
    pthread_mutex_lock(&outbox.lock)
    if not outbox.gone:
        result = link(outbox, segment)
    pthread_mutex_unlock(&outbox.lock)
    if result < 0:
        drop_segment(segment)
    return result


cdef int outbox_finish(Outbox *outbox, int end, bint keep_alive, Exchange *exchange) noexcept nogil:
    """Note how the response ended, as an OutboxEnd other than OUTBOX_OPEN. Nothing may be appended afterwards.

    The exchange goes to the engine, unless -1 is returned.
    """
    cdef int result = -1
    pthread_mutex_lock(&outbox.lock)
    outbox.end = end
    outbox.keep_alive = keep_alive
    if not outbox.gone:
        outbox.exchange = exchange
        result = outbox.starved
        outbox.starved = False
    pthread_mutex_unlock(&outbox.lock)
    return result


cdef int outbox_next(Outbox *outbox, iovec *vectors, int *count_, Segment **segment_) noexcept nogil:
    """Return what to send next, as an OutboxNext. What is offered stays in place until outbox_sent.

    With NEXT_FILE the length of the first vector is that of the range: the worker may make the segment longer later.
    """
    cdef Segment *segment
    cdef int filled = 0
    cdef int result = NEXT_MEMORY
    pthread_mutex_lock(&outbox.lock)
    segment = outbox.first
    if segment == NULL:
        if outbox.end == OUTBOX_OPEN:
            outbox.starved = True
            result = NEXT_WAIT
        else:
            result = NEXT_ENDED
    elif segment.kind == SEGMENT_MEMORY:
        while segment != NULL and segment.kind == SEGMENT_MEMORY and filled < VECTORS_MAX:
            vectors[filled].iov_base = <char *> (segment + 1) + segment.offset
            vectors[filled].iov_len = segment.length
            filled += 1
            segment = segment.next
    else:
        result = NEXT_FILE
        vectors[0].iov_len = segment.length
    segment_[0] = segment
    count_[0] = filled
    pthread_mutex_unlock(&outbox.lock)
    return result


cdef void outbox_sent(Outbox *outbox, int64_t length) noexcept nogil:
    """Remove `length` bytes from the front: the socket has them."""
    cdef Segment *segment
    cdef Segment *done = NULL
    cdef int64_t taken
    pthread_mutex_lock(&outbox.lock)
    while length > 0 and outbox.first != NULL:
        segment = outbox.first
        taken = min(length, segment.length)
        segment.offset += taken
        segment.length -= taken
        length -= taken
        if segment.kind == SEGMENT_MEMORY:
            outbox.memory -= taken
        elif segment.kind == SEGMENT_SPOOLED:
            outbox.spooled -= taken
            outbox.older_left -= min(taken, outbox.older_left)  # sent before anything newer
        if segment.length > 0:
            break
        if segment.kind == SEGMENT_MEMORY:
            outbox.memory -= sizeof(Segment)
        outbox.first = segment.next
        if outbox.first == NULL:
            outbox.last = NULL
        segment.next = done
        done = segment
    check(length == 0, "more was sent than there was")
    pthread_cond_signal(&outbox.room)
    pthread_mutex_unlock(&outbox.lock)
    while done != NULL:
        segment = done
        done = done.next
        drop_segment(segment)


cdef int64_t outbox_retry(Outbox *outbox) noexcept nogil:
    """Let a waiting worker look again. Returns the bytes that lie on disk."""
    cdef int64_t spooled
    pthread_mutex_lock(&outbox.lock)
    spooled = outbox.spooled
    if outbox.waits != OUTBOX_WAITS_NOT:
        pthread_cond_signal(&outbox.room)
    pthread_mutex_unlock(&outbox.lock)
    return spooled


cdef uint8_t read_locked(Outbox *outbox, const uint8_t *value) noexcept nogil:
    """Return a value that the lock guards."""
    cdef uint8_t found
    pthread_mutex_lock(&outbox.lock)
    found = value[0]
    pthread_mutex_unlock(&outbox.lock)
    return found


cdef int outbox_waits(Outbox *outbox) noexcept nogil:
    """Return what the worker waits for, as an OutboxWait."""
    return read_locked(outbox, &outbox.waits)


cdef int64_t outbox_ahead(Outbox *outbox) noexcept nogil:
    """Return how many bytes the client has not taken; -1: it is gone."""
    cdef int64_t ahead
    pthread_mutex_lock(&outbox.lock)
    ahead = -1 if outbox.gone else outbox.memory + outbox.spooled
    pthread_mutex_unlock(&outbox.lock)
    return ahead


cdef bint outbox_is_gone(Outbox *outbox) noexcept nogil:
    """Return whether the client is gone, so that nothing may be appended."""
    return read_locked(outbox, &outbox.gone)


cdef Exchange *outbox_abandon(Outbox *outbox) noexcept nogil:
    """Note that the client is gone: the worker's next append returns -1, and a waiting worker is woken.

    Returns the exchange if the worker has already handed it over, else NULL.
    """
    cdef Exchange *exchange
    pthread_mutex_lock(&outbox.lock)
    outbox.gone = True
    outbox.request = NULL
    exchange = outbox.exchange
    outbox.exchange = NULL
    drop_segments(outbox)
    pthread_cond_signal(&outbox.room)
    pthread_mutex_unlock(&outbox.lock)
    return exchange
