# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Make room for a new connection if all places are taken: close the connection that has idled longest.

If connections have threads, those that wait for a request are in two lists, each with the longest wait first. One list
has the idle connections. The other has those that have sent no request yet, or only a part of a head: they make room
after the idle ones, and only once they have waited for a second. A thread puts its connection into a list when it
begins to wait, and takes it out when a request has come. One lock guards both lists, and the connection to close is
chosen under it. So either the connection is closed, or its request is served. If it is closed, its thread sees the end
of the socket, as if the client had disconnected. A connection in the queue of the pool has no thread: it is closed at
once, and a thread that takes it from the queue finds nothing to do.

If connections have processes, each child has a word in shared memory: the time since which it has waited, or 0. The
parent writes WORD_EVICTED over it, and sends a signal. A child that is killed leaves its word behind, and the parent
clears it.

Streams (raw TCP) never count as idle: silence is part of their protocol.
"""

from cpython.exc cimport PyErr_SetFromErrno
from libc.stdint cimport uint8_t

from halfsync.blocking.records cimport IDLE_KEEPALIVE, IDLE_NEW, IDLE_NONE, IdleList
from halfsync.exchange.rates cimport EVICTABLE_AFTER_NS
from halfsync.native.checks cimport check
from halfsync.native.counting cimport count_shared
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport (
    atomic_llong, cas_llong, load_llong, monotonic_ns, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock, store_llong,
)
from halfsync.shared.metrics cimport STATE_IDLE, STATE_NEW
from halfsync.transport.transport cimport PEEK_BYTES, transport_cut, transport_peek

cdef enum:
    LOOKS = 64  # most connections visited in one walk along a list
    SILENT_LOOKS = 2048  # most system calls of one count

cdef long long WORD_BUSY = 0
cdef long long WORD_EVICTED = -1
cdef long long WORD_NEW = 1 << 61  # added to the time of a connection that has sent no request yet


cdef int idle_open(DriverRecord *driver, uint32_t children) except -1:
    """Prepare for this many child processes; 0: for threads. Raises OSError."""
    pthread_mutex_init(&driver.idle.lock, NULL)
    if children > 0:
        driver.idle.words = <atomic_llong *> map_shared(children * sizeof(atomic_llong))
        if driver.idle.words == NULL:
            PyErr_SetFromErrno(OSError)
        driver.idle.words_count = children
    return 0


cdef void idle_free(DriverRecord *driver) noexcept nogil:
    """Free what idle_open has made."""
    unmap_shared(driver.idle.words, driver.idle.words_count * sizeof(atomic_llong))
    driver.idle.words = NULL
    pthread_mutex_destroy(&driver.idle.lock)


cdef void count_waiting(DriverRecord *driver, int kind, int change) noexcept nogil:
    """Count, for the metrics, a connection that begins (1) or ceases (-1) to wait for a request with its thread."""
    cdef int state = <int> STATE_IDLE if kind == IDLE_KEEPALIVE else <int> STATE_NEW
    if driver.metrics != NULL and kind != IDLE_NONE:
        count_shared(&driver.metrics.gauges.connections[state], change)


cdef void unlink(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Take a connection out of its list, if it is in one. The caller holds the lock."""
    cdef IdleList *idle_list
    if connection.idle_kind == IDLE_NONE:
        return
    idle_list = &driver.idle.idle if connection.idle_kind == IDLE_KEEPALIVE else &driver.idle.fresh
    if connection.idle_previous != NULL:
        connection.idle_previous.idle_next = connection.idle_next
    else:
        idle_list.first = connection.idle_next
    if connection.idle_next != NULL:
        connection.idle_next.idle_previous = connection.idle_previous
    else:
        idle_list.last = connection.idle_previous
    if not connection.parked:
        count_waiting(driver, connection.idle_kind, -1)
    connection.idle_kind = IDLE_NONE


cdef void link(DriverRecord *driver, BlockingConnection *connection, int kind, int64_t since) noexcept nogil:
    """Put a connection into a list, behind those that have waited longer. The caller holds the lock.

    The place is at or near the end of the list: a few that began to wait later may have been put there earlier.
    """
    cdef IdleList *idle_list = &driver.idle.idle if kind == IDLE_KEEPALIVE else &driver.idle.fresh
    cdef BlockingConnection *before = idle_list.last
    cdef int _
    for _ in range(LOOKS):
        if before == NULL or before.listed_ns <= since:
            break
        before = before.idle_previous
    connection.idle_kind = kind
    count_waiting(driver, kind, 1)
    connection.listed_ns = since
    connection.idle_previous = before
    connection.idle_next = idle_list.first if before == NULL else before.idle_next
    if connection.idle_next != NULL:
        connection.idle_next.idle_previous = connection
    else:
        idle_list.last = connection
    if before != NULL:
        before.idle_next = connection
    else:
        idle_list.first = connection


