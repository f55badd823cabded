"""The engine's loop: one native thread that owns every socket and never takes the GIL.

A cycle of the loop: wait; handle what happened on each connection; take back what workers returned; send what they
announced; check the timers that are due; wake a worker if requests were put. Only the wait blocks.
"""
from libc.errno cimport E2BIG, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close, write

from halfsync.engine.admission cimport admit, reject
from halfsync.engine.adoption cimport ADOPTION_INDEX, adopt, adopt_all, adoption_close, adoption_watch
from halfsync.engine.connection_close cimport close_now
from halfsync.engine.connection_events cimport (
    on_announced, on_hangup, on_received, on_returned, on_room, on_sendable, on_timer, shake_hands,
)
from halfsync.engine.connections cimport connection_at, connection_close, connection_open, connections_free
from halfsync.engine.engine cimport (
    COMMAND_DRAIN, COMMAND_HANDOFF, COMMAND_SERVE, COMMAND_STOP, LISTENERS_MAX, SCRATCH_BYTES, SLAB, Connection,
    EngineListener, Request, engine_note_refusal, engine_wake,
)
from halfsync.engine.eviction cimport eviction_choose, eviction_close
from halfsync.engine.handoff cimport finish_handoff, handoff_close, handoff_wait
from halfsync.engine.phases cimport (
    PHASE_CLOSED_NOTIFY, PHASE_FREE, PHASE_HANDSHAKE, PHASE_IDLE, PHASE_LINGER, PHASE_SILENT,
)
from halfsync.engine.poller cimport (
    HANDLE_LISTENER, HANDLE_WAKER, Handle, complete_accept,
)
from halfsync.engine.poller_epoll cimport epoll_poller
from halfsync.engine.poller_poll cimport poll_poller
from halfsync.engine.spool_eviction cimport evict_stalled_client
from halfsync.engine.timers cimport Timer, wheel_due, wheel_init, wheel_next, wheel_set
from halfsync.engine.transitions cimport engine_owns
from halfsync.exchange.exchange cimport pool_destroy, pool_init
from halfsync.exchange.outbox cimport Outbox, outbox_release
from halfsync.http.trust cimport ADDRESS_BYTES, trust_has
from halfsync.native.checks cimport COUNT_ENGINE, count
from halfsync.native.sync cimport (
    cas_uint, init_llong, init_pointer, init_uint, load_llong, load_pointer, load_uint, monotonic_ns, pthread_join,
    sem_destroy, sem_init, sleep_ns, start_thread, store_llong, store_uint, swap_pointer,
)
from halfsync.observe.refusals cimport REASON_PEER
from halfsync.pool.request_queue cimport queue_check
from halfsync.shared.slots cimport (
    ScoreboardRecord, SlotRecord, has_pending_accept, is_exclusive, slot_may_accept, slot_must_check_backlog,
    slot_note_backlog, slot_note_closed,
)
from halfsync.transport.transport cimport (
    PEEK_BYTES, transport_peek, transport_unacknowledged,
)

cdef extern from *:
    """
    #include <sys/eventfd.h>
    #ifdef __linux__
    #include <sys/prctl.h>
    #endif

    /* Make timers of the calling thread as exact as the system can: by default they may be 50 us late. */
    static void hs_exact_timers(void) {
    #ifdef PR_SET_TIMERSLACK
        prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    #endif
    }
    """
    void exact_timers "hs_exact_timers" () nogil
    int eventfd(unsigned int value, int flags) nogil
    const int EFD_CLOEXEC, EFD_NONBLOCK

cdef enum:
    STACK_BYTES = 512 * 1024  # of the engine's thread
    REST_LEAST_NS = 30000  # a shorter rest costs more than it gives
    WAKER_INDEX = 0xFFFFFFFF
    SCOREBOARD_INDEX = 0xFFFFFFFD
    LISTENER_INDEX = 0xFFFF0000  # and above: one for each listener

