# cython: language_level=3
"""The request head: bytes in, a checked head out (RFC 9110, RFC 9112).

Everything is parsed by line. A line is parsed once, when its LF is there, so the cost is linear however the bytes
arrive. Only two things are refused before a line's end: a byte that cannot be in a method, and a line or head past its
limit. A line is known to end with CR before it is parsed, and CR is in no table of permitted bytes: so it stops every
loop below that has no bound of its own.

It refuses, with these statuses:

400  any syntax error: bare CR or LF, NUL and other controls, obs-fold, white space before a colon or a field,
     a name that is no token, more than one empty line before the request line, no HTTP version, a fragment
400  a target in a form that its method may not have; userinfo; an authority that is no host[:port]
400  HTTP/1.1 without Host; two Hosts; a Host neither empty nor host[:port]
400  Content-Length twice, as a list, with anything but 1 to 18 digits, or beside Transfer-Encoding
400  Transfer-Encoding on HTTP/1.0, not a list of codings, or with "chunked" twice, not last or with parameters
414  a request line longer than its limit
417  an expectation that is not 100-continue
431  a field line, the number of fields or the whole head past its limit
501  the method CONNECT, whatever follows it; a method of more than 32 bytes; a transfer coding before "chunked"
505  a well-formed HTTP version whose major version is not 1

Percent-encoding in a path is not checked: the code that decodes the path must refuse what does not decode.
"""
cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcmp, memset

from halfsync.http.grammar cimport (
    BYTE_DIGIT, BYTE_TARGET, BYTE_TOKEN, CODINGS_CHUNKED, CODINGS_OTHER, CONNECTION_CLOSE, CONNECTION_KEEP_ALIVE,
    CONNECTION_UPGRADE, authority_is_valid, byte_is, connection_options, is_blank, method_is, name_is, number_of,
    read_codings, value_end, word_is,
)

from halfsync.errors import ProtocolError
from halfsync.http.head import RequestHead

cdef extern from "<assert.h>" nogil:
    void c_assert "assert" (bint condition)


cdef enum:
    # A Field has lengths of 16 bits.
    FIELD_BYTES_MAX = 65535


cdef inline int refuse(Head *head, int status, const char *reason) noexcept nogil:
    head.refused = <int16_t>status
    head.reason = reason
    return -status


cdef void head_reset(Head *head) noexcept nogil:
    # A field is written before it is counted, so the array needs no clearing.
    memset(head, 0, <char *>&head.fields[0] - <char *>head)
    head.content_length = -1


cdef int head_parse(Head *head, const char *data, uint32_t length, const HeadLimits *limits) noexcept nogil:
    cdef const char *found
    cdef uint32_t end
    c_assert(head.refused or head.searched <= length)
    while not head.refused and not head.length:
        if not head.method_length and read_method(head, data, length) < 0:
            break
        found = <const char *>memchr(data + head.searched, c'\n', length - head.searched)
        end = length if found == NULL else <uint32_t>(found - data)
        if check_limits(head, data, end, found != NULL, limits) < 0:
            break
        head.searched = end
        if found == NULL:
            return 0
        if end == head.line or data[end - 1] != c'\r':
            refuse(head, 400, b"a line that ends with a bare LF")
            break
        if read_line(head, data, end - 1, limits) < 0:
            break
        head.line = head.searched = end + 1
    return -head.refused if head.refused else <int>head.length


# Find the method before its line is complete, so that bytes of another protocol are refused as they arrive.
cdef int read_method(Head *head, const char *data, uint32_t length) noexcept nogil:
    cdef uint32_t begin = head.line, at = head.line
    cdef uint32_t stop = length if length - begin <= METHOD_BYTES else begin + METHOD_BYTES + 1
    # One empty line before the request line is accepted (RFC 9112 2.2): old clients end a body with it.
    if begin == 0 and length and data[0] == c'\r':
        if length > 1 and data[1] != c'\n':
            return refuse(head, 400, b"a bare CR before the request line")
        return 0
    while at < stop and byte_is(data[at], BYTE_TOKEN):
        at += 1
    if at - begin > METHOD_BYTES:
        return refuse(head, 501, b"a method that is too long")
    if at == length:
        return 0
    if at == begin or data[at] != c' ':
        return refuse(head, 400, b"a method that is not a token followed by one space")
    head.method = begin
    head.method_length = at - begin
    # An application cannot make a tunnel: its bytes would be read as requests.
    if method_is(data + begin, at - begin, b"CONNECT"):
        return refuse(head, 501, b"the method CONNECT")
    return 0


