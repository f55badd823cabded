"""The engine's loop: one native thread that owns every socket and never takes the GIL.

A cycle of the loop: wait; handle what happened on each connection; take back what workers returned; send what they
announced; check the timers that are due; wake a worker if requests were put. Only the wait blocks.
"""
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc
from posix.unistd cimport close, write

from halfsync.engine.adoption cimport ADOPTION_INDEX
from halfsync.engine.census cimport measure_cycle
from halfsync.engine.connection_close cimport close_now, note_outcome
from halfsync.engine.connection_events cimport (
    on_announced, on_hangup, on_received, on_returned, on_room, on_sendable, on_timer,
)
from halfsync.engine.connections cimport connection_at, connections_free
from halfsync.engine.draining cimport command_wait, finish_connections
from halfsync.engine.engine cimport SCRATCH_BYTES, SLAB, Connection, Request
from halfsync.engine.feeds cimport feeds_continue, feeds_end, feeds_wait
from halfsync.engine.handoff cimport handoff_close
from halfsync.engine.handshakes cimport handshakes_begin, handshakes_end
from halfsync.engine.listening cimport (
    LISTENER_INDEX, empty_backlog, engine_close_listeners, on_accept_failed, on_acceptable, on_accepted, on_adoptable,
    watch_listeners,
)
from halfsync.engine.phases cimport PHASE_CLOSED_NOTIFY, PHASE_FREE
from halfsync.engine.poller cimport HANDLE_WAKER, Handle
from halfsync.engine.poller_epoll cimport epoll_poller
from halfsync.engine.poller_poll cimport poll_poller
from halfsync.engine.request_timeout cimport shed_overdue
from halfsync.engine.spool_eviction cimport evict_stalled_client
from halfsync.engine.timers cimport Timer, wheel_due, wheel_init, wheel_next
from halfsync.engine.transitions cimport engine_owns
from halfsync.exchange.exchange cimport pool_destroy, pool_init
from halfsync.exchange.outbox cimport Outbox, outbox_release
from halfsync.exchange.outcome cimport OUTCOME_ERROR
from halfsync.exchange.reasons cimport REASON_STOP
from halfsync.native.checks cimport COUNT_ENGINE, count
from halfsync.native.sync cimport (
    init_pointer, init_uint, load_pointer, load_uint, monotonic_ns, pthread_join,
    sem_destroy, sem_init, sleep_ns, start_thread, store_llong, store_uint, swap_pointer,
)
from halfsync.pool.request_queue cimport queue_check
from halfsync.shared.accepting cimport listeners_init, next_accept_check
from halfsync.shared.command cimport COMMAND_SERVE, COMMAND_STOP
from halfsync.shared.counters cimport counters_begin
from halfsync.shared.slots cimport SlotRef, slot_note_closed
from halfsync.transport.transport cimport transport_computes

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

cdef int64_t LONGEST_WAIT = 1000000000  # ns
cdef int64_t WATCH_WAIT = 1000000  # ns; the longest wait while something waits in the queue


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


