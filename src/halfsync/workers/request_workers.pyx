"""The sync half: worker threads that run the application, each with a request to answer.

A worker takes a complete request from the queue, and owns it until it gives it back. It sends what the socket takes at
once. With the first byte that the socket does not take, the request goes back to the engine with an outbox. From then
on the worker fills the outbox and does not touch the request, nor its connection.

If turns have a deadline (request_timeout), a worker also holds a lease, which the engine may revoke while the
application has the thread (engine/lease.pyx). The monitor, a separate thread, then logs where that thread is, and
starts another in its place; the old one ends when the application returns. The monitor also logs the refusals of the
engine, which cannot log them itself (observe/refusals.pyx).
"""
import sys

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.unistd cimport close
from posix.uio cimport iovec

from halfsync.engine.engine cimport (
    Connection, END_CUTS, END_LINGERS, END_STAYS, Request, engine_announce, engine_is_closing_keepalives,
    engine_is_handing_off, engine_log, engine_release, engine_return,
)
from halfsync.engine.lease cimport lease_acquire, lease_begin, lease_end, lease_is_revoked, lease_release
from halfsync.engine.ownership cimport owner_take
from halfsync.engine.phases cimport REQUEST_DONE, REQUEST_NOTIFY, REQUEST_SENDING
from halfsync.engine.transitions cimport change_request_phase
from halfsync.exchange.bridging cimport Origin, Sink, TURN_COMPLETE, TURN_CUT, TURN_RESET
from halfsync.exchange.exchange cimport Exchange, exchange_has_more, pool_put
from halfsync.exchange.interim cimport send_continue
from halfsync.exchange.outbox cimport (
    OUTBOX_COMPLETE, OUTBOX_CUT, OUTBOX_RESET, Outbox, PIECE_BYTES, outbox_append, outbox_append_file, outbox_finish,
    outbox_is_gone, outbox_open, outbox_release, outbox_wait,
)
from halfsync.exchange.persistence cimport may_stay
from halfsync.http.trust cimport ADDRESS_BYTES
from halfsync.native.sync cimport load_uint, monotonic_ns, sem_post, sem_wait
from halfsync.pool.request_queue cimport queue_count_in, queue_count_out
from halfsync.shared.command cimport COMMAND_STOP
from halfsync.transport.transport cimport (
    PEER_ENDED, PEER_GONE, is_want, pass_sent, transport_abort, transport_cut, transport_finish, transport_send,
)

from halfsync.log import logger, warn
from halfsync.native.system import Mutex
from halfsync.runtime.threads import Thread

LOGGING_S = 5.0  # longest time for a log handler of the application to write a line, at the end

cdef extern from *:
    """
    static __thread void *hs_own_lease;  /* of the calling worker thread; NULL: it has none yet */
    static inline void *hs_get_lease(void) { return hs_own_lease; }
    static inline void hs_set_lease(void *lease) { hs_own_lease = lease; }
    """
    void *get_lease "hs_get_lease" () nogil
    void set_lease "hs_set_lease" (void *lease) nogil

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()

# The path of one response to its client. It lives on the worker's stack, for one turn.
ctypedef struct ProactorSink:
    Sink sink                 # first: the bridge sees only this
    Engine *engine
    Request *request          # NULL once it has gone back to the engine
    Outbox *outbox            # set from then on
    bint gone
    bint probed               # the client was probed, or a part of the response was sent
    Lease *lease              # NULL: the worker has the connection without a limit
    uint8_t address[ADDRESS_BYTES]  # of the peer: another may have the connection by the time it is logged
    uint8_t address_length


cdef bint acquire_lease(ProactorSink *self) noexcept nogil:
    """Hold the connection, to touch it. Returns False if the engine has taken it: the turn passed its deadline."""
    if self.lease == NULL or lease_acquire(self.lease):
        return True
    self.request = NULL
    self.gone = True
    return False


