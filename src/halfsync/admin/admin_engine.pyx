"""Answer questions about the server itself, for orchestrators, monitoring and people: on `admin_bind` only.

A separate engine answers. It has one thread that never takes the GIL, listens on `admin_bind` only, and answers from
memory that all processes share. So it answers in every model, whatever the application does, and nothing of it is on
the public port. `paths.pyx` has what it answers.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memmove

from halfsync.admin.answer cimport AdminAnswer
from halfsync.admin.paths cimport answer_path
from halfsync.admin.status cimport write_event
from halfsync.engine.draining cimport engine_command
from halfsync.engine.engine cimport SCRATCH_BYTES
from halfsync.engine.listening cimport engine_listen
from halfsync.engine.loop cimport engine_close, engine_join, engine_open, engine_start
from halfsync.exchange.exchange cimport Exchange, exchange_is_head
from halfsync.exchange.native_handler cimport NativeHandler, NativeResponse
from halfsync.exchange.native_settings cimport native_limits, native_store, native_timeouts
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.http.response_head cimport (
    begin_head, end_head, server_fields_init, write_content_length, write_content_type, write_crlf, write_text,
)
from halfsync.native.failures cimport checked
from halfsync.native.forks cimport forks, is_forked
from halfsync.shared.command cimport COMMAND_DRAIN, COMMAND_STOP
from halfsync.shared.scoreboard cimport Scoreboard
from halfsync.wsgi.body_blocks cimport BodyBlocks

from halfsync.admin.page import load_page
from halfsync.native.system import readable
from halfsync.runtime.originals import os

cdef enum:
    OPEN_MOST = 64  # connections at once; past it the oldest is closed, whatever it does (engine/eviction.pyx)
    REQUESTS_MOST = 16  # on one connection: it cannot be closed while it has more requests to answer
    HEAD_BYTES = 1024  # more than any head here has

LAST_S = 0.1  # at the end

cdef int64_t LONGEST = 2000000000  # ns; no phase of a connection may last longer


cdef bint respond(
    const NativeHandler *native_handler, Exchange *exchange, bint stays, char *buffer, NativeResponse *response
) noexcept nogil:
    """Answer every request, since there is no application here. See NativeHandler. buffer: the engine's scratch."""
    cdef const AdminHandler *handler = <const AdminHandler *> native_handler
    cdef AdminAnswer answer
    cdef char *at
    answer.content_type = b"text/plain; charset=utf-8"
    answer.room = buffer + HEAD_BYTES
    answer.room_bytes = SCRATCH_BYTES - HEAD_BYTES
    answer.policy = NULL
    answer.goes_on = False
    answer_path(&handler.view, exchange, &answer)
    at = begin_head(buffer, &handler.fields, answer.status)
    at = write_text(at, b"Cache-Control: no-store\r\n")
    if answer.status == 405:
        at = write_text(at, b"Allow: GET, HEAD\r\n")
    at = write_content_type(at, answer.content_type)
    at = write_text(at, b"X-Content-Type-Options: nosniff\r\n")
    if answer.policy != NULL:
        at = write_crlf(write_text(write_text(at, b"Content-Security-Policy: "), answer.policy))
    response.goes_on = answer.goes_on and not exchange_is_head(exchange)
    if not answer.goes_on:
        at = write_content_length(at, answer.length)
    at = end_head(at, &handler.fields, stays and not response.goes_on)
    exchange.status = answer.status
    exchange.sent = 0 if exchange_is_head(exchange) else answer.length
    memmove(at, answer.body, exchange.sent)
    response.ready = at - buffer + exchange.sent
    response.fd = -1
    response.offset = response.length = 0
    return True


cdef int64_t go_on(const NativeHandler *native_handler, char *buffer, int64_t room) noexcept nogil:
    """Write the next event of all streams. See NativeHandler."""
    return write_event(&(<const AdminHandler *> native_handler).view, buffer, room)


cdef void shorten(Timeouts *timeouts) noexcept:
    """Limit each phase to LONGEST: a request arrives in one piece, and its answer is short."""
    timeouts.first_byte = min(timeouts.first_byte, LONGEST)
    timeouts.head = min(timeouts.head, LONGEST)
    timeouts.body = min(timeouts.body, LONGEST)
    timeouts.write = min(timeouts.write, LONGEST)
    timeouts.keep_alive = min(timeouts.keep_alive, LONGEST)


cdef class AdminEngine:
    """The engine that answers on `admin_bind`. Its owner starts it once, and closes it."""

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
        cdef bytes page, policy
        page, policy = load_page()
        self.pinned = (scoreboard, blocks, page, policy)
        self.handler.native_handler.answer = respond
        scoreboard.measure()  # for processes forked from now on, if none is measured yet
        self.handler.native_handler.feed = go_on
        self.handler.view.page, self.handler.view.page_length = page, len(page)
        self.handler.view.page_policy = policy
        self.handler.view.activity = scoreboard.activity.table
        self.handler.view.scoreboard = scoreboard.record
        self.handler.view.metrics = scoreboard.metrics
        self.handler.view.max_stuck = settings.max_stuck
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
        checked(engine_open(engine, settings.poller == "poll"))
        for fd in listeners:
            checked(engine_listen(engine, fd))

    def start(self):
        """Start the engine. Raises OSError."""
        self.read_fd, self.engine.done_fd = os.pipe()
        checked(engine_start(self.engine))
        self.started = True
        self.forks = forks[0]

    @property
    def descriptors(self):
        """The open listening sockets. A forked child reads them too, to close them."""
        cdef int position
        fds = [self.engine.listeners[position].handle.transport.fd for position in range(self.engine.listeners_count)]
        return [fd for fd in fds if fd >= 0]

    def stop_listening(self):
        """Answer the connections that wait, and accept no more."""
        if self.started:
            engine_command(self.engine, COMMAND_DRAIN)

    def close(self):
        """Stop the engine. Clients that have connected get LAST_S to send their request, and the answer."""
        if not self.started or is_forked(self.forks):  # in a forked process the engine does not run
            return
        self.started = False
        engine_command(self.engine, COMMAND_DRAIN)
        readable([self.read_fd], LAST_S)
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