cdef int wait_ms(Engine *engine, unsigned int command) noexcept nogil:
    """Return how long the engine may wait, in ms: until a timer is due, or 0 if something was announced.

    command: the one that this cycle obeys. Whatever comes after `sleeping` is set wakes the engine.
    """
    cdef int64_t wait = wheel_next(&engine.wheel, engine.now)
    if wait < 0 or wait > LONGEST_WAIT:
        wait = LONGEST_WAIT
    if command != COMMAND_SERVE:
        wait = min(wait, command_wait(engine, command))
    # What else keeps a process from accepting, the scoreboard's wakeup ends.
    wait = min(wait, next_accept_check(engine.slot, True, engine.accept_again, engine.now) - engine.now)
    if engine.eviction.again_ns > engine.now:
        wait = min(wait, engine.eviction.again_ns - engine.now)
    if engine.feeds != NULL:
        wait = min(wait, feeds_wait(engine))
    if engine.watch.waits:
        wait = min(wait, WATCH_WAIT)
    if engine.census_next > 0:
        wait = 0
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
            feeds_end(engine)
            if engine.listeners_count > 0:
                empty_backlog(engine)
                if engine.listeners_count == 0 and engine.slot != NULL:
                    slot_note_closed(engine.slot)
            if finish_connections(engine, command) and engine.listeners_count == 0:
                break
        engine.poller.cycle(&engine.poller, wait_ms(engine, command))
        engine.counters.turns += 1
        take_returned(engine)
        take_announced(engine)
        fire_timers(engine)
        evict_stalled_client(engine)
        if engine.feeds != NULL:
            feeds_continue(engine)
        if engine.slot != NULL:
            store_llong(&engine.slot.requests, engine.counters.requests - engine.counted_before.requests)
        if engine.put_some or engine.watch.waits:
            engine.put_some = False
            if engine.watch.overdue:
                shed_overdue(engine)
            yield_to_workers(queue_check(engine.queue, &engine.watch, engine.now))
        if engine.metrics != NULL:
            measure_cycle(engine)
    feeds_end(engine)
    engine_close_listeners(engine)
    handshakes_end(engine)
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
            note_outcome(&connection.request, OUTCOME_ERROR, REASON_STOP)
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
    engine.counters = &engine.own_counters
    wheel_init(&engine.wheel, engine.now)
    pool_init(&engine.pool)
    init_uint(&engine.sleeping, 0)
    init_uint(&engine.command, COMMAND_SERVE)
    init_uint(&engine.closing_keepalives, 0)
    listeners_init(&engine.shared_listeners)
    init_pointer(&engine.returned, NULL)
    init_pointer(&engine.announced, NULL)
    sem_init(&engine.monitor_wakeup, 0, 0)
    count(COUNT_ENGINE, 1)
    engine.waker.transport.fd = engine.adoption.transport.fd = engine.handoff_fd = -1
    engine.scratch = <char *> malloc(SCRATCH_BYTES)
    if engine.scratch == NULL:
        return -errno
    result = engine.poller.open(&engine.poller)
    if result < 0:
        return result
    engine.waker.transport.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    if engine.waker.transport.fd < 0:
        return -errno
    engine.waker.kind = HANDLE_WAKER
    engine.waker.index = WAKER_INDEX
    return engine.poller.add(&engine.poller, &engine.waker)


cdef int engine_attach(Engine *engine, const SlotRef *slot) noexcept nogil:
    """Share the listeners with other processes, as the scoreboard says. Only before the start. Returns 0 or -errno."""
    engine.scoreboard = slot.scoreboard
    engine.slot = slot.slot
    if slot.metrics != NULL:
        engine.metrics = engine.observers.metrics = slot.metrics
        engine.counters = &slot.metrics.counters
        counters_begin(&engine.counted_before, engine.counters)
    engine.scoreboard_wakeup.transport.fd = slot.scoreboard.wakeup_fd
    engine.scoreboard_wakeup.kind = HANDLE_WAKER
    engine.scoreboard_wakeup.index = SCOREBOARD_INDEX
    return engine.poller.add(&engine.poller, &engine.scoreboard_wakeup)


cdef int engine_start(Engine *engine) noexcept nogil:
    """Start the engine's thread, and those that do handshakes, if any are needed. Returns 0 or -errno."""
    cdef int result = 0
    if transport_computes(engine.profiles, engine.listeners_count):
        result = handshakes_begin(engine)
    if result == 0:
        result = start_thread(&engine.thread, run, engine, b"halfsync-engine", STACK_BYTES)
        if result < 0:
            handshakes_end(engine)
    return result


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
    if engine.waker.transport.fd >= 0:
        close(engine.waker.transport.fd)
    pool_destroy(&engine.pool)
    sem_destroy(&engine.monitor_wakeup)
    free(engine.scratch)
    count(COUNT_ENGINE, -1)
