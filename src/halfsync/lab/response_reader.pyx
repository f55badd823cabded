"""Reads responses of HTTP/1.1 for the load generator: where one ends, its status, and whether its connection stays.

The rules are those of RFC 9112: section 2.2 for interim responses and lines, 6.3 for the length of a body, 7.1 for
chunks, 9.3 for whether the connection stays. A response to HEAD is not among them, since none is asked for. It is
strict: lines end with CRLF. No code is shared with the server's own parser, so that a fault of one cannot hide in both.

A head that comes in one piece, as nearly all do, is read where it lies. Of one that does not, a copy is kept.
"""
from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy

cdef extern from "<string.h>" nogil:
    void *memmem(const void *where, size_t length, const void *what, size_t what_length)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *one, const char *other, size_t length)

cdef enum:
    HEAD_STEP = 1024
    CR = 13
    LF = 10


cdef void response_begin(ResponseReader *reader) noexcept nogil:
    """Make ready for the next response."""
    reader.state = READ_HEAD
    reader.head_bytes = 0


cdef void response_free(ResponseReader *reader) noexcept nogil:
    """Free what was kept of a head."""
    free(reader.head)
    reader.head = NULL
    reader.head_bytes = reader.head_room = 0


cdef size_t response_read(ResponseReader *reader, const char *data, size_t length) noexcept nogil:
    """Read a piece, and return how many of its bytes belong to the response.

    That is all of them until the state is READ_DONE. In READ_UNTIL_CLOSE the end of the connection is its end.
    """
    cdef size_t at = 0
    while at < length and reader.state < READ_DONE:
        if reader.state == READ_HEAD:
            at += read_head(reader, data + at, length - at)
        elif reader.state == READ_LENGTH or reader.state == READ_CHUNK_DATA:
            at += read_counted(reader, length - at)
        elif reader.state == READ_UNTIL_CLOSE:
            at = length
        else:
            read_framing(reader, data[at])
            at += 1
    return at


cdef size_t read_counted(ResponseReader *reader, size_t length) noexcept nogil:
    """Pass over what a length announced."""
    cdef size_t taken = <size_t> min(<int64_t> length, reader.left)
    reader.left -= taken
    if reader.left == 0:
        reader.state = READ_DONE if reader.state == READ_LENGTH else READ_CHUNK_END
    return taken


cdef int hex_digit(char byte) noexcept nogil:
    """Return the value of a digit, or -1."""
    if c'0' <= byte <= c'9':
        return byte - c'0'
    if c'a' <= (byte | 32) <= c'f':
        return (byte | 32) - c'a' + 10
    return -1


cdef void read_framing(ResponseReader *reader, char byte) noexcept nogil:
    """Read one byte of what stands around chunks. A CR is passed over: the LF ends the line."""
    if byte == CR and reader.state != READ_CHUNK_SIZE:
        return
    if reader.state == READ_CHUNK_SIZE:
        read_chunk_size(reader, byte)
    elif reader.state == READ_CHUNK_EXTENSION:
        if byte == LF:
            begin_chunk(reader)
    elif reader.state == READ_CHUNK_END:
        reader.state = READ_CHUNK_SIZE if byte == LF else READ_MALFORMED
        reader.left = 0
        reader.digits = False
    elif reader.state == READ_TRAILER:
        reader.state = READ_DONE if byte == LF else READ_TRAILER_LINE
    elif byte == LF:
        reader.state = READ_TRAILER


cdef void read_chunk_size(ResponseReader *reader, char byte) noexcept nogil:
    cdef int digit = hex_digit(byte)
    if digit >= 0:
        if reader.left > INT64_MAX >> 5:
            reader.state = READ_MALFORMED
            return
        reader.left = (reader.left << 4) + digit
        reader.digits = True
    elif not reader.digits or byte not in (CR, c';', c' ', c'\t'):
        reader.state = READ_MALFORMED
    else:
        reader.state = READ_CHUNK_EXTENSION


cdef void begin_chunk(ResponseReader *reader) noexcept nogil:
    reader.state = READ_CHUNK_DATA if reader.left > 0 else READ_TRAILER


cdef size_t read_head(ResponseReader *reader, const char *data, size_t length) noexcept nogil:
    """Read a head, or keep what there is of it. Returns how many bytes were of it."""
    cdef const char *end
    cdef size_t before = reader.head_bytes
    cdef size_t taken
    if before == 0:
        end = <const char *> memmem(data, length, b"\r\n\r\n", 4)
        if end != NULL:
            parse_head(reader, data, end + 2)
            return end + 4 - data
    if not keep_head(reader, data, length):
        reader.state = READ_MALFORMED
        return length
    taken = before - 3 if before > 3 else 0
    end = <const char *> memmem(reader.head + taken, reader.head_bytes - taken, b"\r\n\r\n", 4)
    if end == NULL:
        return length
    taken = end + 4 - reader.head - before
    reader.head_bytes = 0
    parse_head(reader, reader.head, end + 2)
    return taken


cdef bint keep_head(ResponseReader *reader, const char *data, size_t length) noexcept nogil:
    """Add a piece to what is kept. Returns whether there was room."""
    cdef char *head
    cdef size_t wanted = reader.head_bytes + length
    if wanted > reader.head_room:
        if wanted > 2 * RESPONSE_HEAD_BYTES:
            return False
        wanted = (wanted | (HEAD_STEP - 1)) + 1
        head = <char *> realloc(reader.head, wanted)
        if head == NULL:
            return False
        reader.head, reader.head_room = head, <uint32_t> wanted
    memcpy(reader.head + reader.head_bytes, data, length)
    reader.head_bytes += <uint32_t> length
    return True


