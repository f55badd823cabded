"""The half-sync/half-reactive model: the engine owns every socket, worker threads run the application.

A worker is given a connection with a complete request on it. It owns that connection until it gives it back. It sends
what the socket takes at once; with the first byte that the socket does not take, the connection goes back to the engine
with an outbox, and from then on the worker fills the outbox and touches the connection no more.
"""
import os
from time import monotonic

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.unistd cimport close
from posix.uio cimport iovec

from halfsync.bridging cimport Origin, Sink, TURN_COMPLETE, TURN_CUT, TURN_RESET
from halfsync.engine.engine cimport (
    Connection,
    ADDRESS_BYTES, COMMAND_DRAIN, COMMAND_STOP, OWNER_EVENT, OWNER_QUEUE, OWNER_WORKER, PEER_GONE, PHASE_IDLE,
    PHASE_LINGER, PHASE_PARTED, PHASE_SENDING, engine_announce, engine_is_draining, engine_log, engine_release,
    engine_return,
)
from halfsync.engine.connections cimport connection_free
from halfsync.engine.loop cimport (
    engine_close, engine_command, engine_join, engine_listen, engine_open, engine_parted, engine_start, engine_sweep,
    engine_unlisten,
)
from halfsync.engine.poller cimport reset_on_close
from halfsync.exchange cimport Exchange, exchange_has_more, pool_put
from halfsync.http.trust cimport TrustedPeers
from halfsync.models.bounds cimport bounds_limits, bounds_proxies, bounds_store, bounds_timeouts
from halfsync.native.checks cimport check
from halfsync.native.sync cimport add_uint, load_llong, load_uint, monotonic_ns, store_uint
from halfsync.observe.access cimport AccessLog
from halfsync.outbox cimport (
    OUTBOX_COMPLETE, OUTBOX_CUT, OUTBOX_RESET, Outbox, PIECE_BYTES, outbox_append, outbox_append_file, outbox_finish,
    outbox_open, outbox_release,
)
from halfsync.request_queue cimport queue_length
from halfsync.wsgi.body cimport BodyBlocks

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    const int MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_RDWR, SHUT_WR
    ssize_t send(int fd, const void *data, size_t length, int flags)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    int shutdown(int fd, int how)

SWEEP_S = 0.05

# The way of one response out. It lives on the worker's stack, for one turn.
ctypedef struct ProactorSink:
    Sink sink                 # first: the bridge sees only this
    Engine *engine
    Connection *connection    # NULL once it has gone back to the engine
    Outbox *outbox            # from then on
    bint gone
    uint8_t address[ADDRESS_BYTES]  # of the peer: the connection may be another's by the time it is logged
    uint8_t address_length