cdef int64_t LONGEST_WAIT = 1000000000  # ns
cdef int64_t WATCH_WAIT = 1000000  # ns; the longest wait while something waits in the queue
cdef int64_t OVER_SHARE_WAIT = 20000000  # ns; when an engine over its share, which does not accept, looks again
cdef int64_t DRAIN_WAIT = 10000000  # ns; how often a draining engine checks whether it has finished
cdef int64_t ACCEPT_PAUSE = 100000000  # ns; after accept failed for want of descriptors or memory


cdef Handle *on_find(void *engine_, uint32_t index, uint32_t generation) noexcept nogil:
    """Return the handle that an event is for, or NULL if it has been closed since."""
    cdef Engine *engine = <Engine *> engine_
    cdef Connection *connection
    if index == WAKER_INDEX:
        return &engine.waker
    if index == SCOREBOARD_INDEX:
        return &engine.scoreboard_wakeup
    if index == ADOPTION_INDEX:
        return &engine.adoption
    if index >= LISTENER_INDEX:
        return &engine.listeners[index - LISTENER_INDEX].handle
    connection = connection_at(engine, index)
    if connection.phase == PHASE_FREE or connection.handle.generation != generation:
        return NULL
    return &connection.handle


cdef void on_awake(void *engine_) noexcept nogil:
    """Note the end of the wait: workers need not wake the engine, and its clock is read again."""
    cdef Engine *engine = <Engine *> engine_
    store_uint(&engine.sleeping, 0)
    engine.now = monotonic_ns()


cdef bint may_accept(Engine *engine) noexcept nogil:
    """Return whether to accept new connections here. If not, other processes must accept them."""
    cdef int position
    cdef bint waiting = False
    if engine.slot == NULL or slot_may_accept(engine.scoreboard, engine.slot):
        return True
    if slot_must_check_backlog(engine.slot, engine.now):
        for position in range(engine.listeners_count):
            waiting = waiting or has_pending_accept(engine.listeners[position].handle.fd)
        slot_note_backlog(engine.slot, waiting, engine.now)
    return engine.slot.neglected != 0


cdef bint on_acceptable(void *engine_, Handle *listener) noexcept nogil:
    """Return whether there is room for a new connection, or an open one can be closed for it."""
    cdef Engine *engine = <Engine *> engine_
    if engine.open < engine.open_max or load_uint(&engine.command) != COMMAND_SERVE:
        return True
    return has_pending_accept(listener.fd) and eviction_choose(engine) != NULL


cdef void evict_for_newcomer(Engine *engine) noexcept nogil:
    """Close a connection if the new one, which was just admitted, is one too many."""
    cdef Connection *connection
    if engine.open > engine.open_max and load_uint(&engine.command) == COMMAND_SERVE:
        connection = eviction_choose(engine)
        if connection != NULL:
            eviction_close(engine, connection)


cdef void begin_handshake(Engine *engine, Connection *connection, bint admitted) noexcept nogil:
    """Begin the handshake of a connection. If it is not admitted, it is rejected after that, or closed at once."""
    if admitted or engine.open <= engine.open_max:
        connection.rejected = not admitted
        shake_hands(engine, connection)
    else:
        close_now(engine, connection)


