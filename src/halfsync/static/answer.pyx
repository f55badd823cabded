"""Answer a request for a file: its head, and its content or where that is (RFC 9110 8, 12.5.3, 13 and 14).

A small content is read into the buffer after the head, so that one send takes both; a large one is left to sendfile.
Nothing of the answer is cached, and no file stays open: the server sends what is on the disk now.

A file's entity tag is made of its size, its time of modification in nanoseconds, and its coding. It is strong: a file
keeps its tag only if it is changed within one tick of the system's clock and keeps its size.
"""
from cpython.pycapsule cimport PyCapsule_New
from libc.errno cimport (
    EACCES, EAGAIN, EINTR, ELOOP, ENAMETOOLONG, ENODEV, ENOENT, ENOTDIR, ENXIO, EPERM, EXDEV, errno,
)
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport close, pread

from halfsync.exchange.exchange cimport exchange_is_get, exchange_is_head
from halfsync.exchange.native_handler cimport NATIVE_RESPONSE_BYTES
from halfsync.http.grammar cimport write_decimal, write_hex
from halfsync.http.parser cimport Field, Head, TARGET_ABSOLUTE, TARGET_ORIGIN, field_is
from halfsync.http.response_head cimport (
    DATE_BYTES, ERROR_TEXT_BYTES, begin_head, end_head, end_with_text, error_text, server_fields_init, write_bytes,
    write_content_length, write_crlf, write_text,
)
from halfsync.native.checks cimport COUNT_BUFFER, check, count
from halfsync.static.conditions cimport (
    Codings, RANGE_BEYOND, RANGE_PART, RANGE_WHOLE, coding_weight, codings_read, codings_reset, date_read, date_text,
    range_read, tags_match,
)
from halfsync.static.files cimport (
    EXTENSION_BYTES, FILE_DIRECTORY, FILE_REGULAR, FileLocation, FileLook, Mount, TypeSlot, files_find, files_look,
    files_open, files_type, type_hash,
)

cdef extern from "<time.h>" nogil:
    long time(long *out)

cdef enum:
    SMALL_BYTES = 32 * 1024  # of content that is sent with its head; above this, sendfile costs less
    HEAD_BYTES = NATIVE_RESPONSE_BYTES - SMALL_BYTES
    FIXED_BYTES = 2048  # enough for a whole head without a Location
    TYPE_LINE_BYTES = 256
    LOOKS = 3  # at a small file that becomes shorter between look and read
    TAG_BYTES = 64

cdef int64_t LATEST_S = 253402300799  # the last second of the year 9999, the last that a date can express

# The fields that matter, each with its bit in `seen`.
cdef enum Asked:
    ASKED_RANGE = 1
    ASKED_IF_MATCH = 2
    ASKED_IF_RANGE = 4
    ASKED_IF_NONE_MATCH = 8
    ASKED_ACCEPT_ENCODING = 16
    ASKED_IF_MODIFIED_SINCE = 32
    ASKED_IF_UNMODIFIED_SINCE = 64

cdef enum Coding:
    CODING_NONE
    CODING_BROTLI
    CODING_GZIP

# A request for a file, and the file that was found.
ctypedef struct Task:
    const Files *files
    Exchange *exchange
    NativeResponse *answer
    char *begin               # the buffer, with room for a whole head: each part but a Location is bounded
    char *at                  # the end of what is written
    bint stays
    bint is_head              # the method is HEAD
    int seen                  # ASKED_ bits
    int fd
    int coding                # Coding
    const TypeSlot *type
    FileLook look
    char tag[TAG_BYTES]
    size_t tag_length


cdef int asked_by(const char *data, const Field *field) noexcept nogil:
    """Return the bit of a field, or 0 if it does not matter."""
    if field_is(data, field, b"range"):
        return ASKED_RANGE
    if field_is(data, field, b"if-match"):
        return ASKED_IF_MATCH
    if field_is(data, field, b"if-range"):
        return ASKED_IF_RANGE
    if field_is(data, field, b"if-none-match"):
        return ASKED_IF_NONE_MATCH
    if field_is(data, field, b"accept-encoding"):
        return ASKED_ACCEPT_ENCODING
    if field_is(data, field, b"if-modified-since"):
        return ASKED_IF_MODIFIED_SINCE
    if field_is(data, field, b"if-unmodified-since"):
        return ASKED_IF_UNMODIFIED_SINCE
    return 0


