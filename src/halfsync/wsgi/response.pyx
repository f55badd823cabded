"""A response under way: start_response, the head, the framing of the body, and its end (PEP 3333, RFC 9112).

It follows four rules. Nothing is sent before the first byte of body (or its end) is known, so that an earlier error
gives a clean 500. A later error cuts the connection; it never leaves a response that looks complete. No header is sent
before all of them are checked. Nothing is sent after the end of a response, even if the application calls write() or
start_response() in its close() or later.
"""
from libc.string cimport memcpy
from posix.unistd cimport close as close_fd

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from halfsync.exchange.bridging cimport TURN_COMPLETE, TURN_CUT, TURN_RESET, send_error, send_vectors
from halfsync.exchange.exchange cimport exchange_is_head, exchange_note_head
from halfsync.exchange.outcome cimport OUTCOME_ERROR, outcome_note
from halfsync.exchange.persistence cimport stays_after
from halfsync.exchange.reasons cimport REASON_APPLICATION
from halfsync.http.grammar cimport (
    CONNECTION_CLOSE, CONNECTION_KEEP_ALIVE, HEX_BYTES, connection_options, number_of, write_hex,
)
from halfsync.http.response_head cimport (
    FRAMING_CHUNKED, FRAMING_CLOSE, MEANS_CONNECTION, MEANS_CONTENT_LENGTH, MEANS_DATE, MEANS_KEEPING, MEANS_NOTHING,
    MEANS_SERVER, SERVER_LINES_BYTES, end_head, framing_of, has_no_body, meaning_of, write_bytes, write_content_length,
    write_crlf, write_date_line, write_server_line, write_text, write_version,
)
from halfsync.native.forks cimport exit_forked_copy
from halfsync.native.gate cimport gate_enter, gate_leave
from halfsync.wsgi.file_wrapper cimport copy_regular
from halfsync.wsgi.head_buffer cimport head_free, head_room
from halfsync.wsgi.start_response cimport plain_fields, plain_text, read_field, read_status

from halfsync.log import warn
from halfsync.wsgi.start_response import ApplicationError

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()

cdef enum:
    JOINED_BYTES = 64 * 1024  # a list of chunks up to this length in all is sent as one
    COPIED_BYTES = 2048  # a body up to this length is copied after its head

cdef str BODY = "each part of the response's body"
cdef object END = object()  # of an application's iterable


cdef Response response_for(Exchange *exchange, Sink *sink, const ServerFields *fields, unsigned int began):
    """Return the response to a complete request, which the calling thread will make."""
    cdef Response response = Response.__new__(Response)
    response.exchange = exchange
    response.sink = sink
    response.fields = fields
    response.began = began
    response.thread = PyThread_get_thread_ident()
    response.promised = -1
    return response