cdef void count_child(DriverRecord *driver, BlockingConnection *connection, int kind) noexcept nogil:
    """Note what the connection of a child waits for now. One whose child is killed is counted until none is left."""
    if kind != connection.idle_kind:
        count_waiting(driver, connection.idle_kind, -1)
        count_waiting(driver, kind, 1)
        connection.idle_kind = <uint8_t> kind


cdef bint idle_enter(DriverRecord *driver, BlockingConnection *connection, int kind, int64_t since) noexcept nogil:
    """Begin to wait for a request, or continue. Return False if the connection was closed to make room."""
    cdef atomic_llong *word
    cdef bint stays
    if driver.limits.raw:
        return True
    if driver.idle.words != NULL:
        word = &driver.idle.words[driver.idle.child_index]
        if not driver.is_child or load_llong(word) == WORD_EVICTED:
            return not driver.is_child
        store_llong(word, since + (WORD_NEW if kind == IDLE_NEW else 0))
        count_child(driver, connection, kind)
        return True
    pthread_mutex_lock(&driver.idle.lock)
    stays = not connection.evicted
    if stays:
        if connection.idle_kind != kind:
            unlink(driver, connection)
            link(driver, connection, kind, since)
        connection.waits = True
        connection.parked = False
    pthread_mutex_unlock(&driver.idle.lock)
    return stays