cdef void release_lease(ProactorSink *self) noexcept nogil:
    """Let the engine take the connection if the turn passes its deadline."""
    if self.lease != NULL:
        lease_release(self.lease)


cdef int send_direct(ProactorSink *self, iovec *vectors, int count) noexcept nogil:
    """Send what the socket takes at once, and advance the vectors. Returns 1: bytes are left; 0: none; -1: gone."""
    cdef ssize_t sent = transport_send(&self.request.connection.transport, vectors, count, False)
    if sent < 0 and not is_want(sent):
        return -1
    return pass_sent(vectors, count, max(sent, <ssize_t> 0))


cdef int switch_to_outbox(ProactorSink *self) noexcept nogil:
    """Give the request back to the engine with an outbox for the rest of the response. Returns 0, or -1."""
    cdef Request *request = self.request
    if load_uint(&self.engine.command) == COMMAND_STOP:
        return -1  # the engine has ended or will: the rest would not be sent, and no room made
    self.outbox = outbox_open(self.engine, self.engine.spool_memory, self.engine.store)
    if self.outbox == NULL:
        return -1
    if self.lease != NULL:
        self.outbox.begun_ns = &self.lease.taken_ns
    self.sink.waits = True
    self.request = NULL
    self.outbox.request = request
    request.exchange = NULL  # stays with the worker until the response has ended
    request.outbox = self.outbox
    change_request_phase(request, REQUEST_SENDING)
    engine_return(self.engine, request)
    return 0


cdef int append(ProactorSink *self, const char *data, int64_t length) noexcept nogil:
    """Append to the outbox, and announce each piece before the next one may wait. Returns 0, or -1: gone."""
    cdef int64_t piece
    cdef int result
    while length > 0:
        piece = min(length, <int64_t> PIECE_BYTES)
        result = outbox_append(self.outbox, data, piece, not self.sink.gil_held)
        if result < 0:
            self.gone = True
            return -1
        if result > 0:
            engine_announce(self.engine, self.outbox)
        data += piece
        length -= piece
    return 0


cdef int sink_send(Sink *sink, iovec *vectors, int count) noexcept nogil:
    """Send, or switch to an outbox and append, without getting too far ahead of the client.

    Returns 0, or -1: the client is gone.
    """
    cdef ProactorSink *self = <ProactorSink *> sink
    cdef int64_t length = 0
    cdef int position, result
    if self.gone:
        return -1
    if self.request != NULL:
        if not acquire_lease(self):
            return -1
        self.probed = True
        if self.lease != NULL:
            self.lease.response_begun = True
        result = send_direct(self, vectors, count)
        if result > 0 and switch_to_outbox(self) < 0:
            result = -1
        release_lease(self)
        if result <= 0:
            self.gone = result < 0
            return result
    elif self.engine.response_ahead > 0 and not sink.whole:
        for position in range(count):
            length += vectors[position].iov_len
        if outbox_wait(self.outbox, length, self.engine.response_ahead) < 0:
            self.gone = True
            return -1
    for position in range(count):
        if append(self, <const char *> vectors[position].iov_base, vectors[position].iov_len) < 0:
            return -1
    return 0


cdef int sink_send_file(
    Sink *sink, const char *head, int64_t head_length, int fd, int64_t offset, int64_t length
) noexcept nogil:
    """Switch to an outbox, and let the engine send the head and the file. Returns 0, or -1: the client is gone."""
    cdef ProactorSink *self = <ProactorSink *> sink
    cdef int result
    if self.gone or not acquire_lease(self):
        close(fd)
        return -1
    result = switch_to_outbox(self)
    release_lease(self)
    if result < 0:
        close(fd)
        self.gone = True
        return -1
    result = append(self, head, head_length)
    if result < 0 or length == 0:
        close(fd)
        return result
    result = outbox_append_file(self.outbox, fd, offset, length)
    if result > 0:
        engine_announce(self.engine, self.outbox)
    self.gone = result < 0
    return -1 if self.gone else 0