# end: where the line's LF is, or the end of what has arrived. A final CR does not count as part of the line: the limits
# must not depend on whether its LF came with it.
cdef inline int check_limits(Head *head, const char *data, uint32_t end, bint complete,
                             const HeadLimits *limits) noexcept nogil:
    cdef uint32_t line = end - head.line
    if line and data[end - 1] == c'\r':
        line -= 1
    if not head.seen_request_line:
        if line > limits.request_line:
            return refuse(head, 414, b"a request line that is too long")
    elif line > limits.field or line > FIELD_BYTES_MAX:
        return refuse_long_field(head, data, limits)
    if end + complete > limits.head:
        return refuse(head, 431, b"a head that is too long")
    return 0


# Report the limit that was passed first, since a piece may end between the two. If the first byte past the limit is a
# CR, it may still end the line.
cdef int refuse_long_field(Head *head, const char *data, const HeadLimits *limits) noexcept nogil:
    cdef uint32_t first = head.line + min(limits.field, <uint32_t>FIELD_BYTES_MAX)
    if first + (data[first] == c'\r') > limits.head:
        return refuse(head, 431, b"a head that is too long")
    return refuse(head, 431, b"a field line that is too long")


# end: where the line's CR is.
cdef inline int read_line(Head *head, const char *data, uint32_t end,
                          const HeadLimits *limits) noexcept nogil:
    if head.seen_request_line:
        return end_head(head, end) if end == head.line else read_field(head, data, end, limits)
    if end == head.line:
        # This can only be the first line: read_method refuses a second empty one.
        return 0
    head.seen_request_line = True
    return read_request_line(head, data, end)


cdef int end_head(Head *head, uint32_t end) noexcept nogil:
    cdef bint close = head.connection & CONNECTION_CLOSE
    if head.minor and not head.seen_host:
        return refuse(head, 400, b"HTTP/1.1 without a Host field")
    if head.codings:
        # RFC 9112 6.3: without chunked at the end the body's length is not known, whatever the other codings are.
        if not head.codings & CODINGS_CHUNKED:
            return refuse(head, 400, b"a Transfer-Encoding that does not end with one chunked")
        if head.codings & CODINGS_OTHER:
            return refuse(head, 501, b"a transfer coding other than chunked")
        head.chunked = True
    head.keep_alive = not close and (head.minor or head.connection & CONNECTION_KEEP_ALIVE)
    # RFC 9110 7.8: an Upgrade on HTTP/1.0 must be ignored.
    head.upgrade = head.minor and head.connection & CONNECTION_UPGRADE
    head.length = end + 2
    return 0


cdef int read_request_line(Head *head, const char *data, uint32_t end) noexcept nogil:
    cdef uint32_t at = head.method + head.method_length + 1
    cdef const char *version
    head.target = at
    while byte_is(data[at], BYTE_TARGET):
        at += 1
    head.target_length = at - head.target
    version = data + at + 1
    if head.target_length == 0 or data[at] != c' ' or end - at != 9:
        return refuse(head, 400, b"a request line that is not method, target and version")
    if memcmp(version, b"HTTP/", 5) or version[6] != c'.' \
            or not byte_is(version[5], BYTE_DIGIT) or not byte_is(version[7], BYTE_DIGIT):
        return refuse(head, 400, b"a version that is not HTTP/digit.digit")
    if version[5] != c'1':
        return refuse(head, 505, b"a version that is not HTTP/1")
    # RFC 9110 6.2: a higher minor version is read as the highest that is supported.
    head.minor = version[7] != c'0'
    return read_target(head, data)


