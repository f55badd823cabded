"""One turn of a WSGI application: call it, and make a response of what it returns (PEP 3333, RFC 9112).

A model gives a complete request and a sink; the bridge makes the environ, calls the application, frames its output and
sends it. It follows four rules. Nothing is sent before the first byte of body (or its end) is known, so that an earlier
error gives a clean 500. A later error cuts the connection; it never leaves a response that looks complete. No header is
sent before all of them are checked. Nothing is sent after the end of a response, even if the application calls write()
or start_response() in its close() or later.
"""
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close as close_fd

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_GET_LENGTH

from halfsync.exchange.bridging cimport Origin, TURN_COMPLETE, TURN_CUT, TURN_RESET, send_vectors
from halfsync.exchange.exchange cimport exchange_error, exchange_is_head
from halfsync.exchange.persistence cimport stays_after
from halfsync.http.grammar cimport (
    CONNECTION_CLOSE, CONNECTION_KEEP_ALIVE, HEX_BYTES, connection_options, is_field_value, is_token, number_of,
    write_hex,
)
from halfsync.http.response_head cimport (
    ERROR_BYTES, FRAMING_CHUNKED, FRAMING_CLOSE, MEANS_CONNECTION, MEANS_CONTENT_LENGTH, MEANS_DATE, MEANS_KEEPING,
    MEANS_SERVER, SERVER_LINES_BYTES, end_head, framing_of, has_no_body, meaning_of, server_fields_init, write_bytes,
    write_content_length, write_crlf, write_date_line, write_server_line, write_text, write_version,
)
from halfsync.native.forks cimport exit_forked_copy
from halfsync.native.gate cimport gate_enter, gate_leave
from halfsync.wsgi.body cimport FileWrapper, INPUT_ENDED, Input, input_for

from halfsync.log import report_application_error, report_unprepared, warn

cdef extern from "Python.h":
    str PyUnicode_FromObject(object text)
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    unsigned long PyThread_get_thread_ident()

cdef extern from *:
    """
    #include <sys/stat.h>
    #include <unistd.h>

    /* Return the size of a regular file that can be read from this offset to its end; -1 for any other descriptor. As
           a test, its last byte is read, and none may follow: files in /proc and /sys report wrong sizes, and a
           descriptor may be write-only. */
    static int64_t hs_readable_size(int fd, int64_t offset) {
        struct stat status;
        char last[2];
        if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size <= offset) return -1;
        return pread(fd, last, 2, status.st_size - 1) == 1 ? status.st_size : -1;
    }
    """
    int64_t readable_size "hs_readable_size" (int fd, int64_t offset) nogil

cdef enum:
    HEAD_BYTES = 1024  # of a response head, before its buffer grows
    JOINED_BYTES = 64 * 1024  # a list of chunks up to this length in all is sent as one
    COPIED_BYTES = 2048  # a body up to this length is copied after its head

cdef str BODY = "each part of the response's body"
cdef object END = object()  # of an application's iterable


class ApplicationError(Exception):
    """The application has broken a rule of PEP 3333; the message says which."""


