"""Serve one connection in a thread of its own: receive, run, send, repeat.

The models `process`, `thread` and `pool` differ in where that thread comes from; what it does is here. It blocks in one
place (`waiting.pyx`), never with the GIL, and always with a deadline on the monotonic clock. Before it takes the GIL
again it passes a gate (`native/gate.pxd`). While a connection idles, the thread also watches two wakeup pipes
(`wakeups.pyx`): one is signalled when the server drains or hands off, one when it stops. A server that hands off does
so with each connection as it becomes idle (`handing_off.pyx`). If a connection cannot be handed off at once, it is
served until it can.

The file is long because the class is all that the models see: orders, accepting, making room, serving. Its methods are
short, and what they do is in the modules beside it.
"""

from cpython.exc cimport PyErr_SetFromErrno
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.unistd cimport close, write

from halfsync.blocking.client_limit cimport ClientLimit, client_limit, limit_add, limit_remove
from halfsync.blocking.connection cimport ClientConnection, close_connection, count_open, drop_exchange
from halfsync.blocking.handing_off cimport adopt
from halfsync.blocking.idle_lists cimport (
    EVICTED_PARKED, idle_choose_child, idle_evict, idle_free, idle_has_candidate, idle_is_evicting, idle_open,
    idle_place_freed, idle_unpark,
)
from halfsync.blocking.overdue cimport ConnectionOverload, connection_overload
from halfsync.blocking.records cimport ENDED, PARKED, BlockingConnection, SharedState, is_handing_off
from halfsync.blocking.refusing cimport discard, note_refusal, shed
from halfsync.blocking.serving cimport refuse_last, serve_requests
from halfsync.blocking.waiting cimport others_wait
from halfsync.blocking.wakeups cimport WakeupPipes
from halfsync.exchange.bridging cimport Bridge
from halfsync.exchange.exchange cimport pool_destroy, pool_init
from halfsync.exchange.lingering cimport REJECTED_LINGERING_MAX
from halfsync.exchange.native_settings cimport (
    native_fields, native_files, native_limits, native_proxies, native_slot, native_store, native_timeouts,
)
from halfsync.exchange.reasons cimport REASON_CLIENT, REASON_CONNECTIONS, REASON_PEER, REASON_PROCESS, REASON_THREAD
from halfsync.exchange.spool cimport Store
from halfsync.http.trust cimport TrustedPeers, trust_has
from halfsync.listening.endpoints cimport Endpoints
from halfsync.native.counting cimport count_shared
from halfsync.native.gate cimport gate_close, gate_open
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport init_uint, load_llong, load_uint, monotonic_ns, store_llong, store_uint
from halfsync.observe.access cimport AccessLog
from halfsync.observe.refusals cimport ANSWER_END
from halfsync.pool.request_queue cimport queue_length
from halfsync.pool.threadpool cimport ThreadPool
from halfsync.shared.accepting cimport (
    ACCEPT_PAUSE_NS, has_pending_accept, keeps_listener, leave_listeners, listener_mask, may_accept, next_accept_check,
    others_accept,
)
from halfsync.shared.client_counts cimport CLIENT_OVER_LIMIT, KEY_UNKNOWN, client_key
from halfsync.shared.command cimport COMMAND_DRAIN, COMMAND_HANDOFF, COMMAND_SERVE, COMMAND_STOP, command_give
from halfsync.shared.counters cimport Counters, counters_begin, counters_since, statistics_of
from halfsync.shared.metrics cimport Gauges, SlotMetrics
from halfsync.shared.slots cimport SlotRef, slot_note_closed
from halfsync.transport.transport cimport transport_close
from halfsync.wsgi.body_blocks cimport BodyBlocks

from halfsync.runtime.originals import os

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    const int EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE

cdef enum:
    RESUME_AT_ONCE = 4  # threads with a request that may wait for the GIL at once: one gets it next, the others follow
    END_AT_ONCE = 1  # the same, for threads whose connection has ended

REJECTED_LINGERING = <int> REJECTED_LINGERING_MAX

