# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Making room for a newcomer when all places are taken: the connection that has idled longest is closed for it.

If connections have threads, those that wait for a request stand in two lists, the longest first. One list has the idle
connections. The other has those that have sent no request yet, or only a part of a head: they make room after the idle
ones, and only once they have waited for a second. A thread puts its connection into a list when it begins to wait, and
takes it out when a request has come. One lock guards both lists, and the connection to close is chosen under it. So a
connection is either closed, or its request is served. If a connection is closed, its thread sees the end of the socket,
as if the client had left. A connection in the queue of the pool has no thread: it is closed at once, and a thread that
takes it from the queue finds nothing to do.

If connections have processes, each child has a word in shared memory: since when it has waited, or 0. The parent
writes WORD_TOLD over it, and sends a signal. A child that is killed leaves its word behind, and the parent clears it.

Streams (raw TCP) do not rest: their silence is part of the conversation.
"""

from libc.errno cimport errno

from halfsync.blocking.records cimport REST_FRESH, REST_IDLE, REST_NOT, RestList
from halfsync.exchange.rates cimport MAKES_ROOM_NS
from halfsync.native.checks cimport check
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport (
    atomic_llong, cas_llong, load_llong, monotonic_ns, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock, store_llong,
)
from halfsync.transport.transport cimport PEEK_BYTES, transport_cut, transport_peek

from halfsync.runtime.originals import os

cdef enum:
    LOOKS = 64  # at connections, in one walk along a list

cdef long long WORD_BUSY = 0
cdef long long WORD_TOLD = -1
cdef long long WORD_FRESH = 1 << 61  # added to the time of a connection that has sent no request yet


cdef int rests_open(CarrierRecord *carrier, uint32_t children) except -1:
    """Prepare for this many child processes; 0: for threads. Raises OSError."""
    pthread_mutex_init(&carrier.rests.lock, NULL)
    if children > 0:
        carrier.rests.words = <atomic_llong *> map_shared(children * sizeof(atomic_llong))
        if carrier.rests.words == NULL:
            raise OSError(errno, os.strerror(errno))
        carrier.rests.words_count = children
    return 0


cdef void rests_free(CarrierRecord *carrier) noexcept nogil:
    """Let go of what rests_open has made."""
    unmap_shared(carrier.rests.words, carrier.rests.words_count * sizeof(atomic_llong))
    carrier.rests.words = NULL
    pthread_mutex_destroy(&carrier.rests.lock)


cdef void unlink(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Take a connection out of its list, if it is in one. The caller has the lock."""
    cdef RestList *rests
    if client.rests == REST_NOT:
        return
    rests = &carrier.rests.idle if client.rests == REST_IDLE else &carrier.rests.fresh
    if client.rest_previous != NULL:
        client.rest_previous.rest_next = client.rest_next
    else:
        rests.first = client.rest_next
    if client.rest_next != NULL:
        client.rest_next.rest_previous = client.rest_previous
    else:
        rests.last = client.rest_previous
    client.rests = REST_NOT


cdef void link(CarrierRecord *carrier, ClientRecord *client, int kind, int64_t since) noexcept nogil:
    """Put a connection into a list, behind those that have waited longer. The caller has the lock.

    That is the end of the list, or near it: a few that began to wait later may have come here earlier.
    """
    cdef RestList *rests = &carrier.rests.idle if kind == REST_IDLE else &carrier.rests.fresh
    cdef ClientRecord *before = rests.last
    cdef int _
    for _ in range(LOOKS):
        if before == NULL or before.rest_ns <= since:
            break
        before = before.rest_previous
    client.rests = kind
    client.rest_ns = since
    client.rest_previous = before
    client.rest_next = rests.first if before == NULL else before.rest_next
    if client.rest_next != NULL:
        client.rest_next.rest_previous = client
    else:
        rests.last = client
    if before != NULL:
        before.rest_next = client
    else:
        rests.first = client


cdef bint rest(CarrierRecord *carrier, ClientRecord *client, int kind, int64_t since) noexcept nogil:
    """Begin to wait for a request, or go on waiting. Returns False if the connection was closed to make room."""
    cdef atomic_llong *word
    cdef bint stays
    if carrier.limits.raw:
        return True
    if carrier.rests.words != NULL:
        word = &carrier.rests.words[carrier.rests.own]
        if not carrier.is_child or load_llong(word) == WORD_TOLD:
            return not carrier.is_child
        store_llong(word, since + (WORD_FRESH if kind == REST_FRESH else 0))
        client.rests = kind
        return True
    pthread_mutex_lock(&carrier.rests.lock)
    stays = not client.closed
    if stays:
        if client.rests != kind:
            unlink(carrier, client)
            link(carrier, client, kind, since)
        client.waits = True
        client.parked = False
    pthread_mutex_unlock(&carrier.rests.lock)
    return stays