cdef void read_asked(Task *task) noexcept nogil:
    """Set the bits of the fields that were sent."""
    cdef const Head *head = &task.exchange.head
    cdef uint32_t position
    task.seen = 0
    for position in range(head.fields_count):
        task.seen |= asked_by(task.exchange.data, &head.fields[position])


cdef const Field *next_field(const Task *task, int asked, uint32_t *position) noexcept nogil:
    """Return the next field of a kind from a position on, or NULL. Moves the position past it."""
    cdef const Head *head = &task.exchange.head
    cdef const Field *field
    while position[0] < head.fields_count:
        field = &head.fields[position[0]]
        position[0] += 1
        if asked_by(task.exchange.data, field) == asked:
            return field
    return NULL


cdef const Field *only_field(const Task *task, int asked) noexcept nogil:
    """Return the field of a kind that may be sent once, or NULL if it was not sent, or was sent more than once."""
    cdef uint32_t position = 0
    cdef const Field *field
    if not task.seen & asked:
        return NULL
    field = next_field(task, asked, &position)
    return field if next_field(task, asked, &position) == NULL else NULL


cdef bint any_tag_matches(const Task *task, int asked, bint weak) noexcept nogil:
    """Tell whether the file's entity tag is in a list of any field of a kind."""
    cdef uint32_t position = 0
    cdef const Field *field
    while True:
        field = next_field(task, asked, &position)
        if field == NULL:
            return False
        if tags_match(task.exchange.data + field.value, field.value_length, task.tag, task.tag_length, weak):
            return True


cdef bint date_of(const Task *task, int asked, int64_t *second) noexcept nogil:
    """Read the date of a field. Return False if none was sent, or it is not a date."""
    cdef const Field *field = only_field(task, asked)
    return field != NULL and date_read(task.exchange.data + field.value, field.value_length, second)


cdef int precondition(const Task *task) noexcept nogil:
    """Return 0 to continue, 304, or 412, in the order of RFC 9110 13.2.2."""
    cdef int64_t second = 0
    if task.seen & ASKED_IF_MATCH:
        if not any_tag_matches(task, ASKED_IF_MATCH, False):
            return 412
    elif date_of(task, ASKED_IF_UNMODIFIED_SINCE, &second) and task.look.modified_s > second:
        return 412
    if task.seen & ASKED_IF_NONE_MATCH:
        if any_tag_matches(task, ASKED_IF_NONE_MATCH, True):
            return 304
    elif date_of(task, ASKED_IF_MODIFIED_SINCE, &second) and task.look.modified_s <= second:
        return 304
    return 0


cdef int wanted_range(const Task *task, int64_t *first, int64_t *length) noexcept nogil:
    """Return which part of the file is wanted: a RangeKind. Only GET has ranges (RFC 9110 14.2).

    With If-Range, a part is sent only if the field has a single entity tag that matches in a strong comparison. A date
    never matches: a file may have changed twice in that second, or have been given another file's time, and this server
    cannot detect that (RFC 9110 13.1.5, 8.8.2.2).
    """
    cdef const Field *field
    cdef const Field *condition
    if task.is_head:
        return RANGE_WHOLE
    field = only_field(task, ASKED_RANGE)
    if field == NULL:
        return RANGE_WHOLE
    if task.seen & ASKED_IF_RANGE:
        condition = only_field(task, ASKED_IF_RANGE)
        if (
            condition == NULL or condition.value_length != task.tag_length
            or memcmp(task.exchange.data + condition.value, task.tag, task.tag_length) != 0
        ):
            return RANGE_WHOLE
    return range_read(task.exchange.data + field.value, field.value_length, task.look.size, first, length)