cdef bint sink_is_disconnected(Sink *sink) noexcept nogil:
    """Return whether the client is gone.

    A client that sends no more may have left, or may still read. So it is probed once, as the engine does while a
    request is queued (see `probe_client` in engine/connection_events.pyx): if it has left, its system answers with a
    reset, after a moment.
    """
    cdef ProactorSink *self = <ProactorSink *> sink
    cdef unsigned int peer
    if self.gone:
        return True
    if self.outbox != NULL:
        return outbox_is_gone(self.outbox)
    if not acquire_lease(self):
        return True
    peer = load_uint(&self.request.connection.peer)
    if peer == PEER_ENDED and not self.probed:
        self.probed = True
        send_continue(&self.request.connection.transport)
    release_lease(self)
    return peer == PEER_GONE


cdef void *end_turn(ProactorSink *self, Exchange *exchange, int end) noexcept nogil:
    """Give everything back to the engine, according to how the response ended.

    Returns the bridge's state if the connection has already ended: the caller must discard it. Otherwise NULL.
    """
    cdef Request *request = self.request
    cdef Connection *connection
    cdef Engine *engine = self.engine
    cdef int64_t now = monotonic_ns()
    cdef void *orphaned_state = NULL
    cdef int result
    if self.lease != NULL and not lease_end(self.lease) and self.outbox == NULL:  # the engine has ended all but this
        orphaned_state = exchange.app_state
        exchange.app_state = NULL
        pool_put(&engine.pool, exchange)
        return orphaned_state
    if request == NULL:
        result = OUTBOX_COMPLETE if end == TURN_COMPLETE else OUTBOX_RESET if end == TURN_RESET else OUTBOX_CUT
        result = outbox_finish(self.outbox, result, self.sink.stays, exchange)
        if result < 0:
            engine_log(engine, exchange, self.address, self.address_length, now)
            orphaned_state = exchange.app_state
            exchange.app_state = NULL
            pool_put(&engine.pool, exchange)
        elif result > 0:
            engine_announce(engine, self.outbox)
        outbox_release(self.outbox)
        return orphaned_state
    connection = request.connection
    request.app_state = exchange.app_state
    exchange.app_state = NULL
    if load_uint(&engine.command) == COMMAND_STOP:
        # The engine has ended, or will. The thread that closes the server may not wait so long: inform the client here.
        if end == TURN_RESET:
            transport_abort(&connection.transport)
        if end == TURN_COMPLETE:
            transport_finish(&connection.transport)
        else:
            transport_cut(&connection.transport, True)
        end = TURN_CUT
    request.since = now
    engine_log(engine, exchange, self.address, self.address_length, now)
    if end == TURN_COMPLETE and self.sink.stays:
        request.end = END_STAYS
        change_request_phase(request, REQUEST_DONE)
        if exchange_has_more(exchange) or engine_is_handing_off(engine):
            engine_return(engine, request)
            return NULL
        request.exchange = NULL
        pool_put(&engine.pool, exchange)
        engine_release(engine, request)
        return NULL
    if end != TURN_COMPLETE:
        if end == TURN_RESET:
            transport_abort(&connection.transport)
        else:
            transport_cut(&connection.transport, False)
        request.end = END_CUTS
    else:
        transport_finish(&connection.transport)  # so that the client sees the end without waiting for the engine
        request.end = END_LINGERS
    change_request_phase(request, REQUEST_DONE)
    engine_return(engine, request)
    return NULL