cdef class WsgiBridge(Bridge):
    """Runs one application. A server has one, which its workers share."""

    def __init__(self, application, EnvironFactory environs, bint server_header, double keep_alive_s):
        server_fields_init(&self.fields, server_header, keep_alive_s)
        self.application = application
        self.environs = environs
        environs.renew_empty()

    cdef int do_turn(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1:
        """Run the application for a complete request and send its response. Keeps nothing between requests.

        Every exception of the application is reported here and ends in a 500 or a cut. `close()` of what it returned is
        called exactly once.
        """
        cdef Response response = None
        cdef Input body = None
        cdef object result = None
        cdef dict environ = None
        cdef bint called = False
        cdef bint lent = False
        cdef int status
        cdef int end = TURN_CUT
        try:
            try:
                response = Response.__new__(Response)
                response.bridge = self
                response.exchange = exchange
                response.sink = sink
                response.thread = PyThread_get_thread_ident()
                response.promised = -1
                if exchange.body_length > 0:
                    body = input_for(exchange)
                environ = self.environs.make(exchange, origin, waited_s, body, &lent)
                if body is None and not lent:
                    body = environ["wsgi.input"] = input_for(exchange)
                environ["halfsync.disconnected"] = response  # the object itself costs less than a bound method
                called = True
                result = self.application(environ, response.start_response)
                exit_forked_copy(self.began)
                response.answer(result)
                response.ended = True
                end = response.finish()
            except BaseException as error:  # noqa: BLE001 - in a forked copy, close() must not run
                self.exit_forked_copy_with(error)
                raise
            finally:
                if response is not None:
                    response.ended = True  # close() may call write or start_response
                if result is not None and type(result) is not list:
                    close = getattr(result, "close", None)
                    if close is not None:
                        close()
        except BaseException as error:  # noqa: BLE001 - an application may raise anything; its worker must survive
            self.exit_forked_copy_with(error)
            if called:
                self.report(error, environ, 0)
                if not response.finished:
                    end = response.fail()
            else:
                status = 503 if isinstance(error, (OSError, MemoryError)) else 500
                self.report(error, None, status)
                end = self.refuse(exchange, sink, status)
        finally:
            if response is not None:
                response.close()
            if body is not None:
                body.shut(INPUT_ENDED)
            elif lent:
                self.environs.take_empty_back(environ)
        return end

    cdef void report(self, object error, object environ, int status) noexcept:
        """Log what the application raised, if status is 0; else why it could not be called."""
        try:
            if status == 0:
                report_application_error(error, environ)
            else:
                report_unprepared(error, status)
        except BaseException:  # noqa: BLE001 - memory may be too short for the call
            pass

    cdef int refuse(self, Exchange *exchange, Sink *sink, int status) noexcept:
        sink.stays = False
        return self.send_error(exchange, sink, status)

    cdef int send_error(self, Exchange *exchange, Sink *sink, int status) noexcept:
        """Send an error page as the whole response, without making a Python object. Returns a TurnEnd."""
        cdef char[ERROR_BYTES] page
        cdef int64_t body
        cdef iovec vector
        exit_forked_copy(self.began)
        vector.iov_base = page
        vector.iov_len = exchange_error(exchange, status, &self.fields, sink.stays, page, &body)
        return TURN_COMPLETE if send_vectors(sink, &vector, 1, vector.iov_len) == 0 else TURN_CUT


cdef inline int check_open(Response response, str call) except -1:
    """Raise ApplicationError if the response has ended, so that `call` sends nothing after it."""
    if response.ended or response.exchange == NULL:
        ended = "request" if response.exchange == NULL else "response"
        raise ApplicationError(f"{call} was called after the {ended} had ended")
    return 0


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
        check_open(self, "start_response")
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
        check_open(self, "write")
        if self.thread != PyThread_get_thread_ident():
            raise ApplicationError("write was called in another thread than the application")
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
            raise ApplicationError("disconnected was called in another thread than the application")
        exit_forked_copy(self.bridge.began)  # the next call may touch the socket
        return self.gone or self.sink.is_disconnected(self.sink)

    cdef void close(self) noexcept:
        """End the turn: the application may keep this object, but can send nothing more with it."""
        if self.head_allocated:
            free(self.head)
            self.head_allocated = False
        self.head = NULL
        self.exchange = NULL
        self.sink = NULL

    cdef char *room(self, int64_t length) except NULL:
        """Return the head's end, with room for `length` bytes after it.

        The head begins in the exchange's free room and moves when it outgrows that.
        """
        cdef int64_t capacity
        cdef char *grown
        if self.head_length + length <= self.head_capacity:
            return self.head + self.head_length
        if self.head == NULL and self.exchange.capacity - self.exchange.filled >= HEAD_BYTES + length:
            self.head = self.exchange.data + self.exchange.filled
            self.head_capacity = self.exchange.capacity - self.exchange.filled
            return self.head
        capacity = max(self.head_capacity * 2, self.head_length + length + HEAD_BYTES)
        grown = <char *> realloc(self.head if self.head_allocated else NULL, capacity)
        if grown == NULL:
            raise MemoryError
        if not self.head_allocated and self.head_length > 0:
            memcpy(grown, self.head, self.head_length)
        self.head = grown
        self.head_capacity = capacity
        self.head_allocated = True
        return self.head + self.head_length

    cdef int put(self, const char *data, int64_t length) except -1:
        """Append to the head."""
        memcpy(self.room(length), data, length)
        self.head_length += length
        return 0

    cdef bint begin(self, str status, list headers) except -1:
        """Check and render the status line and the fields. No code of the application runs.

        Return False, with nothing begun, if a header is not a tuple of two str, each of the exact type.
        """
        cdef const char *text = latin1(status, "the status")
        cdef Py_ssize_t length = PyUnicode_GET_LENGTH(status)
        cdef char *at
        cdef int code = 0
        self.started = self.chunked = self.has_date = self.has_server = False
        self.promised = -1
        self.head_length = 0
        if length >= 3 and is_field_value(text, length) and (length == 3 or text[3] == b" "):
            code = <int> number_of(text, 3)
        if not 200 <= code <= 999:
            raise ApplicationError(f"the status must be like '200 OK', and final, not {status!r}")
        at = self.room(length + 12)
        at = write_bytes(write_version(at), text, length)
        if length == 3:
            at = write_text(at, b" ")
        self.head_length = write_crlf(at) - self.head
        for item in headers:
            if not self.begin_field(item, code):
                return False
        self.exchange.status = code
        self.bodiless = has_no_body(code, exchange_is_head(self.exchange))
        self.started = True
        return True

    cdef bint begin_field(self, object item, int code) except -1:
        """Check and render one field, and record what it means for the framing. Return False as `begin` does."""
        cdef const char *name
        cdef const char *value
        cdef Py_ssize_t name_length, value_length
        cdef char *at
        cdef int meaning, options
        if type(item) is not tuple or len(<tuple> item) != 2:
            return False
        name_, value_ = <tuple> item
        if type(name_) is not str or type(value_) is not str:
            return False
        name = latin1(name_, "a header's name")
        if PyUnicode_KIND(value_) != 1:
            raise ApplicationError(f"the value of header {name_!r} has a character outside latin-1: {value_!r}")
        value = <const char *> PyUnicode_DATA(value_)
        name_length = PyUnicode_GET_LENGTH(name_)
        value_length = PyUnicode_GET_LENGTH(value_)
        if not is_token(name, name_length):
            raise ApplicationError(f"not a header name: {name_!r}")
        if not is_field_value(value, value_length):
            raise ApplicationError(f"a control character in the value of header {name_!r}: {value_!r}")
        meaning = meaning_of(name, name_length)
        if meaning == MEANS_CONTENT_LENGTH:
            if self.promised >= 0:
                raise ApplicationError("Content-Length is set twice")
            self.promised = number_of(value, value_length)
            if self.promised < 0:
                raise ApplicationError(f"not a Content-Length: {value_!r}")
            if code == 204:
                return True  # RFC 9110 8.6: must not be sent
        elif meaning == MEANS_DATE:
            self.has_date = True
        elif meaning == MEANS_SERVER:
            self.has_server = True
        elif meaning == MEANS_KEEPING:
            return True
        elif meaning == MEANS_CONNECTION:
            options = connection_options(value, value_length)
            if options & ~(CONNECTION_CLOSE | CONNECTION_KEEP_ALIVE) == 0:
                if options & CONNECTION_CLOSE:
                    self.closes = True
                return True
        if meaning >= MEANS_CONNECTION:
            raise ApplicationError(f"the hop-by-hop header {name_!r} is the server's business (PEP 3333)")
        at = self.room(name_length + value_length + 4)
        at = write_text(write_bytes(at, name, name_length), b": ")
        self.head_length = write_crlf(write_bytes(at, value, value_length)) - self.head
        return True

    cdef int finish_head(self, int64_t whole) except -1:
        """Choose the framing and render the rest of the head. whole: bytes of the whole body; -1: not known yet.

        The application's Content-Length counts; without one, the server sets it if the body is whole.
        """
        cdef char *at
        cdef int framing
        if not self.started:
            raise ApplicationError("the application sent a body before it called start_response")
        at = self.room(SERVER_LINES_BYTES)
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
            at = write_server_line(at, &self.bridge.fields)
        self.head_length = end_head(at, &self.bridge.fields, self.sink.stays) - self.head
        self.head_sent = True
        return 0

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
            exit_forked_copy(self.bridge.began)
            chunk = next(chunks, END)
            exit_forked_copy(self.bridge.began)
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
        cdef int64_t size, offset, length
        cdef int fd, result
        place = wrapper.place()
        exit_forked_copy(self.bridge.began)
        # Checked after place(), which may run code of the application.
        if place is None or self.head_sent or not self.started or self.bodiless:
            return 0
        fd, offset = place
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)
        if fd < 0:
            return 0
        with nogil:
            size = readable_size(fd, offset)
        if size < 0:
            close_fd(fd)
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
            result = self.sink.send_file(self.sink, self.head, self.head_length, fd, offset, length)
            gate_enter(self.sink.gate)
        gate_leave(self.sink.gate)
        self.sent = self.exchange.sent = length
        self.gone = result < 0
        return 1

    cdef int send_body(self, bytes data, int64_t whole) except -1:
        """Send a piece of the body, and the head before the first. whole: bytes of the whole body; -1: unknown.

        data: may be of a subclass, so use only the PyBytes functions on it.
        """
        cdef iovec vectors[4]
        cdef int count = 0
        cdef int64_t length = PyBytes_GET_SIZE(data)
        cdef char[HEX_BYTES + 2] line
        cdef bint first = not self.head_sent
        cdef bint too_much
        if self.gone or self.full:
            return 0
        if first:
            self.finish_head(whole)
            vectors[0].iov_base = self.head
            vectors[0].iov_len = self.head_length
            count = 1
        too_much = self.promised >= 0 and self.sent + length > self.promised and not self.bodiless
        if too_much:
            length = self.promised - self.sent
            self.full = True
        self.sent += length
        if self.bodiless:
            length = 0
        else:
            self.exchange.sent = self.sent
        if first and length <= COPIED_BYTES and not self.chunked:
            self.put(PyBytes_AS_STRING(data), length)  # a copy costs less than a second vector
            vectors[0].iov_base = self.head
            vectors[0].iov_len = self.head_length
        elif length > 0:
            if self.chunked:
                vectors[count].iov_base = line
                vectors[count].iov_len = write_crlf(write_hex(line, length)) - line
                vectors[count + 2].iov_base = <char *> b"\r\n"
                vectors[count + 2].iov_len = 2
                count += 1
            vectors[count].iov_base = PyBytes_AS_STRING(data)
            vectors[count].iov_len = length
            count += 2 if self.chunked else 1
        if count > 0:
            self.transmit(vectors, count)
        if self.bodiless:
            self.full = True  # nothing more will be sent: do not iterate an endless body
        if too_much:  # logged last: a handler of the application may call write
            warn("the application sends more than its Content-Length of %d bytes: the rest is dropped", self.promised)
        return 0

    cdef int transmit(self, iovec *vectors, int count) except -1:
        """Give bytes to the sink."""
        cdef int64_t total = 0
        cdef int position
        exit_forked_copy(self.bridge.began)
        for position in range(count):
            total += vectors[position].iov_len
        self.gone = send_vectors(self.sink, vectors, count, total) < 0
        return 0

    cdef int finish(self) except -1:
        """Send the end of the response. Returns a TurnEnd."""
        cdef iovec end
        if not self.started:
            raise ApplicationError("the application returned without calling start_response")
        if not self.head_sent:
            self.finish_head(0)
            end.iov_base = self.head
            end.iov_len = self.head_length
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
            warn("the application sent %d bytes, and its Content-Length is %d: cut", self.sent, self.promised)
            return TURN_CUT
        return TURN_COMPLETE

    cdef int fail(self) noexcept:
        """End a response whose application failed: a 500 if nothing was sent, else a cut. Returns a TurnEnd."""
        if not self.head_sent:
            self.sink.stays = stays_after(self.sink.stays, self.closes, False)
            return self.bridge.send_error(self.exchange, self.sink, 500)
        if not self.gone and (self.bodiless or (self.promised >= 0 and self.sent == self.promised)):
            return TURN_COMPLETE
        return TURN_CUT if self.chunked or self.promised >= 0 else TURN_RESET