cdef bint on_accepted(void *engine_, Handle *listener, int fd, const void *address, uint32_t length) noexcept nogil:
    """Begin with a new connection. Returns False if there is no room for another.

    A connection is closed for it only once it is admitted: a client past its own limit costs no other client a
    connection.
    """
    cdef Engine *engine = <Engine *> engine_
    cdef Connection *connection
    cdef bint admitted
    if engine.proxies != NULL and not trust_has(engine.proxies, <const unsigned char *> address, <int> length):
        engine.counters.accepted += 1
        engine.counters.refused += 1
        engine_note_refusal(engine, NULL, <const unsigned char *> address, <int> length, 0, REASON_PEER)
        close(fd)
        return True
    connection = connection_open(engine, fd, False)
    if connection == NULL:
        close(fd)
        return True
    connection.address_length = <unsigned char> min(length, <uint32_t> ADDRESS_BYTES)
    memcpy(connection.address, address, connection.address_length)
    connection.listener = <uint16_t> (listener.index - LISTENER_INDEX)
    connection.awaits_proxy = engine.proxies != NULL
    engine.counters.accepted += 1
    if engine.poller.add(&engine.poller, &connection.handle) < 0:
        connection_close(engine, connection)
        return True
    wheel_set(&engine.wheel, &connection.timer, engine.now + engine.timeouts.first_byte)
    admitted = engine.clients.limit == 0 or connection.awaits_proxy or admit(engine, connection)
    if connection.phase == PHASE_HANDSHAKE:
        begin_handshake(engine, connection, admitted)
    elif not admitted:
        reject(engine, connection)
    if admitted:
        evict_for_newcomer(engine)
    return may_accept(engine) and on_acceptable(engine, listener)


cdef void on_accept_failed(void *engine_, Handle *listener, int error) noexcept nogil:
    """Leave new connections in the backlog for a moment: descriptors or memory are short."""
    cdef Engine *engine = <Engine *> engine_
    engine.accept_again = engine.now + ACCEPT_PAUSE


cdef void on_adoptable(void *engine_) noexcept nogil:
    adopt(<Engine *> engine_)


cdef void watch_listeners(Engine *engine) noexcept nogil:
    """Watch the listeners only while there is room, or room can be made. Otherwise new connections stay in the backlog.

    Watch the hand-off queue only while there is room. No connection is closed for one in that queue: another process
    may have room for it.
    """
    cdef bint has_room = engine.open < engine.open_max
    cdef bint wanted = (
        load_uint(&engine.command) == COMMAND_SERVE
        and (has_room or engine.now >= engine.eviction.again_ns)
        and engine.now >= engine.accept_again
        and may_accept(engine)
    )
    cdef EngineListener *listener
    cdef int position
    for position in range(engine.listeners_count):
        listener = &engine.listeners[position]
        if wanted and not listener.is_watched:
            listener.is_watched = engine.poller.add(&engine.poller, &listener.handle) == 0
        elif listener.is_watched and not wanted:
            engine.poller.remove(&engine.poller, &listener.handle)
            listener.is_watched = False
    adoption_watch(engine, wanted and has_room)


cdef void take_returned(Engine *engine) noexcept nogil:
    """Take back the requests that workers returned, in the order in which they were returned."""
    cdef Request *request = <Request *> swap_pointer(&engine.returned, NULL)
    cdef Request *reversed = NULL
    cdef Request *following
    while request != NULL:
        following = request.next
        request.next = reversed
        reversed = request
        request = following
    while reversed != NULL:
        request = reversed
        reversed = request.next
        request.next = NULL
        on_returned(engine, request)


cdef void take_announced(Engine *engine) noexcept nogil:
    """Continue to send the outboxes that were announced since the last cycle."""
    cdef Outbox *outbox = <Outbox *> swap_pointer(&engine.announced, NULL)
    cdef Outbox *following
    while outbox != NULL:
        following = outbox.next_announced
        on_announced(engine, outbox)
        outbox_release(outbox)
        outbox = following


cdef inline Connection *owner_of(Timer *timer) noexcept nogil:
    """Return the connection whose timer this is."""
    cdef Connection some
    return <Connection *> (<char *> timer - (<char *> &some.timer - <char *> &some))


cdef void fire_timers(Engine *engine) noexcept nogil:
    """Check every connection whose timer is due."""
    cdef Timer *timer
    while True:
        timer = wheel_due(&engine.wheel, engine.now)
        if timer == NULL:
            return
        on_timer(engine, owner_of(timer))