cdef int status_of(int error) noexcept nogil:
    """Return the status for an error of opening. A file that must not be read counts as not there."""
    if error in (ENOENT, ENOTDIR, EACCES, EPERM, ELOOP, ENAMETOOLONG, EXDEV, ENXIO, ENODEV):
        return 404
    return 503  # descriptors or memory are short, or the disk fails


cdef void start(Task *task, int status) noexcept nogil:
    """Begin the head."""
    task.exchange.status = status
    task.at = begin_head(task.at, &task.files.fields, status)


cdef void finish(Task *task) noexcept nogil:
    """End the head."""
    task.at = end_head(task.at, &task.files.fields, task.stays)
    task.answer.ready = task.at - task.begin


cdef void answer_text(Task *task, int status) noexcept nogil:
    """Answer with a status and a line of text. A 301 redirects to the path with a slash at its end."""
    cdef const char *data = task.exchange.data
    cdef const Head *head = &task.exchange.head
    cdef char[ERROR_TEXT_BYTES] text
    cdef char *at
    if status == 301 and <int64_t> head.path_length + head.query_length > HEAD_BYTES - FIXED_BYTES:
        status = 414
    start(task, status)
    at = task.at
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
        at = write_crlf(write_decimal(write_text(at, b"Content-Range: bytes */"), task.look.size))
    at = write_text(at, b"X-Content-Type-Options: nosniff\r\n")
    task.at = end_with_text(
        at, &task.files.fields, task.stays, task.is_head, text, error_text(status, text), &task.exchange.sent)
    task.answer.ready = task.at - task.begin


cdef void make_tag(Task *task) noexcept nogil:
    """Make the entity tag of the open file."""
    cdef char *at = write_text(task.tag, b"\"")
    at = write_text(write_hex(at, task.look.size), b"-")
    at = write_hex(at, <uint64_t> task.look.modified_s * 1000000000 + <uint64_t> task.look.modified_ns)
    if task.coding == CODING_BROTLI:
        at = write_text(at, b"-br")
    elif task.coding == CODING_GZIP:
        at = write_text(at, b"-gzip")
    task.tag_length = write_text(at, b"\"") - task.tag


cdef void put_selection(Task *task) noexcept nogil:
    """Write the fields that both a 304 and a 200 have (RFC 9110 15.4.5)."""
    cdef char *at = write_crlf(write_bytes(write_text(task.at, b"ETag: "), task.tag, task.tag_length))
    if task.files.max_age_s > 0:
        at = write_crlf(write_decimal(write_text(at, b"Cache-Control: max-age="), task.files.max_age_s))
    if task.type.compresses:
        at = write_text(at, b"Vary: Accept-Encoding\r\n")
    task.at = at


cdef void put_content_fields(Task *task, int kind, int64_t first, int64_t length) noexcept nogil:
    """Write the fields of a 200 or a 206."""
    cdef char *at = write_bytes(task.at, task.type.line, task.type.line_length)
    cdef int64_t modified = max(<int64_t> 0, min(task.look.modified_s, <int64_t> time(NULL), LATEST_S))
    at = write_content_length(write_text(at, b"X-Content-Type-Options: nosniff\r\n"), length)
    at = write_crlf(write_bytes(write_text(at, b"Last-Modified: "), date_text(modified), DATE_BYTES))
    at = write_text(at, b"Accept-Ranges: bytes\r\n")
    if task.coding == CODING_BROTLI:
        at = write_text(at, b"Content-Encoding: br\r\n")
    elif task.coding == CODING_GZIP:
        at = write_text(at, b"Content-Encoding: gzip\r\n")
    if kind == RANGE_PART:
        at = write_text(write_decimal(write_text(at, b"Content-Range: bytes "), first), b"-")
        at = write_text(write_decimal(at, first + length - 1), b"/")
        at = write_crlf(write_decimal(at, task.look.size))
    task.at = at
    put_selection(task)


