"""Answer an orchestrator's probes: whether the server is alive, and whether it is ready for requests.

A separate engine answers. It has one thread that never takes the GIL, listens on `admin_bind` only, and answers from
the scoreboard. So it answers in every model, whatever the application does, and nothing of it is on the public port.

GET /livez is 200 as long as this engine runs. GET /readyz is 200 while a process serves and the server is not about to
end, else 503. A process with more stuck threads than `max_stuck` does not count.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, strlen

from halfsync.engine.draining cimport engine_command
from halfsync.engine.listening cimport engine_listen
from halfsync.engine.loop cimport engine_close, engine_join, engine_open, engine_start
from halfsync.exchange.exchange cimport Exchange, exchange_is_get, exchange_is_head
from halfsync.exchange.native_handler cimport NativeHandler, NativeResponse
from halfsync.exchange.native_settings cimport native_limits, native_store, native_timeouts
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.http.response_head cimport begin_head, end_with_text, server_fields_init, write_text
from halfsync.native.forks cimport forks, is_forked
from halfsync.native.sync cimport load_uint
from halfsync.shared.command cimport COMMAND_DRAIN, COMMAND_STOP
from halfsync.shared.scoreboard cimport Scoreboard
from halfsync.shared.slots cimport scoreboard_serving
from halfsync.wsgi.body_blocks cimport BodyBlocks

from halfsync.runtime.originals import os

cdef enum:
    OPEN_MOST = 64  # connections at once; past it the oldest is closed, whatever it does (engine/eviction.pyx)
    REQUESTS_MOST = 16  # on one connection: it cannot be closed while it has more requests to answer

cdef int64_t LONGEST = 2000000000  # ns; no phase of a connection may last longer


cdef bint is_path(const Exchange *exchange, const char *path, uint32_t length) noexcept nogil:
    return exchange.head.path_length == length and memcmp(exchange.data + exchange.head.path, path, length) == 0


cdef int probe_status(const ProbeHandler *handler, const Exchange *exchange, const char **text) noexcept nogil:
    """Return the status of the answer, and its text."""
    if not exchange_is_get(exchange) and not exchange_is_head(exchange):
        text[0] = b"use GET or HEAD\n"
        return 405
    if is_path(exchange, b"/livez", 6):
        text[0] = b"ok\n"
        return 200
    if not is_path(exchange, b"/readyz", 7):
        text[0] = b"the probes are /livez and /readyz\n"
        return 404
    if load_uint(&handler.scoreboard.shutting_down):
        text[0] = b"the server is shutting down\n"
        return 503
    if scoreboard_serving(handler.scoreboard, handler.max_stuck) == 0:
        text[0] = b"no process is serving\n"
        return 503
    text[0] = b"ok\n"
    return 200


cdef bint respond_to_probe(
    const NativeHandler *native_handler, Exchange *exchange, bint stays, char *buffer, NativeResponse *answer
) noexcept nogil:
    """Answer every request, since there is no application here. See NativeHandler."""
    cdef const ProbeHandler *handler = <const ProbeHandler *> native_handler
    cdef const char *text = NULL
    cdef int status = probe_status(handler, exchange, &text)
    cdef char *at = begin_head(buffer, &handler.fields, status)
    at = write_text(at, b"Cache-Control: no-store\r\n")
    if status == 405:
        at = write_text(at, b"Allow: GET, HEAD\r\n")
    at = end_with_text(
        at, &handler.fields, stays, exchange_is_head(exchange), text, strlen(text), &exchange.sent)
    exchange.status = status
    answer.ready = at - buffer
    answer.fd = -1
    answer.offset = answer.length = 0
    return True


cdef void shorten(Timeouts *timeouts) noexcept:
    """Limit each phase to LONGEST: a probe arrives in one piece, and its answer is short."""
    timeouts.first_byte = min(timeouts.first_byte, LONGEST)
    timeouts.head = min(timeouts.head, LONGEST)
    timeouts.body = min(timeouts.body, LONGEST)
    timeouts.write = min(timeouts.write, LONGEST)
    timeouts.keep_alive = min(timeouts.keep_alive, LONGEST)


cdef class Probes:
    """The engine that answers probes. Its owner starts it once, and closes it."""

    def __cinit__(self, *_args, **_kwargs):
        self.read_fd = -1
        self.engine = <Engine *> calloc(1, sizeof(Engine))
        self.store = <Store *> calloc(1, sizeof(Store))
        if self.engine == NULL or self.store == NULL:
            raise MemoryError

    def __init__(self, settings, listeners, Scoreboard scoreboard):
        """Prepare. listeners: descriptors of listening, non-blocking sockets. Raises OSError."""
        cdef Engine *engine = self.engine
        cdef BodyBlocks blocks = BodyBlocks()
        self.pinned = (scoreboard, blocks)
        self.handler.native_handler.answer = respond_to_probe
        self.handler.scoreboard = scoreboard.record
        self.handler.max_stuck = settings.max_stuck
        native_store(self.store, settings)
        native_limits(&engine.limits, settings, self.store, False)
        native_timeouts(&engine.timeouts, settings)
        shorten(&engine.timeouts)
        server_fields_init(&engine.fields, False, engine.timeouts.keep_alive * 1e-9)
        self.handler.fields = engine.fields
        engine.eviction.anything = True
        engine.limits.max_body = 0
        engine.limits.blocks = &blocks.pool
        engine.store = self.store
        engine.files = &self.handler.native_handler
        engine.open_max = OPEN_MOST
        engine.requests_max = REQUESTS_MOST
        self.check(engine_open(engine, settings.poller == "poll"))
        for fd in listeners:
            self.check(engine_listen(engine, fd))

    cdef int check(self, int result) except -1:
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return 0

    def start(self):
        """Start the engine. Raises OSError."""
        self.read_fd, self.engine.done_fd = os.pipe()
        self.check(engine_start(self.engine))
        self.started = True
        self.forks = forks[0]

    @property
    def descriptors(self):
        """The open listening sockets. A forked child reads them too, to close them."""
        cdef int position
        fds = [self.engine.listeners[position].handle.fd for position in range(self.engine.listeners_count)]
        return [fd for fd in fds if fd >= 0]

    def stop_listening(self):
        """Answer the connections that wait, and accept no more."""
        if self.started:
            engine_command(self.engine, COMMAND_DRAIN)

    def close(self):
        """Stop the engine."""
        if not self.started or is_forked(self.forks):  # in a forked process the engine does not run
            return
        self.started = False
        engine_command(self.engine, COMMAND_STOP)
        with nogil:
            engine_join(self.engine)
        os.close(self.read_fd)

    def __dealloc__(self):
        if self.started:
            self.close()
        if self.engine != NULL and not self.started:
            if self.engine.scratch != NULL:
                engine_close(self.engine)
            free(self.engine)
            free(self.store)