cdef bint finish_drain(Engine *engine) noexcept nogil:
    """Close connections that wait for nothing. Returns True if none is left on which something was received."""
    cdef uint32_t index
    cdef bint finished = True
    cdef Connection *connection
    for index in range(engine.slabs_count * SLAB):
        connection = connection_at(engine, index)
        if connection.phase == PHASE_FREE:
            continue
        if not engine_owns(connection):
            finished = False
        elif (
            connection.phase in (PHASE_HANDSHAKE, PHASE_SILENT)
            and engine.now < connection.since + engine.timeouts.newcomer
        ):
            finished = False  # its first request may be on its way
        elif connection.phase in (PHASE_HANDSHAKE, PHASE_IDLE, PHASE_SILENT):
            on_drained(engine, connection)
            if connection.phase != PHASE_FREE:
                finished = False
        elif connection.phase != PHASE_LINGER or transport_unacknowledged(&connection.transport) > 0:
            finished = False  # a lingering one is closed with the rest once its client has the whole response
    return finished


cdef void on_drained(Engine *engine, Connection *connection) noexcept nogil:
    """Close an idle connection of a server that is about to end, unless a request has just arrived on it."""
    if transport_peek(&connection.transport) != PEEK_BYTES:
        close_now(engine, connection)


cdef int wait_ms(Engine *engine, unsigned int command) noexcept nogil:
    """Return how long the engine may wait, in ms: until a timer is due, or 0 if something was announced.

    command: the one that this cycle obeys. Whatever comes after `sleeping` is set wakes the engine.
    """
    cdef int64_t wait = wheel_next(&engine.wheel, engine.now)
    if wait < 0 or wait > LONGEST_WAIT:
        wait = LONGEST_WAIT
    if engine.accept_again > engine.now:
        wait = min(wait, engine.accept_again - engine.now)
    if engine.eviction.again_ns > engine.now:
        wait = min(wait, engine.eviction.again_ns - engine.now)
    if command == COMMAND_DRAIN:
        wait = min(wait, DRAIN_WAIT)
    elif command == COMMAND_HANDOFF:
        wait = min(wait, handoff_wait(engine))
    if engine.slot != NULL and load_uint(&engine.slot.over_share):
        wait = min(wait, OVER_SHARE_WAIT)
    if engine.watch.waits:
        wait = min(wait, WATCH_WAIT)
    store_uint(&engine.sleeping, 1)
    if (
        load_pointer(&engine.returned) != NULL or load_pointer(&engine.announced) != NULL
        or load_uint(&engine.command) != command
    ):
        wait = 0
    return <int> ((wait + 999999) // 1000000)


cdef inline void yield_to_workers(int64_t ns) noexcept nogil:
    """Leave the processor to the workers for a moment, if they have enough to do (see queue_check)."""
    if ns >= REST_LEAST_NS:
        sleep_ns(ns)


cdef void empty_backlog(Engine *engine) noexcept nogil:
    """Accept what waits in the backlog, then close the listeners, so that new connections are refused at once.

    If other processes accept on the same listener, the backlog is left to them. Called again while a listener is left:
    accepting failed, and may succeed once descriptors are free again.
    """
    cdef int position
    cdef bint any
    watch_listeners(engine)
    any = not load_uint(&engine.others_accept) or close_shared_listeners(engine)
    if any and engine.now < engine.accept_again:
        return
    if not load_uint(&engine.others_accept):
        adopt_all(engine)
    for position in range(engine.listeners_count if any else 0):
        if engine.listeners[position].handle.fd >= 0:
            accept_all(engine, &engine.listeners[position].handle)
    if not any or engine.now >= engine.accept_again:
        engine_close_listeners(engine)


cdef bint close_shared_listeners(Engine *engine) noexcept nogil:
    """Close the listeners on which other processes accept, and stop adopting. Returns True if a listener is left."""
    cdef long long exclusive = load_llong(&engine.exclusive)
    cdef int position
    cdef bint any = False
    adoption_close(engine)
    for position in range(engine.listeners_count):
        if is_exclusive(exclusive, position):
            any = True
        else:
            close_listener(&engine.listeners[position])
    return any


cdef void accept_all(Engine *engine, Handle *listener) noexcept nogil:
    """Accept everything in the backlog of a listener, or as much as can be accepted now."""
    cdef uint64_t accepted = engine.counters.accepted - 1
    while engine.counters.accepted != accepted:
        accepted = engine.counters.accepted
        complete_accept(&engine.poller, listener)


cdef void close_listener(EngineListener *listener) noexcept nogil:
    if listener.handle.fd >= 0:
        close(listener.handle.fd)
        listener.handle.fd = -1


cdef void engine_close_listeners(Engine *engine) noexcept nogil:
    """Close the engine's copies of the listening sockets. For the engine's thread, or while it does not run."""
    cdef int position
    for position in range(engine.listeners_count):
        close_listener(&engine.listeners[position])
    engine.listeners_count = 0
    adoption_close(engine)


cdef void *run(void *engine_) noexcept nogil:
    """Run the loop until a command ends it."""
    cdef Engine *engine = <Engine *> engine_
    cdef unsigned int command
    exact_timers()
    while True:
        command = load_uint(&engine.command)
        if command == COMMAND_STOP:
            break
        if command == COMMAND_SERVE:
            watch_listeners(engine)
        else:
            if engine.listeners_count > 0:
                empty_backlog(engine)
                if engine.listeners_count == 0 and engine.slot != NULL:
                    slot_note_closed(engine.slot)
            if finish_handoff(engine) if command == COMMAND_HANDOFF else finish_drain(engine):
                if engine.listeners_count == 0:
                    break
        engine.poller.cycle(&engine.poller, wait_ms(engine, command))
        engine.counters.turns += 1
        take_returned(engine)
        take_announced(engine)
        fire_timers(engine)
        evict_stalled_client(engine)
        if engine.slot != NULL:
            store_llong(&engine.slot.requests, engine.counters.requests)
        if engine.put_some or engine.watch.waits:
            engine.put_some = False
            yield_to_workers(queue_check(engine.queue, &engine.watch, engine.now))
    engine_close_listeners(engine)
    engine_sweep(engine)
    handoff_close(engine)
    write(engine.done_fd, b"e", 1)  # a byte, since a child that the application forked may also hold the writing end
    close(engine.done_fd)
    return NULL


cdef void engine_sweep(Engine *engine) noexcept nogil:
    """Close every connection that no worker has. Also called after the loop is joined, while workers still end."""
    cdef uint32_t index
    cdef Connection *connection
    take_returned(engine)
    take_announced(engine)
    for index in range(engine.slabs_count * SLAB):
        connection = connection_at(engine, index)
        if connection.phase not in (PHASE_FREE, PHASE_CLOSED_NOTIFY) and engine_owns(connection):
            close_now(engine, connection)
    take_announced(engine)


cdef Connection *engine_next_closed(Engine *engine, uint32_t *index) noexcept nogil:
    """Return the next closed connection, from `index` on, that the bridge was not notified of. NULL: none is left.

    For closing the engine, when its thread and the workers have ended.
    """
    cdef Connection *connection
    while index[0] < engine.slabs_count * SLAB:
        connection = connection_at(engine, index[0])
        index[0] += 1
        if connection.phase == PHASE_CLOSED_NOTIFY:
            return connection
    return NULL


cdef int engine_open(Engine *engine, bint use_poll) noexcept nogil:
    """Prepare an engine whose settings are filled in, without starting it. Returns 0 or -errno."""
    cdef int result
    if use_poll:
        poll_poller(&engine.poller)
    else:
        epoll_poller(&engine.poller)
    engine.poller.user.engine = engine
    engine.poller.user.awake = on_awake
    engine.poller.user.room = on_room
    engine.poller.user.received = on_received
    engine.poller.user.hangup = on_hangup
    engine.poller.user.sendable = on_sendable
    engine.poller.user.acceptable = on_acceptable
    engine.poller.user.accepted = on_accepted
    engine.poller.user.accept_failed = on_accept_failed
    engine.poller.user.adoptable = on_adoptable
    engine.poller.user.find = on_find
    engine.now = monotonic_ns()
    wheel_init(&engine.wheel, engine.now)
    pool_init(&engine.pool)
    init_uint(&engine.sleeping, 0)
    init_uint(&engine.command, COMMAND_SERVE)
    init_uint(&engine.closing_keepalives, 0)
    init_uint(&engine.others_accept, 0)
    init_llong(&engine.exclusive, 0)
    init_pointer(&engine.returned, NULL)
    init_pointer(&engine.announced, NULL)
    sem_init(&engine.monitor_wakeup, 0, 0)
    count(COUNT_ENGINE, 1)
    engine.waker.fd = engine.adoption.fd = engine.handoff_fd = -1
    engine.scratch = <char *> malloc(SCRATCH_BYTES)
    if engine.scratch == NULL:
        return -errno
    result = engine.poller.open(&engine.poller)
    if result < 0:
        return result
    engine.waker.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    if engine.waker.fd < 0:
        return -errno
    engine.waker.kind = HANDLE_WAKER
    engine.waker.index = WAKER_INDEX
    return engine.poller.add(&engine.poller, &engine.waker)


cdef int engine_listen(Engine *engine, int fd) noexcept nogil:
    """Accept from this listening socket too; the engine keeps a copy. Only before the start. Returns 0 or -errno."""
    cdef EngineListener *listener
    cdef int copy
    if engine.listeners_count == LISTENERS_MAX:
        return -E2BIG
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    if copy < 0:
        return -errno
    listener = &engine.listeners[engine.listeners_count]
    memset(listener, 0, sizeof(EngineListener))
    listener.handle.fd = copy
    listener.handle.kind = HANDLE_LISTENER
    listener.handle.index = LISTENER_INDEX + engine.listeners_count
    engine.listeners_count += 1
    return 0


cdef int engine_attach(Engine *engine, ScoreboardRecord *scoreboard, SlotRecord *slot) noexcept nogil:
    """Share the listeners with other processes, as the scoreboard says. Only before the start. Returns 0 or -errno."""
    engine.scoreboard = scoreboard
    engine.slot = slot
    engine.scoreboard_wakeup.fd = scoreboard.wakeup_fd
    engine.scoreboard_wakeup.kind = HANDLE_WAKER
    engine.scoreboard_wakeup.index = SCOREBOARD_INDEX
    return engine.poller.add(&engine.poller, &engine.scoreboard_wakeup)


cdef int engine_start(Engine *engine) noexcept nogil:
    """Start the engine's thread. Returns 0 or -errno."""
    return start_thread(&engine.thread, run, engine, b"halfsync-engine", STACK_BYTES)


cdef void engine_command(Engine *engine, int command) noexcept nogil:
    """Tell a running engine to leave, drain or stop. An engine that cannot hand off drains instead of leaving."""
    cdef unsigned int expected = COMMAND_SERVE
    if command == COMMAND_HANDOFF:
        store_uint(&engine.others_accept, 1)
        if engine.handoff_fd >= 0 and not engine.limits.raw:
            cas_uint(&engine.command, &expected, COMMAND_HANDOFF)
            engine_wake(engine)
            return
        command = COMMAND_DRAIN
    if command == COMMAND_DRAIN:
        store_uint(&engine.closing_keepalives, 1)
    store_uint(&engine.command, command)
    engine_wake(engine)


cdef void engine_join(Engine *engine) noexcept nogil:
    """Wait for the engine's thread to end. Call it once only."""
    pthread_join(engine.thread, NULL)


cdef void engine_close(Engine *engine) noexcept nogil:
    """Free everything. The engine's thread must have ended, and no worker may use the engine."""
    engine_sweep(engine)
    engine_close_listeners(engine)
    handoff_close(engine)
    connections_free(engine)
    engine.poller.close(&engine.poller)
    if engine.waker.fd >= 0:
        close(engine.waker.fd)
    pool_destroy(&engine.pool)
    sem_destroy(&engine.monitor_wakeup)
    free(engine.scratch)
    count(COUNT_ENGINE, -1)