cdef bint answer_content(Task *task) noexcept nogil:
    """Answer with the open file, or with what the request's conditions ask for instead.

    Return False, with nothing answered, if the file has become shorter since the look at it.
    """
    cdef int64_t first = 0
    cdef int64_t length = task.look.size
    cdef int status, kind
    cdef ssize_t got
    make_tag(task)
    status = precondition(task)
    if status == 304:
        start(task, 304)
        put_selection(task)
        finish(task)
        return True
    if status != 0:
        answer_text(task, status)
        return True
    kind = wanted_range(task, &first, &length)
    if kind == RANGE_BEYOND:
        answer_text(task, 416)
        return True
    if kind == RANGE_WHOLE:
        first = 0
        length = task.look.size
    start(task, 206 if kind == RANGE_PART else 200)
    put_content_fields(task, kind, first, length)
    finish(task)
    if task.is_head or length == 0:
        return True
    if length <= SMALL_BYTES:
        while True:
            got = pread(task.fd, task.at, length, first)
            if got >= 0 or errno != EINTR:
                break
        if got < length:
            return False
        task.answer.ready += length
    else:
        task.answer.fd = task.fd
        task.answer.offset = first
        task.answer.length = length
    task.exchange.sent = length
    return True


cdef int open_kind(Task *task, const FileLocation *location) noexcept nogil:
    """Open what a location names, and look at it. Returns a FileKind, with the file open, or -errno."""
    cdef int result
    task.fd = files_open(task.files, location)
    if task.fd < 0:
        return task.fd
    result = files_look(task.fd, &task.look)
    if result < 0:
        close(task.fd)
        task.fd = -1
    return result


cdef bint open_variant(Task *task, FileLocation *location, int coding) noexcept nogil:
    """Open the compressed variant that is beside a file. Return False if there is none."""
    cdef int kind
    if coding == CODING_BROTLI:
        memcpy(location.path + location.length, <const char *> b".br", 4)
    else:
        memcpy(location.path + location.length, <const char *> b".gz", 4)
    kind = open_kind(task, location)
    location.path[location.length] = 0
    if kind == FILE_REGULAR:
        task.coding = coding
        return True
    if kind >= 0:
        close(task.fd)
    return False


cdef bint open_best_variant(Task *task, FileLocation *location) noexcept nogil:
    """Open the compressed variant that the client prefers. Return False if there is none that it accepts."""
    cdef Codings codings
    cdef uint32_t position = 0
    cdef const Field *field
    cdef int brotli, gzip
    if not task.type.compresses or not task.seen & ASKED_ACCEPT_ENCODING:
        return False
    codings_reset(&codings)
    while True:
        field = next_field(task, ASKED_ACCEPT_ENCODING, &position)
        if field == NULL:
            break
        codings_read(&codings, task.exchange.data + field.value, field.value_length)
    brotli = coding_weight(&codings, codings.brotli)
    gzip = coding_weight(&codings, codings.gzip)
    if brotli >= gzip:
        return (brotli > 0 and open_variant(task, location, CODING_BROTLI)) or (
            gzip > 0 and open_variant(task, location, CODING_GZIP))
    return open_variant(task, location, CODING_GZIP) or (brotli > 0 and open_variant(task, location, CODING_BROTLI))


cdef void answer_file(Task *task, FileLocation *location) noexcept nogil:
    """Answer with the file that a location names, in the form that the request asks for."""
    cdef int kind = FILE_REGULAR
    cdef int _
    task.type = files_type(task.files, location)
    if not open_best_variant(task, location):
        kind = open_kind(task, location)
    if kind < 0:
        answer_text(task, status_of(-kind))
        return
    if kind == FILE_REGULAR:
        for _ in range(LOOKS):
            if answer_content(task):
                break
            task.at = task.begin
            kind = files_look(task.fd, &task.look)
            if kind < 0:
                break
        else:
            kind = -EAGAIN
        if kind < 0:
            answer_text(task, 503)
    else:
        answer_text(task, 301 if kind == FILE_DIRECTORY and not location.index else 404)
    if task.answer.fd < 0:
        close(task.fd)