cdef bint stir(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Note that the thread looks at what has come; the place in the list is kept. Returns as `rest` does."""
    cdef bint stays
    if carrier.limits.raw or carrier.rests.words != NULL:
        return True
    pthread_mutex_lock(&carrier.rests.lock)
    client.waits = False
    stays = not client.closed
    pthread_mutex_unlock(&carrier.rests.lock)
    return stays


cdef bint rise(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Stop waiting: a request has come, or the connection ends. Returns as `rest` does."""
    cdef bint stays
    if carrier.limits.raw:
        return True
    if carrier.rests.words != NULL:
        if carrier.is_child:
            store_llong(&carrier.rests.words[carrier.rests.own], WORD_BUSY)
            client.rests = REST_NOT
        return True
    pthread_mutex_lock(&carrier.rests.lock)
    unlink(carrier, client)
    client.waits = False
    stays = not client.closed
    pthread_mutex_unlock(&carrier.rests.lock)
    return stays


cdef bint leave_rests(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Take a connection that ends out of its list. Returns True if it was closed to make room.

    A child's word stays as it is: the parent must see that the child it has chosen is about to end.
    """
    return carrier.rests.words == NULL and not rise(carrier, client)


cdef void rests_vacated(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Note that the place of a connection that has ended is free. If it made room, another may be closed from now on.

    Not before: while its thread waits for the GIL, the place is neither free nor lost.
    """
    if carrier.rests.words == NULL and client.closed and not client.parked:
        pthread_mutex_lock(&carrier.rests.lock)
        carrier.rests.closing -= 1
        pthread_mutex_unlock(&carrier.rests.lock)


cdef bint park(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Note that an idle connection goes into the queue: no thread has it until one takes it. Returns as `rest` does."""
    cdef bint stays
    pthread_mutex_lock(&carrier.rests.lock)
    client.parked = client.rests != REST_NOT
    stays = not client.closed
    pthread_mutex_unlock(&carrier.rests.lock)
    return stays


cdef void unpark(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Note that a thread has taken a connection from the queue, which is open.

    With the GIL, without which nobody closes one that no thread has: else the thread might find that it is closed while
    its descriptor is not yet.
    """
    pthread_mutex_lock(&carrier.rests.lock)
    client.parked = False
    pthread_mutex_unlock(&carrier.rests.lock)


cdef bint is_told(CarrierRecord *carrier) noexcept nogil:
    """Tell whether this child must make room."""
    return carrier.is_child and load_llong(&carrier.rests.words[carrier.rests.own]) == WORD_TOLD


cdef bint may_close(ClientRecord *client, int64_t now) noexcept nogil:
    """Tell whether a connection has waited for long enough."""
    return client.rests == REST_IDLE or now - client.rest_ns >= MAKES_ROOM_NS


cdef bint rests_any(CarrierRecord *carrier) noexcept nogil:
    """Tell whether some connection could make room, as far as can be seen at once."""
    cdef int64_t now = monotonic_ns()
    cdef bint any
    if carrier.rests.words != NULL:
        return longest(carrier, now) >= 0
    pthread_mutex_lock(&carrier.rests.lock)
    any = carrier.rests.idle.first != NULL or (
        carrier.rests.fresh.first != NULL and may_close(carrier.rests.fresh.first, now))
    pthread_mutex_unlock(&carrier.rests.lock)
    return any


cdef bint rests_closing(CarrierRecord *carrier) noexcept nogil:
    """Tell whether a connection that was closed to make room still has its place."""
    cdef bint closing
    pthread_mutex_lock(&carrier.rests.lock)
    closing = carrier.rests.closing > 0
    pthread_mutex_unlock(&carrier.rests.lock)
    return closing


cdef ClientRecord *first_to_close(RestList *rests, int64_t now) noexcept nogil:
    """Return the connection that has waited longest in a list, and got no bytes just now. NULL: none may be closed."""
    cdef ClientRecord *client = rests.first
    cdef int _
    for _ in range(LOOKS):
        if client == NULL or not may_close(client, now):
            return NULL
        if client.waits and transport_peek(&client.transport) != PEEK_BYTES:
            return client
        client = client.rest_next
    return NULL


cdef int rests_close(CarrierRecord *carrier, ClientRecord **parked_one) noexcept nogil:
    """End the connection that has waited longest. Returns a Closed. None that was closed before may have its place yet.

    parked_one: set to the connection if no thread has it. The caller must close it before it gives up the GIL, since a
    thread may be about to take it from the queue.
    """
    cdef ClientRecord *client
    cdef int64_t now = monotonic_ns()
    cdef bint parked
    check(carrier.rests.words == NULL, "a child is closed by a thread of its parent")
    pthread_mutex_lock(&carrier.rests.lock)
    check(carrier.rests.closing == 0, "one connection makes room at a time")
    client = first_to_close(&carrier.rests.idle, now)
    if client == NULL:
        client = first_to_close(&carrier.rests.fresh, now)
    if client == NULL:
        pthread_mutex_unlock(&carrier.rests.lock)
        return CLOSED_NONE
    unlink(carrier, client)
    client.closed = True
    parked = client.parked
    if not parked:
        carrier.rests.closing += 1
    transport_cut(&client.transport, True)  # its thread notices; it does not close the descriptor without the lock
    pthread_mutex_unlock(&carrier.rests.lock)
    if not parked:
        return CLOSED_SOON
    parked_one[0] = client
    return CLOSED_NOW


cdef int64_t longest(CarrierRecord *carrier, int64_t now) noexcept nogil:
    """Return the index of the child that has waited longest. -1: none has waited for long enough."""
    cdef int64_t found = -1
    cdef long long least = WORD_FRESH + now - MAKES_ROOM_NS + 1
    cdef long long word
    cdef uint32_t position
    for position in range(carrier.rests.words_count):
        word = load_llong(&carrier.rests.words[position])
        if word > WORD_BUSY and word < least:
            least = word
            found = position
    return found


cdef int64_t rests_choose_child(CarrierRecord *carrier) noexcept nogil:
    """Mark the child that has waited longest as told to make room, and return its index. -1: none can."""
    cdef int64_t position = longest(carrier, monotonic_ns())
    cdef long long word
    if position >= 0:
        word = load_llong(&carrier.rests.words[position])
        if word > WORD_BUSY and cas_llong(&carrier.rests.words[position], &word, WORD_TOLD):
            return position
    return -1
