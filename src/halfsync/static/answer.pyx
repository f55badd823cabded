"""Answer a request for a file: its head, and its content or where that is (RFC 9110 8, 12.5.3, 13 and 14).

A small content is read into the buffer after the head, so that one send takes both; a large one is left to sendfile.
Nothing of the answer is cached, and no file stays open: the server sends what is on the disk now.

A file's entity tag is made of its size, its time of modification in nanoseconds, and its coding. It is strong: a file
keeps its tag only if it is changed within one tick of the system's clock and keeps its size.
"""
from libc.errno cimport (
    EACCES, EAGAIN, EINTR, ELOOP, ENAMETOOLONG, ENODEV, ENOENT, ENOTDIR, ENXIO, EPERM, EXDEV, errno,
)
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport close, pread

from halfsync.exchange.exchange cimport exchange_is_get, exchange_is_head, exchange_note_head
from halfsync.exchange.native_handler cimport NATIVE_RESPONSE_BYTES
from halfsync.exchange.own_fields cimport write_timing
from halfsync.http.grammar cimport write_decimal, write_hex
from halfsync.http.parser cimport Head, TARGET_ABSOLUTE, TARGET_ORIGIN, head_path
from halfsync.http.response_head cimport (
    DATE_BYTES, begin_head, end_head, end_with_error, write_bytes, write_content_length, write_crlf, write_id_line,
    write_text,
)
from halfsync.native.checks cimport check
from halfsync.static.conditions cimport RANGE_BEYOND, RANGE_PART, RANGE_WHOLE, date_text
from halfsync.static.file_request cimport (
    CODING_BROTLI, CODING_GZIP, CODING_NONE, FileRequest, precondition, read_asked, wanted_range,
)
from halfsync.static.files cimport (
    FILE_DIRECTORY, FILE_REGULAR, FileLocation, Files, files_find, files_stat, files_type,
)
from halfsync.static.variants cimport variant_open

cdef extern from "<time.h>" nogil:
    long time(long *out)

cdef enum:
    SMALL_BYTES = 32 * 1024  # of content that is sent with its head; above this, sendfile costs less
    HEAD_BYTES = NATIVE_RESPONSE_BYTES - SMALL_BYTES
    FIXED_BYTES = 2048  # enough for a whole head without a Location
    TRIES = 3  # at a small file that becomes shorter before it is read

cdef int64_t LATEST_S = 253402300799  # the last second of the year 9999, the last that a date can express


cdef int status_of(int error) noexcept nogil:
    """Return the status for an error of opening. A file that must not be read counts as not there."""
    if error in (ENOENT, ENOTDIR, EACCES, EPERM, ELOOP, ENAMETOOLONG, EXDEV, ENXIO, ENODEV):
        return 404
    return 503  # descriptors or memory are short, or the disk fails


cdef void start(FileRequest *request, int status) noexcept nogil:
    """Begin the head."""
    request.exchange.status = status
    request.at = begin_head(request.at, &request.files.fields, status)
    request.at = write_timing(request.at, &request.files.fields, &request.exchange.timeline, False)


cdef void finish(FileRequest *request) noexcept nogil:
    """End the head."""
    request.at = end_head(request.at, &request.files.fields, request.stays)
    request.answer.ready = request.at - request.begin


cdef void answer_text(FileRequest *request, int status) noexcept nogil:
    """Answer with a status and a line of text. A 301 redirects to the path with a slash at its end."""
    cdef const char *data = request.exchange.data
    cdef const Head *head = &request.exchange.head
    cdef char *at
    if status == 301 and <int64_t> head.path_length + head.query_length > HEAD_BYTES - FIXED_BYTES:
        status = 414
    start(request, status)
    at = request.at
    if status >= 400:
        at = write_id_line(at, &request.files.fields, request.exchange.id, request.exchange.id_length)
    if status == 301:
        # Below a prefix no path begins with two slashes or has a backslash, so this cannot lead to another host.
        at = write_bytes(write_text(at, b"Location: "), data + head.path, head.path_length)
        at = write_text(at, b"/")
        if head.query_length > 0:
            at = write_bytes(write_text(at, b"?"), data + head.query, head.query_length)
        at = write_crlf(at)
    elif status == 405:
        at = write_text(at, b"Allow: GET, HEAD\r\n")
    elif status == 416:
        at = write_crlf(write_decimal(write_text(at, b"Content-Range: bytes */"), request.stat.size))
    at = write_text(at, b"X-Content-Type-Options: nosniff\r\n")
    request.at = end_with_error(
        at, &request.files.fields, status, request.stays, request.is_head, &request.exchange.sent)
    request.answer.ready = request.at - request.begin


cdef void make_tag(FileRequest *request) noexcept nogil:
    """Make the entity tag of the open file."""
    cdef char *at = write_text(request.tag, b"\"")
    at = write_text(write_hex(at, request.stat.size), b"-")
    at = write_hex(at, <uint64_t> request.stat.modified_s * 1000000000 + <uint64_t> request.stat.modified_ns)
    if request.coding == CODING_BROTLI:
        at = write_text(at, b"-br")
    elif request.coding == CODING_GZIP:
        at = write_text(at, b"-gzip")
    request.tag_length = write_text(at, b"\"") - request.tag


