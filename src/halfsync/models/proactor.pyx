"""The half-sync/half-reactive model: the engine owns every socket, and worker threads run the application."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from halfsync.engine.adoption cimport adoption_open
from halfsync.engine.connections cimport connection_free
from halfsync.engine.draining cimport engine_command
from halfsync.engine.engine cimport Connection
from halfsync.engine.handoff cimport handoff_open
from halfsync.engine.listening cimport engine_close_listeners, engine_listen
from halfsync.engine.loop cimport (
    engine_attach, engine_close, engine_join, engine_next_closed, engine_open, engine_start, engine_sweep,
)
from halfsync.exchange.native_settings cimport (
    native_fields, native_files, native_ids, native_lanes, native_limits, native_overload, native_proxies, native_slot,
    native_store, native_timeouts,
)
from halfsync.http.request_id cimport RequestIds
from halfsync.http.request_start cimport proxy_clock_init
from halfsync.http.trust cimport TrustedPeers
from halfsync.listening.endpoints cimport Endpoints
from halfsync.native.counting cimport counted
from halfsync.native.failures cimport checked
from halfsync.native.sync cimport load_llong, store_uint
from halfsync.observe.access cimport AccessLog
from halfsync.observe.refusals cimport RefusalLog
from halfsync.pool.lanes cimport lanes_measure
from halfsync.pool.request_queue cimport queue_lane_counts, queue_taken
from halfsync.shared.accepting cimport leave_listeners, listener_mask
from halfsync.shared.client_counts cimport counts_close, counts_open
from halfsync.shared.command cimport COMMAND_DRAIN, COMMAND_HANDOFF, COMMAND_STOP
from halfsync.shared.counters cimport Counters, counters_since, statistics_of
from halfsync.shared.lane_metrics cimport LANE_OTHERS
from halfsync.shared.slots cimport SlotRef
from halfsync.transport.profiles cimport Profiles
from halfsync.wsgi.body_blocks cimport BodyBlocks

from halfsync.runtime.originals import monotonic, os
from halfsync.settings.lanes import queue_lanes

SWEEP_S = 0.05


cdef class Proactor:
    """One engine and its workers. The server owns it; its methods are called by one thread at a time."""

    def __cinit__(self, *_args, **_kwargs):
        self.read_fd = -1
        self.engine = <Engine *> calloc(1, sizeof(Engine))
        self.store = <Store *> calloc(1, sizeof(Store))
        if self.engine == NULL or self.store == NULL:
            raise MemoryError

    def __init__(self, parts):
        """Prepare with a model's `Parts`. Raises OSError if descriptors or memory are short."""
        cdef Engine *engine = self.engine
        cdef Bridge bridge = parts.bridge
        cdef AccessLog access_log = parts.access_log
        cdef RefusalLog refusals = parts.refusals
        cdef Endpoints endpoints = parts.endpoints
        cdef TrustedPeers trusted = parts.trusted
        cdef object settings = parts.settings
        cdef BodyBlocks blocks = BodyBlocks()
        cdef TrustedPeers proxies = native_proxies(settings)
        cdef RequestIds ids = native_ids(settings, trusted)
        self.pinned = (blocks, proxies, ids, parts)
        self.workers = RequestWorkers(
            settings.threads, queue_size=settings.queue_size, name="halfsync-worker", patient=True)
        self.workers.engine = engine
        self.workers.bridge = bridge
        self.workers.pinned = self.pinned
        self.workers.limit_s = settings.request_timeout
        self.workers.max_stuck = settings.max_stuck
        self.workers.refusals = refusals
        engine.queue = &self.workers.queue
        self.divide(settings)
        if not bridge.raw:  # the turn of a stream lasts as long as its client likes
            native_overload(&self.workers.queue.overload, settings)
            if settings.overload_control and trusted is not None:
                engine.forwarders = &trusted.trust
        proxy_clock_init(&engine.proxy_clock)
        if access_log is not None:
            engine.observers.access = &access_log.log
        if refusals is not None:
            engine.refusals = &refusals.refusals
        native_store(self.store, settings)
        engine.store = self.store
        native_limits(&engine.limits, settings, self.store, bridge.raw)
        native_timeouts(&engine.timeouts, settings)
        engine.files = native_files(parts.files)
        engine.limits.blocks = &blocks.pool
        engine.proxies = &proxies.trust if proxies is not None else NULL
        engine.spool_memory = settings.spool_memory
        engine.response_ahead = settings.response_ahead
        engine.open_max = parts.room
        engine.endpoints = &endpoints.table
        native_fields(&engine.fields, settings)
        engine.observers.ids = &ids.source if ids is not None else NULL
        checked(counts_open(&engine.clients, settings.max_connections_per_client, engine.open_max + 1))
        checked(engine_open(engine, settings.poller == "poll"))
        engine.pool.keeps_heads = access_log is not None and access_log.log.format.wants_response
        self.connect(parts)

    cdef int divide(self, object settings) except -1:
        """Divide the queue into the lanes of the settings, if they ask for any."""
        lanes = queue_lanes(settings.lanes, settings.client_share)
        if lanes:
            native_lanes(&self.workers.queue, settings, lanes)
            self.lane_table = LaneTable(lanes)
            self.engine.lane_rules = &self.lane_table.rules
        return 0

    cdef int connect(self, parts) except -1:
        """Give the engine its listeners, and what it shares with other processes."""
        cdef const SlotRef *slot_ref
        cdef Profiles profiles = parts.profiles
        if parts.slot is not None:
            self.workers.scoreboard_slot = parts.slot
            slot_ref = native_slot(parts.slot)
            checked(engine_attach(self.engine, slot_ref))
            if slot_ref.metrics != NULL:
                self.workers.measure(slot_ref.metrics, True)
                self.engine.gate = self.workers.gate
                self.store.shown = &slot_ref.metrics.gauges.spooled
                self.measure_lanes(parts.slot, slot_ref.metrics)
        if profiles is not None:
            self.engine.profiles = profiles.native
        for fd in parts.listeners:
            checked(engine_listen(self.engine, fd))
        if parts.adoption_fd >= 0:
            checked(adoption_open(self.engine, parts.adoption_fd))
            if parts.handoff_fd >= 0:
                checked(handoff_open(self.engine, parts.handoff_fd))
        return 0

    cdef int measure_lanes(self, object slot, SlotMetrics *metrics) except -1:
        """Show each lane in the metrics of this process's slot."""
        cdef int row
        cdef uint32_t index
        if self.lane_table is not None:
            for index, name in enumerate(self.lane_table.names):
                row = slot.lane_row(name)
                lanes_measure(
                    self.engine.queue.lanes, index, NULL if row == LANE_OTHERS else &metrics.gauges.lanes[row],
                    &metrics.lanes[row])
        return 0

    def __dealloc__(self):
        if self.engine != NULL and (self.joined or not self.started):
            if self.engine.scratch != NULL:
                engine_close(self.engine)
            counts_close(&self.engine.clients)  # they may be all that was opened
            free(self.engine)
            free(self.store)
        # else workers may still use the engine: it stays until the process ends

    def start(self, unwanted=None):
        """Start the workers and then the engine. Once only, even if it fails. Nothing is done in the main thread."""
        self.read_fd, self.engine.done_fd = os.pipe()
        self.workers.bridge.note_process()
        try:
            self.workers.start()
            self.workers.start_monitor()
            checked(engine_start(self.engine))
        except BaseException:
            self.workers.stop_monitor()
            self.workers.close()
            os.close(self.read_fd)
            os.close(self.engine.done_fd)
            self.read_fd = self.engine.done_fd = -1
            raise
        self.started = True

    @property
    def done_fd(self):
        """A descriptor that becomes readable when the engine has ended."""
        return self.read_fd

    def close_keepalives(self):
        """Let each connection end with its next response."""
        store_uint(&self.engine.closing_keepalives, 1)

    def drain(self):
        """Stop accepting, and let the engine end once everything that was received is answered."""
        engine_command(self.engine, COMMAND_DRAIN)

    def hand_off(self, exclusive):
        """Stop accepting, and let the engine end once every connection is handed off or has ended.

        Other processes accept from now on. exclusive: positions of listeners on which none does: what waits in their
        backlog is accepted first.
        """
        leave_listeners(&self.engine.shared_listeners, listener_mask(exclusive))
        engine_command(self.engine, COMMAND_HANDOFF)

    def stop(self):
        """Let the engine end now."""
        engine_command(self.engine, COMMAND_STOP)

    def close(self, timeout):
        """Stop, and end all threads. Return False if workers are still in the application after `timeout` s.

        timeout: None waits without limit.
        """
        if not self.started:
            engine_close_listeners(self.engine)
            return True
        if self.joined:
            return True
        self.stop()
        if self.read_fd >= 0:
            with nogil:
                engine_join(self.engine)
            os.close(self.read_fd)
            self.read_fd = -1
        monitoring = not self.workers.stop_monitor()
        deadline = None if timeout is None else monotonic() + timeout
        while not self.joined:
            self.joined = self.workers.close(
                SWEEP_S if deadline is None else min(SWEEP_S, max(0.0, deadline - monotonic()))) and not monitoring
            engine_sweep(self.engine)  # a worker may wait for room that the ended engine cannot make
            monitoring = monitoring and not self.workers.stop_monitor()
            if (deadline is not None and (monitoring or monotonic() >= deadline)) or self.workers.only_caller_left():
                break
        if self.joined:
            self._notify_closed()
        return self.joined

    def _notify_closed(self):
        """Tell the bridge which connections have ended since the last worker ended."""
        cdef uint32_t index = 0
        cdef Connection *connection
        while True:
            connection = engine_next_closed(self.engine, &index)
            if connection == NULL:
                return
            if connection.request.app_state != NULL:
                self.workers.bridge.discard_state(connection.request.app_state)
                connection.request.app_state = NULL
            connection_free(self.engine, connection)

    def statistics(self):
        """Return the counts so far, as a dict."""
        cdef Counters counters
        cdef uint32_t queued
        # A worker takes a request and counts it as running without releasing the GIL, which this thread holds: none is
        # in between.
        cdef uint64_t taken = queue_taken(self.engine.queue, &queued)
        counters_since(&counters, self.engine.counters, &self.engine.counted_before)
        counters.open = self.engine.open
        counters.dropped = self.workers.dropped
        counters.running = counted(self.workers.running)
        counters.finished = taken - counters.running - counters.close_notices + counters.files
        return statistics_of(&counters, queued, load_llong(&self.store.used), self.workers.stuck) | self.lane_counts()

    def lane_counts(self):
        """Return what waits and what runs in each lane: `lane.NAME.queued` and `lane.NAME.busy`."""
        cdef uint32_t index, waiting, busy
        counts = {}
        if self.lane_table is not None:
            for index, name in enumerate(self.lane_table.names):
                queue_lane_counts(self.engine.queue, index, &waiting, &busy)
                counts[f"lane.{name}.queued"] = waiting
                counts[f"lane.{name}.busy"] = busy
        return counts