cdef class RequestWorkers(WorkerThreads):
    """The sync half: each thread takes a complete request from the queue and runs the application for it."""

    def __init__(self, int threads, *, queue_size, name, bint patient=False):
        super().__init__(threads, queue_size=queue_size, name=name, patient=patient)
        self.available = threads
        self.capacity_lock = Mutex()

    def __dealloc__(self):
        cdef Lease *lease
        while self.leases != NULL:
            lease = self.leases
            self.leases = lease.next
            free(lease)

    cdef int turn(self, QueueSlot *slot) except -1:
        cdef Request *request = <Request *> slot.item
        cdef Connection *connection = request.connection
        cdef Exchange *exchange = request.exchange
        cdef ProactorSink sink
        cdef Origin origin
        cdef Lease *lease = NULL
        cdef int64_t now = slot.taken_ns
        cdef int end = TURN_CUT
        cdef void *orphaned_state
        cdef bint limited = self.limit_s > 0 and exchange != NULL
        if limited:
            lease = self.lease_of_thread()
            request.lease = lease
        if lease != NULL:
            lease_begin(lease, now, exchange.data + exchange.head.method, exchange.head.target
                        + exchange.head.target_length - exchange.head.method)
            request.lease_serial = lease.serial
        owner_take(&request.owner)
        if request.phase == REQUEST_NOTIFY:
            self.bridge.discard_state(request.app_state)
            request.app_state = NULL
            engine_return(self.engine, request)
            return 0
        sink.sink.send = sink_send
        sink.sink.send_file = sink_send_file
        sink.sink.is_disconnected = sink_is_disconnected
        sink.sink.gate = NULL  # there are few workers
        sink.sink.waits = sink.sink.gil_held = sink.sink.whole = False
        sink.sink.stays = may_stay(
            exchange.head.keep_alive, self.engine.timeouts.keep_alive > 0, engine_is_closing_keepalives(self.engine),
            connection.requests, self.engine.requests_max)
        sink.engine = self.engine
        sink.request = request
        sink.outbox = NULL
        sink.lease = lease
        sink.probed = exchange.head.minor == 0  # HTTP/1.0 has no interim responses
        sink.gone = load_uint(&connection.peer) == PEER_GONE or load_uint(&self.engine.command) == COMMAND_STOP
        sink.address_length = connection.address_length
        memcpy(sink.address, connection.address, sizeof(sink.address))
        origin.address = sink.address
        origin.address_length = sink.address_length
        exchange.taken_ns = now
        origin.listener = connection.listener
        release_lease(&sink)
        if sink.gone:
            self.dropped += 1
            end_turn(&sink, exchange, TURN_CUT)
            return self.return_late(lease) if lease != NULL and lease_is_revoked(lease) else 0
        if limited and lease == NULL:
            warn("answering a request with 503: no memory for its request_timeout")
            end_turn(&sink, exchange, self.bridge.refuse(exchange, &sink.sink, 503))
            return 0
        try:
            end = self.bridge.run(exchange, &origin, &sink.sink, (now - slot.put_ns) * 1e-9)
        finally:
            orphaned_state = end_turn(&sink, exchange, end)
        if orphaned_state != NULL:
            self.bridge.discard_state(orphaned_state)
        if lease != NULL and lease_is_revoked(lease):
            return self.return_late(lease)
        return 0

    cdef Lease *lease_of_thread(self) noexcept:
        """Return the lease of the calling thread, a worker of this pool. NULL: memory is short."""
        cdef Lease *lease = <Lease *> get_lease()
        if lease != NULL:
            return lease
        lease = self.spare
        if lease != NULL:
            self.spare = lease.next_spare
        else:
            lease = <Lease *> calloc(1, sizeof(Lease))
            if lease == NULL:
                return NULL
            lease.next = self.leases
            self.leases = lease
        lease.thread = PyThread_get_thread_ident()
        set_lease(lease)
        return lease

    def start_monitor(self):
        """Start the thread that handles stuck threads and logs refusals. RuntimeError: the system refuses it."""
        if self.limit_s > 0 or self.refusals is not None:
            monitor_thread = Thread(self.run_monitor, "halfsync-monitor")
            monitor_thread.start()
            self.monitor_thread = monitor_thread

    def stop_monitor(self):
        """End the monitor. Returns False if it is still in the application's logging after LOGGING_S."""
        self.closing = True
        if self.monitor_thread is not None:
            sem_post(&self.engine.monitor_wakeup)
            while not self.monitor_thread.join(LOGGING_S):
                if self.monitoring:
                    return False
            self.monitor_thread = None
        return True

    def run_monitor(self):
        """Replace and log each thread whose turn the engine has ended, and log each refusal, as it happens."""
        cdef Lease *lease
        while True:
            with nogil:
                while sem_wait(&self.engine.monitor_wakeup) != 0 and errno == EINTR:
                    pass
            if self.closing:
                return
            self.monitoring = True
            lease = self.leases
            while lease != NULL:
                if lease_is_revoked(lease) and not lease.reported:
                    try:
                        self.replace(lease)
                    except BaseException as error:  # noqa: BLE001 - the monitor must survive, for the next stuck thread
                        warn("a stuck thread could not be replaced or logged: %s", type(error).__name__)
                lease = lease.next
            if self.refusals is not None:
                self.refusals.log_notes()
            self.monitoring = False

    cdef int count_stuck(self, int change) except -1:
        """Count a thread that is stuck (1) or has returned (-1). The caller holds `capacity_lock`."""
        self.stuck += change
        if self.scoreboard_slot is not None:
            self.scoreboard_slot.stuck = self.stuck
        return 0

    cdef int count_missing(self):
        """Return how many threads are missing, of those that max_stuck allows. The caller holds `capacity_lock`.

        It counts threads, and does not record which thread replaces which stuck one. So the order in which threads
        become stuck, are replaced and return does not matter.
        """
        return self.size - max(0, self.stuck - self.max_stuck) - self.available

    cdef str name_of(self, unsigned long thread):
        """Return the name of the thread with this identifier."""
        return next((one.name for one in self._threads if one.ident == thread), "a thread")

    cdef int replace(self, Lease *lease) except -1:
        """Count out a newly stuck thread, log its stack, and start another thread if one is missing."""
        where = self.name_of(lease.thread), stack_of(lease.thread)
        with self.capacity_lock:
            if lease.reported or not lease_is_revoked(lease):
                return 0
            lease.reported = True
            queue_count_out(&self.queue)
            self.count_stuck(1)
            self.available -= 1
            request = lease.text[:lease.text_length]
            fate = "another thread takes its place"
            if self.count_missing() <= 0:
                fate = f"no thread takes its place, since max_stuck is {self.max_stuck}"
            else:
                try:
                    self.drop_ended()
                    self.add_thread()
                    self.available += 1
                except Exception as error:  # noqa: BLE001 - it must be counted and logged in any case
                    fate = f"no thread takes its place: {error or type(error).__name__}"
        report_stuck(request, self.limit_s, where, fate)
        return 0

    cdef int return_late(self, Lease *lease) except -1:
        """Return from a turn that the engine has ended. Returns 1 if this thread must end: there are enough others.
        """
        with self.capacity_lock:
            if lease.reported:
                self.count_stuck(-1)
                if self.count_missing() > 0:
                    self.available += 1
                    queue_count_in(&self.queue)
                    return 0
                lease.next_spare = self.spare
                self.spare = lease
                set_lease(NULL)
                return 1
            lease.reported = True  # before the monitor does: there is nothing to replace
            request = lease.text[:lease.text_length]
        report_stuck(request, self.limit_s, (self.name_of(lease.thread), ""), "it returned before its stack was read")
        return 0


cdef str stack_of(unsigned long thread):
    """Return the stack of a thread as lines; "": it has none, or memory is short."""
    try:
        import traceback  # noqa: PLC0415 - needed only in trouble

        frame = sys._current_frames().get(thread)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""
    except BaseException:  # noqa: BLE001 - the thread is replaced in any case
        return ""


cdef report_stuck(bytes request, double limit_s, tuple where, str fate):
    """Log that a request passed its deadline. where: name and stack of its thread. fate: what becomes of the thread."""
    name, stack = where
    logger().error(
        "%s took longer than request_timeout, %g s, in %s: %s%s",
        request.decode("latin-1"), limit_s, name, fate, f"; it is here:\n{stack.rstrip()}" if stack else "",
    )