# An application's str, bytes and tuples may be of subclasses, such as a template's strings that are marked as safe.
# What counts is the text or the bytes that they hold, not what their methods return. Only objects that are not of the
# exact type come here.

cdef str plain_text(object text, str what):
    """Return a str of the exact type. Raises ApplicationError, which names `what` it is for, if it is no str."""
    if not isinstance(text, str):
        raise ApplicationError(f"{what} must be a str, not {type(text).__name__}: {text!r}")
    return PyUnicode_FromObject(text)


cdef list plain_fields(object headers):
    """Return headers as a list of tuples of two str, of the exact types. Raises ApplicationError for others."""
    if not isinstance(headers, list):
        raise ApplicationError(f"the headers must be a list, not {type(headers).__name__}")
    return [plain_field(item) for item in list(headers)]


cdef tuple plain_field(object item):
    """Return a header as a tuple of two str of the exact types. Raises ApplicationError for others."""
    if not isinstance(item, tuple):
        raise ApplicationError(f"a header must be a tuple (name, value), not {type(item).__name__}: {item!r}")
    if len(tuple(item)) != 2:
        raise ApplicationError(f"a header must be a tuple (name, value), not {item!r}")
    name, value = tuple(item)
    name = plain_text(name, "a header's name")
    return name, plain_text(value, f"the value of header {name!r}")


cdef int check_bytes(object data, str what) except -1:
    """Raise ApplicationError, which names `what` data is for, unless the PyBytes functions can read it."""
    if not isinstance(data, bytes):
        raise ApplicationError(f"{what} must be bytes, not {type(data).__name__}")
    return 0


cdef const char *latin1(str text, str what) except NULL:
    """Return the bytes of a str, valid as long as the str. Raises ApplicationError if it is not all latin-1."""
    if PyUnicode_KIND(text) != 1:
        raise ApplicationError(f"{what} has a character outside latin-1: {text!r}")
    return <const char *> PyUnicode_DATA(text)