cdef bint answer_request(
    const NativeHandler *native_handler, Exchange *exchange, bint stays, char *buffer, NativeResponse *answer
) noexcept nogil:
    """Answer a complete request whose path is under a prefix. See NativeHandler.

    A body that came with it was read as it was framed, and is ignored (RFC 9110 9.3.1).
    """
    cdef const Head *head = &exchange.head
    cdef FileLocation location
    cdef Task task
    if head.target_form == TARGET_ABSOLUTE and head.path_length == 0:
        if not files_find(<const Files *> native_handler, b"/", 1, &location):
            return False
    elif head.target_form != TARGET_ORIGIN and head.target_form != TARGET_ABSOLUTE:
        return False
    elif not files_find(<const Files *> native_handler, exchange.data + head.path, head.path_length, &location):
        return False
    task.files = <const Files *> native_handler
    task.exchange = exchange
    task.answer = answer
    task.begin = task.at = buffer
    task.stays = stays
    task.is_head = exchange_is_head(exchange)
    task.coding = CODING_NONE
    task.fd = answer.fd = -1
    answer.offset = answer.length = answer.ready = exchange.sent = 0
    if not task.is_head and not exchange_is_get(exchange):
        answer_text(&task, 405)
    elif location.status != 0:
        answer_text(&task, location.status)
    else:
        read_asked(&task)
        answer_file(&task, &location)
    check(answer.ready <= NATIVE_RESPONSE_BYTES, "an answer is longer than its buffer")
    return True


cdef class StaticFiles:
    """The directories that a server serves. Read-only once made, so any thread may answer from it.

    Owned by its server, which closes it once no thread of a model uses it.
    """

    def __init__(
        self, mounts, types, *, bint symlinks=False, bint walks=False, bint server_header=True,
        double keep_alive_s=0, int64_t max_age_s=0
    ):
        """Take over the descriptors. mounts: the prefix and directory of each.

        types: by extension, in lower case: the field line, and whether such files compress. b"" is for all other
        extensions.
        """
        cdef Files *files = &self.files
        cdef Mount *mount
        cdef uint32_t slots = 64
        memset(files, 0, sizeof(Files))
        while slots < 2 * len(types):
            slots *= 2
        files.native_handler.answer = answer_request
        files.mounts = <Mount *> calloc(len(mounts), sizeof(Mount))
        files.types = <TypeSlot *> calloc(slots, sizeof(TypeSlot))
        count(COUNT_BUFFER, 2)
        files.types_mask = slots - 1
        if files.mounts == NULL or files.types == NULL:
            raise MemoryError
        ordered = sorted(mounts, key=lambda each: -len(each[0]))
        self.pinned = (ordered, dict(types))
        for prefix, fd in ordered:
            mount = &files.mounts[files.mounts_count]
            mount.prefix = prefix
            mount.prefix_length = len(prefix)
            mount.fd = fd
            files.mounts_count += 1
        for extension, (line, compresses) in self.pinned[1].items():
            self._add_type(extension, line, compresses)
        files.symlinks = symlinks
        files.walks = walks
        server_fields_init(&files.fields, server_header, keep_alive_s)
        files.max_age_s = max_age_s
        self.capsule = PyCapsule_New(&self.files, b"halfsync.static", NULL)

    def _add_type(self, bytes extension, bytes line, bint compresses):
        cdef TypeSlot slot
        cdef uint32_t position
        if len(extension) > EXTENSION_BYTES or len(line) > TYPE_LINE_BYTES:
            return  # it counts as unknown
        memset(&slot, 0, sizeof(slot))
        memcpy(slot.extension, <const char *> extension, len(extension))
        slot.line = line
        slot.line_length = len(line)
        slot.compresses = compresses
        if not extension:
            self.files.unknown = slot
            return
        position = type_hash(slot.extension) & self.files.types_mask
        while self.files.types[position].extension[0] != 0:
            position = (position + 1) & self.files.types_mask
        self.files.types[position] = slot

    def close(self):
        """Close the directories. No model may answer from them after this."""
        cdef int position
        for position in range(self.files.mounts_count):
            close(self.files.mounts[position].fd)
        self.files.mounts_count = 0

    def __dealloc__(self):
        cdef int position
        for position in range(self.files.mounts_count):
            close(self.files.mounts[position].fd)
        if self.files.mounts != NULL:
            free(self.files.mounts)
            free(self.files.types)
            count(COUNT_BUFFER, -2)