ctypedef struct Framing:
    int64_t length                # -1: none was given
    bint has_coding, chunked, says_close, says_keep
    bint malformed


cdef void parse_head(ResponseReader *reader, const char *head, const char *end) noexcept nogil:
    """Read a head: whole lines, each with its CRLF, without the empty one after them."""
    cdef Framing framing
    cdef const char *line
    cdef const char *stop
    framing.length = -1
    framing.has_coding = framing.chunked = framing.says_close = framing.says_keep = framing.malformed = False
    if end - head > RESPONSE_HEAD_BYTES or not parse_status(reader, head, end):
        reader.state = READ_MALFORMED
        return
    line = <const char *> memchr(head, LF, end - head) + 1
    while line < end:
        stop = <const char *> memchr(line, LF, end - line)
        parse_field(&framing, line, stop - 1)
        line = stop + 1
    if framing.malformed:
        reader.state = READ_MALFORMED
        return
    if framing.says_close or (head[7] == c'0' and not framing.says_keep):
        reader.keeps = False
    begin_body(reader, &framing)


cdef bint parse_status(ResponseReader *reader, const char *head, const char *end) noexcept nogil:
    """Read `HTTP/1.1 200 …`. Returns whether it is a status line."""
    cdef int at
    if end - head < 14 or strncasecmp(head, b"HTTP/1.", 7) != 0 or head[8] != c' ':
        return False
    reader.status = 0
    for at in range(9, 12):
        if not c'0' <= head[at] <= c'9':
            return False
        reader.status = reader.status * 10 + (head[at] - c'0')
    reader.keeps = True
    return reader.status >= 100 and (head[12] == c' ' or head[12] == CR)


cdef void begin_body(ResponseReader *reader, const Framing *framing) noexcept nogil:
    """Choose what follows a head: RFC 9112, section 6.3."""
    if reader.status == 101:
        reader.state = READ_MALFORMED  # nobody asked for another protocol
    elif reader.status < 200:
        reader.state = READ_HEAD  # an interim response: the other one follows
    elif reader.status == 204 or reader.status == 304:
        reader.state = READ_DONE
    elif framing.has_coding:
        reader.left = 0
        reader.digits = False
        reader.state = READ_CHUNK_SIZE if framing.chunked else READ_UNTIL_CLOSE
    elif framing.length >= 0:
        reader.left = framing.length
        reader.state = READ_LENGTH if framing.length > 0 else READ_DONE
    else:
        reader.state = READ_UNTIL_CLOSE
    if reader.state == READ_UNTIL_CLOSE:
        reader.keeps = False


cdef void parse_field(Framing *framing, const char *line, const char *end) noexcept nogil:
    """Read a field if it says something of the length or of the connection. `end` is its CR."""
    cdef char first = line[0] | 32
    cdef const char *value
    if first != c'c' and first != c't':
        return
    value = <const char *> memchr(line, c':', end - line)
    if value == NULL:
        framing.malformed = True
        return
    if is_name(line, value, b"content-length", 14):
        parse_length(framing, value + 1, end)
    elif is_name(line, value, b"transfer-encoding", 17):
        framing.has_coding = True
        framing.chunked = ends_with(value + 1, end, b"chunked", 7)
    elif is_name(line, value, b"connection", 10):
        if has_token(value + 1, end, b"close", 5):
            framing.says_close = True
        elif has_token(value + 1, end, b"keep-alive", 10):
            framing.says_keep = True


cdef inline bint is_name(const char *line, const char *colon, const char *name, size_t length) noexcept nogil:
    return <size_t> (colon - line) == length and strncasecmp(line, name, length) == 0


cdef inline bint is_blank(char byte) noexcept nogil:
    return byte == c' ' or byte == c'\t'


cdef void parse_length(Framing *framing, const char *value, const char *end) noexcept nogil:
    cdef int64_t length = 0
    while value < end and is_blank(value[0]):
        value += 1
    while value < end and is_blank(end[-1]):
        end -= 1
    if value == end or end - value > 18:
        framing.malformed = True
        return
    while value < end:
        if not c'0' <= value[0] <= c'9':
            framing.malformed = True
            return
        length = length * 10 + (value[0] - c'0')
        value += 1
    if framing.length >= 0 and framing.length != length:
        framing.malformed = True
    framing.length = length


cdef bint ends_with(const char *value, const char *end, const char *token, size_t length) noexcept nogil:
    """Return whether the last member of a list is this one."""
    while value < end and is_blank(end[-1]):
        end -= 1
    if <size_t> (end - value) < length or strncasecmp(end - length, token, length) != 0:
        return False
    end -= length
    return end == value or end[-1] == c',' or is_blank(end[-1])


cdef bint has_token(const char *value, const char *end, const char *token, size_t length) noexcept nogil:
    """Return whether a list has a member."""
    cdef const char *comma
    while value < end:
        comma = <const char *> memchr(value, c',', end - value)
        if comma == NULL:
            comma = end
        while value < comma and is_blank(value[0]):
            value += 1
        if ends_with(value, comma, token, length) and strncasecmp(value, token, length) == 0:
            return True
        value = comma + 1
    return False