# Find the target's form and its parts (RFC 9112 3.2). The fourth form, host:port, is for CONNECT.
cdef int read_target(Head *head, const char *data) noexcept nogil:
    cdef const char *method = data + head.method
    cdef const char *target = data + head.target
    cdef const char *end = target + head.target_length
    cdef const char *query
    if target[0] == c'*':
        head.target_form = TARGET_ASTERISK
        if head.target_length != 1 or not method_is(method, head.method_length, b"OPTIONS"):
            return refuse(head, 400, b"a target of * whose method is not OPTIONS")
        return 0
    if target[0] == c'/':
        head.target_form = TARGET_ORIGIN
    else:
        head.target_form = TARGET_ABSOLUTE
        target = read_target_authority(head, data)
        if target == NULL:
            return refuse(head, 400, b"a target that is neither a path nor http(s)://host[:port]")
    query = <const char *>memchr(target, c'?', end - target)
    head.path = <uint32_t>(target - data)
    head.path_length = <uint32_t>((end if query == NULL else query) - target)
    if query != NULL:
        head.query = <uint32_t>(query + 1 - data)
        head.query_length = <uint32_t>(end - query - 1)
    return 0


# Return where the path of an absolute-form target begins, or NULL if its scheme or its authority is not served.
cdef const char *read_target_authority(Head *head, const char *data) noexcept nogil:
    cdef const char *at = data + head.target
    cdef const char *end = at + head.target_length
    cdef const char *authority
    if head.target_length > 7 and word_is(at, b"http://", 7):
        authority = at + 7
    elif head.target_length > 8 and word_is(at, b"https://", 8):
        authority = at + 8
    else:
        return NULL
    at = authority
    while at < end and at[0] != c'/' and at[0] != c'?':
        at += 1
    head.authority = <uint32_t>(authority - data)
    head.authority_length = <uint32_t>(at - authority)
    return at if authority_is_valid(authority, at) else NULL


cdef int read_field(Head *head, const char *data, uint32_t end, const HeadLimits *limits) noexcept nogil:
    cdef uint32_t at = head.line, last = end
    cdef Field *field
    if head.fields_count >= limits.fields or head.fields_count >= FIELDS_MAX:
        return refuse(head, 431, b"too many fields")
    field = &head.fields[head.fields_count]
    while byte_is(data[at], BYTE_TOKEN):
        at += 1
    if at == head.line or data[at] != c':':
        return refuse(head, 400, b"a field line that does not begin with a name and a colon")
    field.name = head.line
    field.name_length = <uint16_t>(at - head.line)
    at += 1
    while is_blank(data[at]):
        at += 1
    if value_end(data + at, data + end) != data + end:
        return refuse(head, 400, b"a control character in a field value")
    while last > at and is_blank(data[last - 1]):
        last -= 1
    field.value = at
    field.value_length = <uint16_t>(last - at)
    head.fields_count += 1
    # The names that matter have different lengths, so most fields need no further comparison.
    if field.name_length == 4:
        return read_host(head, data, field) if field_is(data, field, b"host") else 0
    if field.name_length == 6:
        return read_expect(head, data, field) if field_is(data, field, b"expect") else 0
    if field.name_length == 10:
        return read_connection(head, data, field) if field_is(data, field, b"connection") else 0
    if field.name_length == 14:
        return read_content_length(head, data, field) if field_is(data, field, b"content-length") else 0
    if field.name_length == 17 and field_is(data, field, b"transfer-encoding"):
        return read_coding(head, data, field)
    return 0


cdef int read_host(Head *head, const char *data, const Field *field) noexcept nogil:
    cdef const char *at = data + field.value
    if head.seen_host:
        return refuse(head, 400, b"more than one Host field")
    head.seen_host = True
    if field.value_length and not authority_is_valid(at, at + field.value_length):
        return refuse(head, 400, b"a Host that is not host[:port]")
    if head.target_form != TARGET_ABSOLUTE:  # RFC 9112 3.2.2: an absolute form has the host itself
        head.authority = field.value
        head.authority_length = field.value_length
    return 0


cdef int read_expect(Head *head, const char *data, const Field *field) noexcept nogil:
    if not name_is(data + field.value, field.value_length, b"100-continue"):
        return refuse(head, 417, b"an expectation other than 100-continue")
    # RFC 9110 10.1.1: ignore it on HTTP/1.0.
    head.expect_continue = head.minor
    return 0


# Unknown options are ignored.
cdef int read_connection(Head *head, const char *data, const Field *field) noexcept nogil:
    head.connection |= <uint8_t>connection_options(data + field.value, field.value_length)
    return 0