# Why a new connection is answered 503, for `shed`.
CLIENT_FULL, QUEUE_FULL, NO_THREAD, NO_PROCESS = range(4)
cdef int[4] SHED_REASONS
SHED_REASONS[:] = [REASON_CLIENT, REASON_CONNECTIONS, REASON_THREAD, REASON_PROCESS]


cdef bint backlog_waits(void *listeners) noexcept with gil:
    """Tell whether a connection waits in the backlog of any of the listeners in a list of descriptors."""
    return any([has_pending_accept(listener) for listener in <list> listeners])


cdef class BlockingDriver:
    """What all connections of a server with blocking threads share: limits, deadlines, wakeup pipes and counts.

    A server has one. `serve_connection` is called by the thread that has the connection, by any number of them at once;
    all other methods are for the server's own threads.
    """

    def __cinit__(self, *_args, **_kwargs):
        self.record.drain_fd = self.record.stop_fd = self.record.eviction_fd = self.record.handoff_fd = -1
        pool_init(&self.record.pool)
        gate_open(&self.record.resuming_gate, RESUME_AT_ONCE)
        gate_open(&self.record.closing_gate, END_AT_ONCE)
        init_uint(&self.record.idle_watchers, 0)

    def __init__(self, parts):
        """Prepare with a model's `Parts`. Raises OSError or MemoryError if descriptors or memory are short."""
        cdef Bridge bridge = parts.bridge
        cdef AccessLog access_log = parts.access_log
        cdef object slot = parts.slot
        cdef Endpoints endpoints = parts.endpoints
        cdef object settings = parts.settings
        cdef bytearray store
        cdef BodyBlocks blocks = BodyBlocks()
        cdef TrustedPeers proxies = native_proxies(settings)
        cdef ClientLimit clients = client_limit(settings)
        cdef ConnectionOverload overload = connection_overload(settings, parts.trusted)
        cdef const SlotRef *slot_ref
        self.record.shared = <SharedState *> map_shared(sizeof(SharedState))
        if self.record.shared == NULL:
            raise MemoryError
        idle_open(&self.record, settings.max_children if settings.model == "process" else 0)
        store = bytearray(sizeof(Store))
        self.record.store = <Store *> <char *> store
        self.pinned = (store, blocks, proxies, clients, overload, parts)
        self.record.shared.counters = &self.record.shared.own_counters
        if slot is not None:
            slot_ref = native_slot(slot)
            self.record.scoreboard, self.record.slot = slot_ref.scoreboard, slot_ref.slot
            if slot_ref.metrics != NULL:
                self._measure(slot_ref.metrics)
        self.record.files = native_files(parts.files)
        self.record.proxies = &proxies.trust if proxies is not None else NULL
        self.record.client_limit = &clients.record if clients is not None else NULL
        self.record.overload = &overload.record if overload is not None else NULL
        self.record.endpoints = &endpoints.table
        self.bridge = bridge
        if access_log is not None:
            self.record.observers.access = &access_log.log
            self.record.pool.keeps_heads = access_log.log.format.wants_response
        self.refusals = parts.refusals
        if self.refusals is not None:
            self.record.refusals = &self.refusals.refusals
        native_store(self.record.store, settings)
        if self.record.metrics != NULL:
            self.record.store.shown = &self.record.metrics.gauges.spooled
        native_limits(&self.record.limits, settings, self.record.store, bridge.raw)
        self.record.limits.blocks = &blocks.pool
        native_timeouts(&self.record.timeouts, settings)
        native_fields(&self.record.fields, settings)
        self.wakeups = WakeupPipes()
        self.record.drain_fd, self.record.stop_fd = self.wakeups.drain_fd, self.wakeups.stop_fd
        if parts.handoff_fd >= 0:
            self.record.handoff_fd = os.dup(parts.handoff_fd)

    cdef void _measure(self, SlotMetrics *metrics) noexcept:
        """Count in these metrics, and go on from what processes before this one have counted there."""
        self.record.metrics = self.record.observers.metrics = metrics
        self.record.shared.counters = &metrics.counters
        counters_begin(&self.record.shared.counted_before, &metrics.counters)
        self.record.resuming_gate.waits = self.record.closing_gate.waits = &metrics.gil_wait

    def __dealloc__(self):
        pool_destroy(&self.record.pool)
        idle_free(&self.record)
        gate_close(&self.record.resuming_gate)
        gate_close(&self.record.closing_gate)
        self._close_others()
        unmap_shared(self.record.shared, sizeof(SharedState))

    def release_descriptors(self):
        """Close the wakeup pipes and the other descriptors, once no thread watches them. Only the counts are left."""
        self.wakeups.close()
        self._close_others()
        self.record.drain_fd = self.record.stop_fd = -1
        self.record.waiting = NULL
        self.pool_threads = None

    cdef void _close_others(self) noexcept:
        """Close its descriptors, except the wakeup pipes."""
        if self.record.eviction_fd >= 0:
            close(self.record.eviction_fd)
        if self.record.handoff_fd >= 0:
            close(self.record.handoff_fd)
        self.record.eviction_fd = self.record.handoff_fd = -1

    def evict_idle_for(self, ThreadPool threads):
        """Let idle connections give up their threads to those that wait for a thread of this pool. Raises OSError."""
        self.record.eviction_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)
        if self.record.eviction_fd < 0:
            PyErr_SetFromErrno(OSError)
        self.pool_threads = threads._made()
        self.record.waiting = &self.pool_threads.queue
        if self.record.metrics != NULL:
            self.pool_threads.measure(self.record.metrics, False)

    def close_wakeup_writers(self):
        """Close the wakeup pipes' writing ends in a forked child.

        Only the parent may signal them; its death closes them.
        """
        self.wakeups.close_writers()

    def become_child(self, int signal_fd, uint32_t child_index):
        """Serve one connection, in a child of the process that counts them.

        signal_fd: the non-blocking pipe to which the numbers of its signals are written. SIGTERM ends an idle
        connection at once, and any other with its response. The pipe is closed with the driver. child_index: the index
        of this child's word, which says since when its connection has waited.
        """
        self.record.is_child = True
        self.record.idle.child_index = child_index
        self.record.eviction_fd = signal_fd
        self.note_process()

    def note_process(self):
        """Record that this process serves: a copy of it that the application forks does not."""
        self.bridge.note_process()

    def request_eviction(self):
        """Wake one thread with an idle connection: another connection waits for a thread."""
        cdef unsigned long long one = 1
        if load_uint(&self.record.idle_watchers) > 0 and others_wait(&self.record):
            write(self.record.eviction_fd, &one, sizeof(one))

    def close_keepalives(self):
        """Let each connection end with its next response."""
        store_uint(&self.record.shared.closing_keepalives, 1)

    def drain(self):
        """Wake idle connections to end, and let the others end with their response."""
        command_give(&self.record.shared.command, COMMAND_DRAIN)
        self.wakeups.signal_drain()

    def hand_off(self, exclusive):
        """Wake idle connections to be handed off, and hand off the others after their response.

        From now on other processes accept, except on the listeners in the positions `exclusive`. If connections cannot
        be handed off, drain.
        """
        leave_listeners(&self.record.shared.listeners, listener_mask(exclusive))
        if self.record.handoff_fd < 0:
            self.drain()
            return
        command_give(&self.record.shared.command, COMMAND_HANDOFF)
        self.wakeups.signal_drain()

    def stop(self):
        """Wake all threads that wait for a client, and let no thread wait for one again."""
        command_give(&self.record.shared.command, COMMAND_STOP)
        self.wakeups.signal_drain()
        self.wakeups.signal_stop()

    @property
    def ending(self):
        """Whether the server hands off, drains or stops."""
        return load_uint(&self.record.shared.command) != COMMAND_SERVE

    @property
    def handing_off(self):
        """Whether the server hands connections off. False once it drains."""
        return is_handing_off(&self.record)

    @property
    def others_accept(self):
        """Whether connections to adopt are left to other processes; those in a listener's backlog may be."""
        return bool(others_accept(&self.record.shared.listeners))

    def keeps_listener(self, int position):
        """Tell whether the backlog of the listener in this position is for this process."""
        return bool(keeps_listener(&self.record.shared.listeners, position))

    @property
    def stopping(self):
        """Whether the server stops."""
        return load_uint(&self.record.shared.command) == COMMAND_STOP

    @property
    def drain_fd(self):
        """A descriptor that becomes readable when the server hands off, drains or stops."""
        return self.record.drain_fd

    @property
    def stop_fd(self):
        """A descriptor that becomes readable when the server stops."""
        return self.record.stop_fd

    def turned(self):
        """Count one turn of the accepting loop."""
        count_shared(&self.record.shared.counters.turns, 1)

    def may_accept(self, list listeners not None):
        """Tell whether to accept here, if accepting is not paused. False: other processes should, and do."""
        return bool(may_accept(
            self.record.scoreboard, self.record.slot, backlog_waits, <void *> listeners, monotonic_ns()))

    def next_accept_check(self, list listeners not None):
        """Return after how many seconds to look again whether to accept, or None: only an event changes that."""
        cdef int64_t now = monotonic_ns()
        cdef int64_t check = next_accept_check(
            self.record.slot, self.may_accept(listeners), self.record.accept_again, now)
        return None if check == INT64_MAX else (check - now) * 1e-9

    def pause_accepting(self):
        """Accept nothing for a moment: descriptors or memory are short."""
        self.record.accept_again = monotonic_ns() + ACCEPT_PAUSE_NS

    @property
    def is_accepting_paused(self):
        """Whether to accept nothing now, since descriptors or memory were short."""
        return monotonic_ns() < self.record.accept_again

    def listeners_closed(self):
        """Record that the listeners are closed."""
        if self.record.slot != NULL:
            slot_note_closed(self.record.slot)

    def accepted(self):
        """Count a connection that was accepted."""
        count_shared(&self.record.shared.counters.accepted, 1)
        count_open(&self.record, 1)

    def admit(self, ClientConnection connection):
        """Count a new connection for its client. Return False if the client has reached its limit.

        A connection that must begin with a PROXY header is counted once the header has named its client.
        """
        cdef int64_t client_index
        cdef uint64_t key = KEY_UNKNOWN
        if self.record.client_limit == NULL:
            return True
        if self.record.proxies == NULL:
            key = client_key(connection.record.address, connection.record.address_length)
        client_index = limit_add(self.record.client_limit, key)
        if client_index == CLIENT_OVER_LIMIT:
            return False
        connection.record.client_index = <uint32_t> client_index
        return True

    def can_evict(self):
        """Tell whether a connection could be closed for a new one: it idles, or has long been silent."""
        return idle_has_candidate(&self.record)

    def is_evicting(self):
        """Tell whether a connection was closed for a new one, and its thread still has its place."""
        return idle_is_evicting(&self.record)

    def evict_idle(self):
        """Close the connection that has idled longest, for a new one. Return True if its place is free at once.

        False: the thread of that connection has yet to give up its place, or no connection may be closed.
        """
        cdef BlockingConnection *parked = NULL
        if idle_evict(&self.record, &parked) != EVICTED_PARKED:
            return False
        close_connection(&self.record, parked)
        return True

    def place_freed(self, ClientConnection connection):
        """Record that the place of a connection that has ended is free."""
        idle_place_freed(&self.record, &connection.record)

    def choose_victim(self):
        """Choose the child that must make room, and return the index of its word, or -1. The caller signals it."""
        cdef int64_t chosen = idle_choose_child(&self.record)
        if chosen >= 0:
            count_shared(&self.record.shared.counters.made_room, 1)
        return chosen

    def is_chosen(self, uint32_t child_index):
        """Tell whether the chosen child must still make room: it has not begun a request since."""
        return load_llong(&self.record.idle.words[child_index]) == -1

    def has_ended(self, uint32_t child_index):
        """Record that the child with this word has ended."""
        store_llong(&self.record.idle.words[child_index], 0)

    def gone(self, uint32_t client_index, bint last):
        """Count the end of a child's connection. last: no child is left, so no turn is under way."""
        count_open(&self.record, -1)
        if self.record.client_limit != NULL:
            limit_remove(self.record.client_limit, client_index, False)
        if last:
            self.record.shared.counters.running = 0  # a child killed in a turn did not count its end
            if self.record.metrics != NULL:
                memset(&self.record.metrics.gauges, 0, sizeof(Gauges))

    def close_in_parent(self, ClientConnection connection):
        """Close the parent's copy of a connection that a child serves."""
        drop_exchange(&self.record, &connection.record)
        transport_close(&connection.record.transport)

    def adopt(self, int queue):
        """Return a ClientConnection that another process has handed off, or None if none waits.

        queue: the reading end. Raises OSError if descriptors or memory are short, and EOFError if no process is left
        that could hand off. For the thread that accepts.
        """
        return adopt(&self.record, queue)

    def statistics(self):
        """Return the counts so far, as a dict. No turn has a deadline: no thread is ever stuck."""
        cdef Counters counters
        counters_since(&counters, self.record.shared.counters, &self.record.shared.counted_before)
        return statistics_of(
            &counters, queue_length(self.record.waiting) if self.record.waiting != NULL else 0,
            load_llong(&self.record.store.used), 0)

    def serve_connection(self, ClientConnection connection):
        """Serve a connection until it ends. Return True if the caller must queue it again, since others wait.

        No error of the application or the client is raised.
        """
        cdef BlockingConnection *record = &connection.record
        cdef int result = ENDED
        if record.transport.fd < 0:  # closed while it waited in the queue
            return False
        idle_unpark(&self.record, record)
        if (
            self.record.proxies != NULL and not record.proxy_header_read
            and not trust_has(self.record.proxies, record.address, record.address_length)
        ):
            note_refusal(&self.record, record, ANSWER_END, 0, REASON_PEER)
            self._end(connection)
            self._tell_refusals()
            return False
        record.waited_ns = monotonic_ns() - record.put_ns if self.record.waiting != NULL else 0
        try:
            result = serve_requests(&self.record, record, self.bridge)
        finally:
            if result != PARKED:
                if result < ENDED:
                    refuse_last(&self.record, record, -result)
                self._end(connection)
                self._tell_refusals()
        return result == PARKED

    def shed(self, ClientConnection connection, int why):
        """Answer 503 to a new connection without waiting. Return False if no answer could be sent.

        The caller must close the connection, once the client has had time to read the answer. why: CLIENT_FULL,
        QUEUE_FULL, NO_THREAD or NO_PROCESS.
        """
        cdef bint said
        if why == CLIENT_FULL:
            count_shared(&self.record.shared.counters.limited, 1)
        said = shed(&self.record, &connection.record, SHED_REASONS[why])
        self._tell_refusals()
        return said

    @property
    def linger_s(self):
        """The seconds that a rejected client has to close its connection."""
        return self.record.timeouts.linger * 1e-9

    def discard(self, ClientConnection connection):
        """Drop some of what a rejected client still sends. Return False once the client has closed. Never waits."""
        return discard(&connection.record)

    def close(self, ClientConnection connection):
        """Close a connection that no thread serves."""
        self._end(connection)

    def waiting_now(self):
        """Return the number of connections that wait for a thread."""
        return queue_length(self.record.waiting)

    cdef void _tell_refusals(self) noexcept:
        """Log what was refused. The thread of the connection does this itself, once the client has its answer."""
        if self.refusals is not None:
            self.refusals.log_notes()

    cdef void _end(self, ClientConnection connection) noexcept:
        """Close the connection and free everything that it holds."""
        cdef void *app_state = connection.record.app_state
        if connection.record.transport.fd >= 0:
            close_connection(&self.record, &connection.record)
        if app_state != NULL:
            connection.record.app_state = NULL
            self.bridge.discard_state(app_state)