cdef class Response:
    """One response under way. The application calls `start_response` and `write`, until its turn ends.

    It may also call the object itself, as `halfsync.disconnected`, which returns whether the client is gone.
    """

    def start_response(self, status, headers, exc_info=None):
        """Begin the response, or replace one that is not sent yet (PEP 3333, "The start_response() Callable").

        Raises ApplicationError for what PEP 3333 or HTTP forbids; nothing of such a head is ever sent. It also raises
        it once the application has returned the whole response or has failed, for example in close().
        """
        # A subclass runs code of the application, which may call start_response or write. So this comes first.
        cdef str line = status if type(status) is str else plain_text(status, "the status")
        if type(headers) is not list or not self.start(line, <list> headers, exc_info):
            self.start(line, plain_fields(headers), exc_info)
        return self.write

    cdef bint start(self, str status, list headers, object exc_info) except -1:
        """Begin the response if it may begin. Return False if a header is not of the exact types."""
        self.check_open("start_response")
        if exc_info is not None:
            if self.head_sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.started:
            raise ApplicationError("start_response was called twice without exc_info")
        return self.begin(status, headers)

    def write(self, data):
        """Send a piece of the body at once. It may be sent without the GIL, so only the turn's thread may call it.

        Raises ApplicationError, and sends nothing, once the response has ended.
        """
        self.check_open("write")
        if self.thread != PyThread_get_thread_ident():
            raise ApplicationError("write must be called in the thread in which the application was called")
        if type(data) is not bytes:
            check_bytes(data, "what is given to write()")
        self.send_body(<bytes> data, -1)

    def __call__(self):
        """Return whether the client is gone, so that the rest of the turn is useless (`halfsync.disconnected`).

        Takes a microsecond or less, and never waits. If the client has shut down sending, a 100 Continue probes it: the
        first call may return False, and one a round trip later True. For the turn's own thread.
        """
        if self.exchange == NULL:
            raise ApplicationError("disconnected was called after the request had ended")
        if self.thread != PyThread_get_thread_ident():
            raise ApplicationError("disconnected must be called in the thread in which the application was called")
        exit_forked_copy(self.began)  # the next call may touch the socket
        return self.gone or self.sink.is_disconnected(self.sink)

    cdef int check_open(self, str call) except -1:
        """Raise ApplicationError if the response has ended, so that `call` sends nothing after it."""
        if self.ended or self.exchange == NULL:
            ended = "request" if self.exchange == NULL else "response"
            raise ApplicationError(f"{call} was called after the {ended} had ended")
        return 0

    cdef void close(self) noexcept:
        """End the turn: the application may keep this object, but can send nothing more with it."""
        head_free(&self.head)
        self.exchange = NULL
        self.sink = NULL

    # --- the head ---

    cdef bint begin(self, str status, list headers) except -1:
        """Check and render the status line and the fields. No code of the application runs.

        Return False, with nothing begun, if a header is not a tuple of two str, each of the exact type.
        """
        cdef FieldText field
        cdef const char *text = NULL
        cdef Py_ssize_t length = 0
        cdef char *at
        cdef int code
        self.started = self.chunked = self.has_date = self.has_server = False
        self.promised = -1
        self.head.length = 0
        code = read_status(status, &text, &length)
        at = head_room(&self.head, self.exchange, length + 12)
        at = write_bytes(write_version(at), text, length)
        if length == 3:
            at = write_text(at, b" ")
        self.head.length = write_crlf(at) - self.head.data
        for item in headers:
            if not read_field(item, &field):
                return False
            if self.note_field(&field, item, code):
                at = head_room(&self.head, self.exchange, field.name_length + field.value_length + 4)
                at = write_text(write_bytes(at, field.name, field.name_length), b": ")
                self.head.length = write_crlf(write_bytes(at, field.value, field.value_length)) - self.head.data
        self.exchange.status = code
        self.bodiless = has_no_body(code, exchange_is_head(self.exchange))
        self.started = True
        return True

    cdef bint note_field(self, const FieldText *field, object item, int code) except -1:
        """Note what a field means for the framing and the connection. Return whether it is sent.

        item: the header itself, for messages. Raises ApplicationError for one that an application must not set.
        """
        cdef int meaning = meaning_of(field.name, field.name_length)
        cdef int options
        if meaning == MEANS_NOTHING:
            return True
        if meaning == MEANS_CONTENT_LENGTH:
            if self.promised >= 0:
                raise ApplicationError("Content-Length is set twice")
            self.promised = number_of(field.value, field.value_length)
            if self.promised < 0:
                raise ApplicationError(f"not a valid Content-Length: {(<tuple> item)[1]!r}")
            return code != 204  # RFC 9110 8.6: must not be sent
        if meaning == MEANS_DATE:
            self.has_date = True
            return True
        if meaning == MEANS_SERVER:
            self.has_server = True
            return True
        if meaning == MEANS_KEEPING:
            return False
        if meaning == MEANS_CONNECTION:
            options = connection_options(field.value, field.value_length)
            if options & ~(CONNECTION_CLOSE | CONNECTION_KEEP_ALIVE) == 0:
                if options & CONNECTION_CLOSE:
                    self.closes = True
                return False
        name = (<tuple> item)[0]
        raise ApplicationError(f"an application must not set the hop-by-hop header {name!r} (PEP 3333)")

    cdef int finish_head(self, int64_t whole) except -1:
        """Choose the framing and render the rest of the head. whole: bytes of the whole body; -1: not known yet.

        The application's Content-Length counts; without one, the server sets it if the body is whole.
        """
        cdef char *at
        cdef int framing
        if not self.started:
            raise ApplicationError("the application sent a body before it called start_response")
        at = head_room(&self.head, self.exchange, SERVER_LINES_BYTES)
        if self.promised < 0 and whole >= 0 and not self.bodiless:
            self.promised = whole
            at = write_content_length(at, whole)
        framing = framing_of(self.bodiless, self.promised >= 0, self.exchange.head.minor)
        if framing == FRAMING_CHUNKED:
            self.chunked = True
            at = write_text(at, b"Transfer-Encoding: chunked\r\n")
        self.sink.stays = stays_after(self.sink.stays, self.closes, framing == FRAMING_CLOSE)
        if not self.has_date:
            at = write_date_line(at)
        if not self.has_server:
            at = write_server_line(at, self.fields)
        self.head.length = end_head(at, self.fields, self.sink.stays) - self.head.data
        exchange_note_head(self.exchange, self.head.data, self.head.length)
        self.head_sent = True
        return 0

    # --- the body ---

    cdef int answer(self, object result) except -1:
        """Send what the application returned."""
        if type(result) is list or type(result) is tuple:
            return self.answer_list(result)
        if type(result) is FileWrapper and self.answer_file(result):
            return 0
        if isinstance(result, (bytes, str)):
            raise ApplicationError(f"the response must be an iterable of bytes, not {type(result).__name__} itself")
        chunks = iter(result)
        while True:
            exit_forked_copy(self.began)
            chunk = next(chunks, END)
            exit_forked_copy(self.began)
            if chunk is END:
                break
            if type(chunk) is not bytes:
                check_bytes(chunk, BODY)
            if PyBytes_GET_SIZE(chunk) > 0:
                self.send_body(<bytes> chunk, -1)
            if self.gone or self.full:
                break
        return 0

    cdef int answer_list(self, object chunks) except -1:
        """Send a list or tuple of chunks: their length is known, and small ones are joined."""
        cdef int64_t total = 0
        self.sink.whole = True
        for chunk in chunks:
            if type(chunk) is not bytes:
                check_bytes(chunk, BODY)
            total += PyBytes_GET_SIZE(chunk)
        if self.head_sent:
            total = -1  # write() was called first
        elif len(chunks) > 1 and total <= JOINED_BYTES:
            return self.send_body(b"".join(chunks), total)
        for chunk in chunks:
            if type(chunk) is not bytes:  # another thread may have changed the list
                check_bytes(chunk, BODY)
            if PyBytes_GET_SIZE(chunk) > 0:
                self.send_body(<bytes> chunk, total)
            if self.gone or self.full:
                break
        return 0

    cdef int answer_file(self, FileWrapper wrapper) except -1:
        """Give a regular file to the sink, from its position to its end. Returns 0 if it must be iterated."""
        cdef int64_t size, offset, length, since
        cdef int fd, result
        place = wrapper.place()
        exit_forked_copy(self.began)
        # Checked after place(), which may run code of the application.
        if place is None or self.head_sent or not self.started or self.bodiless:
            return 0
        fd, offset = place
        fd = copy_regular(fd, offset, &size)
        if fd < 0:
            return 0
        length = size - offset
        if self.promised >= 0:
            length = min(length, self.promised)
        try:
            self.finish_head(length)
        except BaseException:
            close_fd(fd)
            raise
        self.sink.gil_held = False
        with nogil:
            result = self.sink.send_file(self.sink, self.head.data, self.head.length, fd, offset, length)
            since = gate_enter(self.sink.gate)
        gate_leave(self.sink.gate, since)
        self.sent = self.exchange.sent = length
        self.gone = result < 0
        return 1

    cdef int send_body(self, bytes data, int64_t whole) except -1:
        """Send a piece of the body, and the head before the first. whole: bytes of the whole body; -1: unknown.

        data: may be of a subclass, so use only the PyBytes functions on it.
        """
        cdef int64_t length = PyBytes_GET_SIZE(data)
        cdef bint first = not self.head_sent
        cdef bint too_much
        if self.gone or self.full:
            return 0
        if first:
            self.finish_head(whole)
        too_much = self.promised >= 0 and self.sent + length > self.promised and not self.bodiless
        if too_much:
            length = self.promised - self.sent
            self.full = True
        self.sent += length
        if self.bodiless:
            length = 0
        else:
            self.exchange.sent = self.sent
        self.send_piece(PyBytes_AS_STRING(data), length, first)
        if self.bodiless:
            self.full = True  # nothing more will be sent: do not iterate an endless body
        if too_much:  # logged last: a handler of the application may call write
            warn("the application sends more than its Content-Length of %d bytes: the rest is dropped", self.promised)
        return 0

    cdef int send_piece(self, const char *data, int64_t length, bint first) except -1:
        """Send bytes of the body, framed. first: send the head before them."""
        cdef iovec vectors[4]
        cdef int count = 0
        cdef char[HEX_BYTES + 2] line
        if first:
            if length <= COPIED_BYTES and not self.chunked:
                # a copy costs less than a second vector
                memcpy(head_room(&self.head, self.exchange, length), data, length)
                self.head.length += length
                length = 0
            vectors[0].iov_base = self.head.data
            vectors[0].iov_len = self.head.length
            count = 1
        if length > 0:
            if self.chunked:
                vectors[count].iov_base = line
                vectors[count].iov_len = write_crlf(write_hex(line, length)) - line
                vectors[count + 2].iov_base = <char *> b"\r\n"
                vectors[count + 2].iov_len = 2
                count += 1
            vectors[count].iov_base = <char *> data
            vectors[count].iov_len = length
            count += 2 if self.chunked else 1
        return self.transmit(vectors, count) if count > 0 else 0

    cdef int transmit(self, iovec *vectors, int count) except -1:
        """Give bytes to the sink."""
        cdef int64_t total = 0
        cdef int position
        exit_forked_copy(self.began)
        for position in range(count):
            total += vectors[position].iov_len
        self.gone = send_vectors(self.sink, vectors, count, total) < 0
        return 0

    # --- the end ---

    cdef int finish(self) except -1:
        """Send the end of the response. Returns a TurnEnd."""
        cdef iovec end
        if not self.started:
            raise ApplicationError("the application returned without calling start_response")
        if not self.head_sent:
            self.finish_head(0)
            end.iov_base = self.head.data
            end.iov_len = self.head.length
            self.transmit(&end, 1)
        elif self.chunked and not self.gone and not self.bodiless:
            self.sink.whole = True
            end.iov_base = <char *> b"0\r\n\r\n"
            end.iov_len = 5
            self.transmit(&end, 1)
        self.finished = True
        if self.gone:  # or the disk is full: then the client is there, and must see the cut
            return TURN_CUT if self.chunked or self.promised >= 0 or self.bodiless else TURN_RESET
        if self.promised > self.sent and not self.bodiless:
            warn(
                "the application sent %d bytes, but its Content-Length is %d: the response is cut",
                self.sent, self.promised)
            return TURN_CUT
        return TURN_COMPLETE

    cdef int fail(self) noexcept:
        """End a response whose application failed: a 500 if nothing was sent, else a cut. Returns a TurnEnd."""
        if not self.head_sent:
            self.sink.stays = stays_after(self.sink.stays, self.closes, False)
            return send_error(self.exchange, self.sink, self.fields, self.began, 500)
        if not self.gone and (self.bodiless or (self.promised >= 0 and self.sent == self.promised)):
            return TURN_COMPLETE
        if not self.gone:
            outcome_note(&self.exchange.outcome, OUTCOME_ERROR, REASON_APPLICATION)
        return TURN_CUT if self.chunked or self.promised >= 0 else TURN_RESET


cdef int check_bytes(object data, str what) except -1:
    """Raise ApplicationError, which names `what` data is for, unless the PyBytes functions can read it."""
    if not isinstance(data, bytes):
        raise ApplicationError(f"{what} must be bytes, not {type(data).__name__}")
    return 0