cdef int read_content_length(Head *head, const char *data, const Field *field) noexcept nogil:
    cdef int64_t value = number_of(data + field.value, field.value_length)
    if head.codings:
        return refuse(head, 400, b"Content-Length beside Transfer-Encoding")
    if head.content_length >= 0:
        return refuse(head, 400, b"more than one Content-Length field")
    if value < 0:
        return refuse(head, 400, b"a Content-Length that is not a number of 1 to 18 digits")
    head.content_length = value
    return 0


cdef int read_coding(Head *head, const char *data, const Field *field) noexcept nogil:
    cdef const char *at = data + field.value
    cdef int codings
    if not head.minor:
        return refuse(head, 400, b"Transfer-Encoding on HTTP/1.0")
    if head.content_length >= 0:
        return refuse(head, 400, b"Content-Length beside Transfer-Encoding")
    codings = read_codings(at, at + field.value_length, head.codings)
    if codings < 0:
        return refuse(head, 400, b"a Transfer-Encoding that does not end with one chunked")
    head.codings = <uint8_t>codings
    return 0


cdef bytes part(const char *data, uint32_t at, uint32_t length):
    return data[at:at + length]


cdef tuple field_pairs(const Head *head, const char *data):
    cdef const Field *field
    cdef int i
    pairs = []
    for i in range(head.fields_count):
        field = &head.fields[i]
        name = part(data, field.name, field.name_length)
        pairs.append((name, part(data, field.value, field.value_length)))
    return tuple(pairs)


cdef object request_head(const Head *head, const char *data):
    path = part(data, head.path, head.path_length)
    if head.target_form == TARGET_ABSOLUTE and not path:
        path = b"/"
    return RequestHead(
        method=part(data, head.method, head.method_length),
        target=part(data, head.target, head.target_length),
        path=path,
        query=part(data, head.query, head.query_length),
        authority=part(data, head.authority, head.authority_length),
        version=(1, head.minor),
        headers=field_pairs(head, data),
        content_length=None if head.content_length < 0 else head.content_length,
        chunked=bool(head.chunked),
        keep_alive=bool(head.keep_alive),
        expect_continue=bool(head.expect_continue),
        upgrade=bool(head.upgrade),
    )


@cython.final
cdef class HeadParser:
    """Read one request head from bytes that arrive in pieces. It belongs to one thread.

    Limits: request_line and field are bytes without the line's CRLF, fields is a number of field lines, and head is
    bytes with the empty line at the end. ValueError: a limit that the parser cannot keep.
    """
    cdef Head head
    cdef HeadLimits limits
    cdef bytearray received

    def __init__(self, *, uint32_t request_line=8192, uint32_t field=8192, uint32_t fields=FIELDS_MAX,
                 uint32_t head=32768):
        if request_line <= METHOD_BYTES or head > 2**31 - 1 or head < request_line + <int64_t>4:
            raise ValueError(f"needed: request_line > {METHOD_BYTES}, and request_line + 4 <= head < 2**31")
        if field > FIELD_BYTES_MAX or fields > FIELDS_MAX:
            raise ValueError(f"field must be at most {FIELD_BYTES_MAX}, and fields at most {FIELDS_MAX}")
        self.limits = HeadLimits(request_line, field, fields, head)
        self.received = bytearray()
        head_reset(&self.head)

    def feed(self, bytes data not None):
        """Take more bytes, and return the RequestHead once it is complete, None before.

        ProtocolError: the head must be refused; every later call raises the same again. ValueError: the head was
        already complete.
        """
        if self.head.length:
            raise ValueError("this parser has read its head: feed what is left over to another")
        if not self.head.refused:
            self.received += data
        # A head is refused at the first byte past its limit, so more bytes are not needed, and the length fits in 32
        # bits.
        cdef size_t length = min(<size_t>len(self.received), <size_t>self.limits.head + 1)
        cdef const char *at = PyByteArray_AS_STRING(self.received)
        cdef int status = head_parse(&self.head, at, <uint32_t>length, &self.limits)
        if status < 0:
            self.received.clear()
            raise ProtocolError(-status, self.head.reason.decode())
        return request_head(&self.head, at) if status else None

    @property
    def leftover(self):
        """The bytes after the head: its body, or the next request. Empty until the head is complete."""
        return bytes(self.received[self.head.length:]) if self.head.length else b""