cdef void put_selection(FileRequest *request) noexcept nogil:
    """Write the fields that both a 304 and a 200 have (RFC 9110 15.4.5)."""
    cdef char *at = write_crlf(write_bytes(write_text(request.at, b"ETag: "), request.tag, request.tag_length))
    if request.files.max_age_s > 0:
        at = write_crlf(write_decimal(write_text(at, b"Cache-Control: max-age="), request.files.max_age_s))
    if request.type.compresses:
        at = write_text(at, b"Vary: Accept-Encoding\r\n")
    request.at = at


cdef void put_content_fields(FileRequest *request, int kind, int64_t first, int64_t length) noexcept nogil:
    """Write the fields of a 200 or a 206."""
    cdef char *at = write_bytes(request.at, request.type.line, request.type.line_length)
    cdef int64_t modified = max(<int64_t> 0, min(request.stat.modified_s, <int64_t> time(NULL), LATEST_S))
    at = write_content_length(write_text(at, b"X-Content-Type-Options: nosniff\r\n"), length)
    at = write_crlf(write_bytes(write_text(at, b"Last-Modified: "), date_text(modified), DATE_BYTES))
    at = write_text(at, b"Accept-Ranges: bytes\r\n")
    if request.coding == CODING_BROTLI:
        at = write_text(at, b"Content-Encoding: br\r\n")
    elif request.coding == CODING_GZIP:
        at = write_text(at, b"Content-Encoding: gzip\r\n")
    if kind == RANGE_PART:
        at = write_text(write_decimal(write_text(at, b"Content-Range: bytes "), first), b"-")
        at = write_text(write_decimal(at, first + length - 1), b"/")
        at = write_crlf(write_decimal(at, request.stat.size))
    request.at = at
    put_selection(request)


cdef bint answer_content(FileRequest *request) noexcept nogil:
    """Answer with the open file, or with what the request's conditions ask for instead.

    Return False, with nothing answered, if the file has become shorter since it was opened.
    """
    cdef int64_t first = 0
    cdef int64_t length = request.stat.size
    cdef int status, kind
    cdef ssize_t got
    make_tag(request)
    status = precondition(request)
    if status == 304:
        start(request, 304)
        put_selection(request)
        finish(request)
        return True
    if status != 0:
        answer_text(request, status)
        return True
    kind = wanted_range(request, &first, &length)
    if kind == RANGE_BEYOND:
        answer_text(request, 416)
        return True
    if kind == RANGE_WHOLE:
        first = 0
        length = request.stat.size
    start(request, 206 if kind == RANGE_PART else 200)
    put_content_fields(request, kind, first, length)
    finish(request)
    if request.is_head or length == 0:
        return True
    if length <= SMALL_BYTES:
        while True:
            got = pread(request.fd, request.at, length, first)
            if got >= 0 or errno != EINTR:
                break
        if got < length:
            return False
        request.answer.ready += length
    else:
        request.answer.fd = request.fd
        request.answer.offset = first
        request.answer.length = length
    request.exchange.sent = length
    return True


cdef void answer_file(FileRequest *request, FileLocation *location) noexcept nogil:
    """Answer with the file that a location names, in the form that the request asks for."""
    cdef int kind
    cdef int _
    request.type = files_type(request.files, location)
    kind = variant_open(request, location)
    if kind < 0:
        answer_text(request, status_of(-kind))
        return
    if kind == FILE_REGULAR:
        for _ in range(TRIES):
            if answer_content(request):
                break
            request.at = request.begin
            kind = files_stat(request.fd, &request.stat)
            if kind < 0:
                break
        else:
            kind = -EAGAIN
        if kind < 0:
            answer_text(request, 503)
    else:
        answer_text(request, 301 if kind == FILE_DIRECTORY and not location.index else 404)
    if request.answer.fd < 0:
        close(request.fd)


cdef bint answer_request(
    const NativeHandler *native_handler, Exchange *exchange, bint stays, char *buffer, NativeResponse *answer
) noexcept nogil:
    """Answer a complete request whose path is under a prefix. See NativeHandler.

    A body that came with it was read as it was framed, and is ignored (RFC 9110 9.3.1).
    """
    cdef const Head *head = &exchange.head
    cdef FileLocation location
    cdef FileRequest request
    cdef uint32_t length
    cdef const char *path = head_path(head, exchange.data, &length)
    if head.target_form != TARGET_ORIGIN and head.target_form != TARGET_ABSOLUTE:
        return False
    if not files_find(<const Files *> native_handler, path, length, &location):
        return False
    request.files = <const Files *> native_handler
    request.exchange = exchange
    request.answer = answer
    request.begin = request.at = buffer
    request.stays = stays
    request.is_head = exchange_is_head(exchange)
    request.coding = CODING_NONE
    request.fd = answer.fd = -1
    answer.offset = answer.length = answer.ready = exchange.sent = 0
    if not request.is_head and not exchange_is_get(exchange):
        answer_text(&request, 405)
    elif location.status != 0:
        answer_text(&request, location.status)
    else:
        read_asked(&request)
        answer_file(&request, &location)
    check(answer.ready <= NATIVE_RESPONSE_BYTES, "an answer is longer than its buffer")
    exchange_note_head(exchange, buffer, answer.ready if answer.length > 0 else answer.ready - exchange.sent)
    return True