cdef bint idle_wake(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Record that the thread looks at what has come. The place in the list is kept. Returns as `idle_enter` does."""
    cdef bint stays
    if driver.limits.raw or driver.idle.words != NULL:
        return True
    pthread_mutex_lock(&driver.idle.lock)
    connection.waits = False
    stays = not connection.evicted
    pthread_mutex_unlock(&driver.idle.lock)
    return stays


cdef bint idle_leave(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Stop waiting: a request has come, or the connection ends. Returns as `idle_enter` does."""
    cdef bint stays
    if driver.limits.raw:
        return True
    if driver.idle.words != NULL:
        if driver.is_child:
            store_llong(&driver.idle.words[driver.idle.child_index], WORD_BUSY)
            count_child(driver, connection, IDLE_NONE)
        return True
    pthread_mutex_lock(&driver.idle.lock)
    unlink(driver, connection)
    connection.waits = False
    stays = not connection.evicted
    pthread_mutex_unlock(&driver.idle.lock)
    return stays


cdef bint idle_remove(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Take a connection that ends out of its list. Return True if it was closed to make room.

    A child's word stays as it is: the parent must see that the child it has chosen is about to end.
    """
    if driver.idle.words != NULL:
        count_child(driver, connection, IDLE_NONE)
    return driver.idle.words == NULL and not idle_leave(driver, connection)


cdef void idle_place_freed(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Record that the place of a connection that has ended is free. If it made room, another may now be closed.

    Not earlier: until its thread has taken the GIL, the place is neither free nor lost.
    """
    if driver.idle.words == NULL and connection.evicted and not connection.parked:
        pthread_mutex_lock(&driver.idle.lock)
        driver.idle.closing -= 1
        pthread_mutex_unlock(&driver.idle.lock)


cdef bint idle_park(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Record that an idle connection goes into the queue, where no thread has it. Returns as `idle_enter` does."""
    cdef bint stays
    pthread_mutex_lock(&driver.idle.lock)
    connection.parked = connection.idle_kind != IDLE_NONE
    count_waiting(driver, connection.idle_kind, -1)
    stays = not connection.evicted
    pthread_mutex_unlock(&driver.idle.lock)
    return stays


cdef void idle_unpark(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Record that a thread has taken a connection, still open, from the queue.

    The caller holds the GIL, as does every thread that closes a parked connection. Otherwise this thread might take one
    that is already cut, but whose descriptor is not closed yet.
    """
    pthread_mutex_lock(&driver.idle.lock)
    if connection.parked:
        count_waiting(driver, connection.idle_kind, 1)
    connection.parked = False
    pthread_mutex_unlock(&driver.idle.lock)


cdef uint32_t count_silent(const IdleList *idle_list, uint32_t *looks) noexcept nogil:
    """Count parked connections without anything to receive. looks: system calls that are left; past them all count."""
    cdef BlockingConnection *connection = idle_list.first
    cdef uint32_t silent = 0
    while connection != NULL:
        if connection.parked and (looks[0] == 0 or transport_peek(&connection.transport) != PEEK_BYTES):
            silent += 1
        if connection.parked and looks[0] > 0:
            looks[0] -= 1
        connection = connection.idle_next
    return silent


cdef uint32_t idle_count_silent(DriverRecord *driver) noexcept nogil:
    """Count the connections in the queue that have sent nothing since they were put there."""
    cdef uint32_t looks = SILENT_LOOKS
    cdef uint32_t silent
    pthread_mutex_lock(&driver.idle.lock)
    silent = count_silent(&driver.idle.idle, &looks) + count_silent(&driver.idle.fresh, &looks)
    pthread_mutex_unlock(&driver.idle.lock)
    return silent


cdef bint is_evicted(DriverRecord *driver) noexcept nogil:
    """Tell whether this child must make room."""
    return driver.is_child and load_llong(&driver.idle.words[driver.idle.child_index]) == WORD_EVICTED


cdef bint may_close(BlockingConnection *connection, int64_t now) noexcept nogil:
    """Tell whether a connection has waited long enough to be closed."""
    return connection.idle_kind == IDLE_KEEPALIVE or now - connection.listed_ns >= EVICTABLE_AFTER_NS


cdef bint idle_has_candidate(DriverRecord *driver) noexcept nogil:
    """Tell whether a connection could make room, as far as a quick look shows."""
    cdef int64_t now = monotonic_ns()
    cdef bint any
    if driver.idle.words != NULL:
        return longest(driver, now) >= 0
    pthread_mutex_lock(&driver.idle.lock)
    any = driver.idle.idle.first != NULL or (
        driver.idle.fresh.first != NULL and may_close(driver.idle.fresh.first, now))
    pthread_mutex_unlock(&driver.idle.lock)
    return any


cdef bint idle_is_evicting(DriverRecord *driver) noexcept nogil:
    """Tell whether a connection that was closed to make room still has its place."""
    cdef bint closing
    pthread_mutex_lock(&driver.idle.lock)
    closing = driver.idle.closing > 0
    pthread_mutex_unlock(&driver.idle.lock)
    return closing


cdef BlockingConnection *first_to_close(IdleList *idle_list, int64_t now) noexcept nogil:
    """Return the connection that has waited longest in a list and has no bytes to receive, or NULL."""
    cdef BlockingConnection *connection = idle_list.first
    cdef int _
    for _ in range(LOOKS):
        if connection == NULL or not may_close(connection, now):
            return NULL
        if connection.waits and transport_peek(&connection.transport) != PEEK_BYTES:
            return connection
        connection = connection.idle_next
    return NULL


cdef int idle_evict(DriverRecord *driver, BlockingConnection **parked_one) noexcept nogil:
    """Cut the connection that has waited longest. Returns an EvictionResult.

    Every connection that was closed before must have given its place back.

    parked_one: set to the connection if no thread has it. The caller must close it before it gives up the GIL, since a
    thread may be about to take it from the queue.
    """
    cdef BlockingConnection *connection
    cdef int64_t now = monotonic_ns()
    cdef bint parked
    check(driver.idle.words == NULL, "a child is closed by a thread of its parent")
    pthread_mutex_lock(&driver.idle.lock)
    check(driver.idle.closing == 0, "one connection makes room at a time")
    connection = first_to_close(&driver.idle.idle, now)
    if connection == NULL:
        connection = first_to_close(&driver.idle.fresh, now)
    if connection == NULL:
        pthread_mutex_unlock(&driver.idle.lock)
        return EVICTED_NONE
    unlink(driver, connection)
    connection.evicted = True
    parked = connection.parked
    if not parked:
        driver.idle.closing += 1
    transport_cut(&connection.transport, True)  # its thread notices, and needs the lock to close the descriptor
    pthread_mutex_unlock(&driver.idle.lock)
    if not parked:
        return EVICTED_SOON
    parked_one[0] = connection
    return EVICTED_PARKED


cdef int64_t longest(DriverRecord *driver, int64_t now) noexcept nogil:
    """Return the index of the child that has waited longest, or -1 if none has waited long enough."""
    cdef int64_t found = -1
    cdef long long least = WORD_NEW + now - EVICTABLE_AFTER_NS + 1
    cdef long long word
    cdef uint32_t position
    for position in range(driver.idle.words_count):
        word = load_llong(&driver.idle.words[position])
        if word > WORD_BUSY and word < least:
            least = word
            found = position
    return found


cdef int64_t idle_choose_child(DriverRecord *driver) noexcept nogil:
    """Mark the child that has waited longest as evicted, and return its index, or -1 if none can make room."""
    cdef int64_t position = longest(driver, monotonic_ns())
    cdef long long word
    if position >= 0:
        word = load_llong(&driver.idle.words[position])
        if word > WORD_BUSY and cas_llong(&driver.idle.words[position], &word, WORD_EVICTED):
            return position
    return -1
