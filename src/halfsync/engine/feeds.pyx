"""Responses of the engine's own that do not end by themselves, such as a stream of server-sent events.

Such a response is an outbox that stays open. In the place of a worker the engine appends to it, every FEED_NS, what its
handler has to say: the same for all of them. From there on it is sent as any response is, at the client's speed and
under the same deadlines. A client that has not taken what it was sent misses what follows, so a feed holds no more than
FEED_AHEAD and one piece. If the engine is to end, its feeds end first, whole. The clients of an event stream then
connect again, and reach a process that goes on.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from halfsync.engine.engine cimport SCRATCH_BYTES, Feed, connection_of, engine_announce, engine_end_request
from halfsync.engine.poller cimport RECEIVE_GONE, RECEIVE_HOLD
from halfsync.engine.responses cimport end_unsent, outbox_with, give_outbox
from halfsync.exchange.exchange cimport pool_put
from halfsync.exchange.outbox cimport (
    OUTBOX_COMPLETE, Outbox, outbox_ahead, outbox_append, outbox_finish, outbox_release, outbox_settle,
)

cdef enum:
    FEED_AHEAD = 256 * 1024  # bytes that a client has not taken, past which it gets no more

cdef int64_t FEED_NS = 250000000  # between two pieces: a page that shows them moves smoothly


cdef int feed_begin(Engine *engine, Request *request, const NativeResponse *answer) noexcept nogil:
    """Begin a response that goes on, with what lies in `scratch`. Returns RECEIVE_*; may free the connection."""
    cdef Feed *feed = <Feed *> malloc(sizeof(Feed))
    cdef Outbox *outbox = outbox_with(engine, engine.scratch, answer.ready) if feed != NULL else NULL
    if outbox == NULL:
        free(feed)
        end_unsent(engine, request)
        return RECEIVE_GONE
    if engine.feeds == NULL:
        engine.feeds_due = engine.now + FEED_NS
    feed.outbox = outbox
    feed.exchange = request.exchange
    feed.address_length = connection_of(request).address_length
    memcpy(feed.address, connection_of(request).address, feed.address_length)
    feed.next = engine.feeds
    engine.feeds = feed
    request.exchange = NULL
    give_outbox(engine, request, outbox)
    return RECEIVE_HOLD


cdef bint feed_append(Engine *engine, Feed *feed, int64_t length) noexcept nogil:
    """Append what lies in `scratch` to a feed. Returns False if its client is gone."""
    cdef int64_t ahead = outbox_ahead(feed.outbox)
    cdef int result
    if ahead < 0 or ahead > FEED_AHEAD:
        return ahead >= 0
    result = outbox_append(feed.outbox, engine.scratch, length, False)
    if result > 0:
        engine_announce(engine, feed.outbox)
    return result >= 0


cdef void feed_end(Engine *engine, Feed *feed) noexcept nogil:
    """End a feed, whose client may be gone, and free it."""
    cdef int result = outbox_finish(feed.outbox, OUTBOX_COMPLETE, False, feed.exchange)
    if result > 0:
        engine_announce(engine, feed.outbox)
    elif result < 0:
        outbox_settle(feed.outbox, feed.exchange)
        engine_end_request(engine, feed.exchange, feed.address, feed.address_length, engine.now)
        pool_put(&engine.pool, feed.exchange)
    outbox_release(feed.outbox)
    free(feed)


cdef void feeds_continue(Engine *engine) noexcept nogil:
    """Append to all feeds, if they are due. For an engine that has some."""
    cdef Feed **link = &engine.feeds
    cdef Feed *feed
    cdef int64_t length
    if engine.now < engine.feeds_due:
        return
    engine.feeds_due = engine.now + FEED_NS
    length = engine.files.feed(engine.files, engine.scratch, SCRATCH_BYTES)
    while link[0] != NULL:
        feed = link[0]
        if feed_append(engine, feed, length):
            link = &feed.next
        else:
            link[0] = feed.next
            feed_end(engine, feed)


cdef void feeds_end(Engine *engine) noexcept nogil:
    """End all feeds."""
    cdef Feed *feed
    while engine.feeds != NULL:
        feed = engine.feeds
        engine.feeds = feed.next
        feed_end(engine, feed)