cdef int send_direct(ProactorSink *self, iovec *vectors, int count) noexcept nogil:
    """Send what the socket takes at once, and move the vectors past it. Returns the bytes left, or -1: gone."""
    cdef msghdr message
    cdef int64_t left = 0
    cdef ssize_t sent
    cdef int position
    memset(&message, 0, sizeof(message))
    message.msg_iov = vectors
    message.msg_iovlen = count
    while True:
        if count == 1:
            sent = send(self.connection.handle.fd, vectors.iov_base, vectors.iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
        else:
            sent = sendmsg(self.connection.handle.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent >= 0 or errno != EINTR:
            break
    if sent < 0:
        if errno != EAGAIN:
            return -1
        sent = 0
    for position in range(count):
        if <size_t> sent >= vectors[position].iov_len:
            sent -= vectors[position].iov_len
            vectors[position].iov_len = 0
        else:
            vectors[position].iov_base = <char *> vectors[position].iov_base + sent
            vectors[position].iov_len -= sent
            sent = 0
            left += vectors[position].iov_len
    return 1 if left > 0 else 0


cdef int hand_over(ProactorSink *self) noexcept nogil:
    """Give the connection back to the engine with an outbox for the rest of the response. Returns 0, or -1."""
    cdef Connection *connection = self.connection
    if load_uint(&self.engine.command) == COMMAND_STOP:
        return -1  # it has ended, or is about to: nobody would send the rest or make room
    self.outbox = outbox_open(self.engine, self.engine.spool_memory, self.engine.store)
    if self.outbox == NULL:
        return -1
    self.sink.waits = True
    self.connection = NULL
    self.outbox.connection = connection
    connection.exchange = NULL  # stays with the worker until the response has ended
    connection.outbox = self.outbox
    connection.phase = PHASE_SENDING
    engine_return(self.engine, connection)
    return 0


cdef int append(ProactorSink *self, const char *data, int64_t length) noexcept nogil:
    """Append to the outbox, and tell the engine of each piece before the next one may wait. Returns 0, or -1: gone."""
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
    """Send, or hand over and append. Returns 0, or -1: the client is gone."""
    cdef ProactorSink *self = <ProactorSink *> sink
    cdef int position, result
    if self.gone:
        return -1
    if self.connection != NULL:
        result = send_direct(self, vectors, count)
        if result == 0:
            return 0
        if result < 0 or hand_over(self) < 0:
            self.gone = True
            return -1
    for position in range(count):
        if append(self, <const char *> vectors[position].iov_base, vectors[position].iov_len) < 0:
            return -1
    return 0


cdef int sink_send_file(
    Sink *sink, const char *head, int64_t head_length, int fd, int64_t offset, int64_t length
) noexcept nogil:
    """Hand over, and let the engine send the head and the file. Returns 0, or -1: the client is gone."""
    cdef ProactorSink *self = <ProactorSink *> sink
    cdef int result
    if self.gone or hand_over(self) < 0:
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


cdef void *end_turn(ProactorSink *self, Exchange *exchange, int end) noexcept nogil:
    """Give everything back to the engine, as the response ended.

    Returns what the bridge kept if the connection has ended meanwhile, which the bridge must be told of; else NULL.
    """
    cdef Connection *connection = self.connection
    cdef Engine *engine = self.engine
    cdef int64_t now = monotonic_ns()
    cdef void *parted = NULL
    cdef int result
    if connection == NULL:
        result = OUTBOX_COMPLETE if end == TURN_COMPLETE else OUTBOX_RESET if end == TURN_RESET else OUTBOX_CUT
        result = outbox_finish(self.outbox, result, self.sink.stays, exchange)
        if result < 0:
            engine_log(engine, exchange, self.address, self.address_length, now)
            parted = exchange.kept
            exchange.kept = NULL
            pool_put(&engine.pool, exchange)
        elif result > 0:
            engine_announce(engine, self.outbox)
        outbox_release(self.outbox)
        return parted
    connection.kept = exchange.kept
    exchange.kept = NULL
    if load_uint(&engine.command) == COMMAND_STOP:
        # The engine has ended, or is about to. Whoever closes the server may not wait so long: tell the client here.
        if end == TURN_RESET:
            reset_on_close(connection.handle.fd)
        shutdown(connection.handle.fd, SHUT_WR if end == TURN_COMPLETE else SHUT_RDWR)
        end = TURN_CUT
    connection.requests += 1
    connection.since = now
    engine_log(engine, exchange, self.address, self.address_length, now)
    if end == TURN_COMPLETE and self.sink.stays:
        connection.phase = PHASE_IDLE
        if exchange_has_more(exchange):
            engine_return(engine, connection)
            return NULL
        connection.exchange = NULL
        pool_put(&engine.pool, exchange)
        engine_release(engine, connection)
        return NULL
    if end != TURN_COMPLETE:
        if end == TURN_RESET:
            reset_on_close(connection.handle.fd)
        else:
            shutdown(connection.handle.fd, SHUT_WR)
        store_uint(&connection.peer, PEER_GONE)  # the engine closes at once
    else:
        shutdown(connection.handle.fd, SHUT_WR)  # the client sees the end without waiting for the engine
    connection.phase = PHASE_LINGER
    engine_return(engine, connection)
    return NULL


cdef class RequestWorkers(WorkerThreads):
    """The sync half: each thread takes a complete request from the queue and runs the application for it."""

    cdef int turn(self, QueueSlot *slot) except -1:
        cdef Connection *connection = <Connection *> slot.item
        cdef Exchange *exchange = connection.exchange
        cdef ProactorSink sink
        cdef Origin origin
        cdef int64_t now = slot.taken_ns
        cdef int end = TURN_CUT
        cdef unsigned int owner = add_uint(&connection.owner, OWNER_WORKER - OWNER_QUEUE)
        cdef void *parted
        check(owner & ~OWNER_EVENT == OWNER_QUEUE, "a worker takes a connection that was not in the queue")
        if connection.phase == PHASE_PARTED:
            self.bridge.forget(connection.kept)
            connection.kept = NULL
            engine_return(self.engine, connection)
            return 0
        sink.sink.send = sink_send
        sink.sink.send_file = sink_send_file
        sink.sink.waits = sink.sink.gil_held = False
        sink.sink.stays = exchange.head.keep_alive and self.keep_alive and not engine_is_draining(self.engine)
        sink.engine = self.engine
        sink.connection = connection
        sink.outbox = NULL
        sink.gone = load_uint(&connection.peer) == PEER_GONE or load_uint(&self.engine.command) == COMMAND_STOP
        sink.address_length = connection.address_length
        memcpy(sink.address, connection.address, sizeof(sink.address))
        origin.address = sink.address
        origin.address_length = sink.address_length
        exchange.taken_ns = now
        origin.listener = connection.listener
        if sink.gone:
            self.dropped += 1
            end_turn(&sink, exchange, TURN_CUT)
            return 0
        try:
            end = self.bridge.run(exchange, &origin, &sink.sink, (now - slot.put_ns) * 1e-9)
        finally:
            parted = end_turn(&sink, exchange, end)
        if parted != NULL:
            self.bridge.forget(parted)
        return 0


cdef class Proactor:
    """One engine and its workers. The server owns it; its methods are called by one thread at a time."""

    def __cinit__(self, *_args, **_kwargs):
        self.read_fd = -1
        self.engine = <Engine *> calloc(1, sizeof(Engine))
        self.store = <Store *> calloc(1, sizeof(Store))
        if self.engine == NULL or self.store == NULL:
            raise MemoryError

    def __init__(self, Bridge bridge, listeners, settings, unsigned int open_max, AccessLog access_log=None):
        """Prepare. listeners: descriptors of listening, non-blocking sockets. open_max: connections at one time."""
        cdef Engine *engine = self.engine
        cdef BodyBlocks blocks = BodyBlocks()
        cdef TrustedPeers proxies = bounds_proxies(settings)
        cdef int result
        self.kept = (access_log, blocks, proxies)
        self.workers = RequestWorkers(
            settings.threads, queue_size=settings.queue_size, name="halfsync-worker", attended=True)
        self.workers.engine = engine
        self.workers.bridge = bridge
        self.workers.kept = self.kept
        self.workers.keep_alive = settings.keep_alive > 0
        engine.queue = &self.workers.queue
        if access_log is not None:
            engine.access = &access_log.log
        bounds_store(self.store, settings)
        engine.store = self.store
        bounds_limits(&engine.limits, settings, self.store, bridge.raw)
        bounds_timeouts(&engine.timeouts, settings)
        engine.limits.blocks = &blocks.pool
        engine.proxies = &proxies.trust if proxies is not None else NULL
        engine.spool_memory = settings.spool_memory
        engine.open_max = open_max
        engine.server_header = settings.server_header
        result = engine_open(engine, settings.poller == "poll")
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        for fd in listeners:
            result = engine_listen(engine, fd)
            if result < 0:
                raise OSError(-result, os.strerror(-result))

    def __dealloc__(self):
        if self.engine != NULL and (self.joined or not self.started):
            if self.engine.scratch != NULL:
                engine_close(self.engine)
            free(self.engine)
            free(self.store)
        # else workers may still use it: it is left to the end of the process

    def start(self):
        """Start the workers and then the engine. Once only, even when it fails."""
        cdef int result
        self.read_fd, self.engine.done_fd = os.pipe()
        self.workers.bridge.settle()
        try:
            self.workers.start()
            result = engine_start(self.engine)
            if result < 0:
                self.workers.close()
                raise OSError(-result, os.strerror(-result))
        except BaseException:
            os.close(self.read_fd)
            os.close(self.engine.done_fd)
            self.read_fd = self.engine.done_fd = -1
            raise
        self.started = True

    def start_in_front(self, unwanted):
        """Start: nothing is done in the main thread."""
        self.start()

    @property
    def watched(self):
        """Nothing: see start_in_front."""
        return []

    def timeout(self):
        """Return None: see start_in_front."""
        return None

    def turn(self):
        """Do nothing: see start_in_front."""

    @property
    def done_fd(self):
        """A descriptor that becomes readable when the engine has ended."""
        return self.read_fd

    def drain(self):
        """Accept no more, and let the engine end once everything that was received is answered."""
        engine_command(self.engine, COMMAND_DRAIN)

    def stop(self):
        """Let the engine end now."""
        engine_command(self.engine, COMMAND_STOP)

    def close(self, timeout):
        """Stop, and end all threads. Returns False when workers are still in the application after `timeout` s."""
        if not self.started:
            engine_unlisten(self.engine)
            return True
        if self.joined:
            return True
        self.stop()
        if self.read_fd >= 0:
            with nogil:
                engine_join(self.engine)
            os.close(self.read_fd)
            self.read_fd = -1
        deadline = monotonic() + timeout
        while not self.joined:
            self.joined = self.workers.close(min(SWEEP_S, max(0.0, deadline - monotonic())))
            engine_sweep(self.engine)  # a worker may wait for room to be made by an engine that has ended
            if monotonic() >= deadline or self.workers.only_caller_left():
                break
        if self.joined:
            self._tell_parted()
        return self.joined

    def _tell_parted(self):
        """Tell the bridge of connections that ended when no worker was left to do it."""
        cdef uint32_t index = 0
        cdef Connection *connection
        while True:
            connection = engine_parted(self.engine, &index)
            if connection == NULL:
                return
            if connection.kept != NULL:
                self.workers.bridge.forget(connection.kept)
                connection.kept = NULL
            connection_free(self.engine, connection)

    def statistics(self):
        """Return counts so far, as a dict."""
        cdef dict counters = self.engine.counters
        counters["dropped"] = self.workers.dropped
        counters["queued"] = queue_length(self.engine.queue)
        counters["running"] = load_uint(&self.workers.running)
        counters["open"] = self.engine.open
        counters["spooled"] = load_llong(&self.store.used)
        return counters
