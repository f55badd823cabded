# cython: language_level=3
"""The chunked transfer coding: bytes in, pieces of body out (RFC 9112 7.1).

A state machine over single bytes; only the chunks' data is skipped by length. So the result cannot depend on how the
bytes were divided into pieces. Of what it has read, it keeps only a trailer field's name.

It refuses, with these statuses:

400  a chunk size that is not 1 to 16 hex digits, does not fit in 63 bits, or has white space around it
400  chunk extensions of more than 4096 bytes over the whole body, or that do not follow RFC 9112 7.1.1; white
     space before the first ";" is refused too
400  a bare CR or LF anywhere; data that is not followed by CRLF
400  a trailer field that would be refused in a head, or that is Content-Length, Transfer-Encoding or Host:
     these must not be in a trailer (RFC 9110 6.5.1); a client that sends them hopes that they are merged into the
     head
431  more than 100 trailer fields, a trailer line above 8 KiB, or a trailer section above 16 KiB

Trailer fields that are not refused are dropped.
"""
cimport cython
from libc.stdint cimport int16_t, uint8_t
from libc.string cimport memset

from halfsync.http.grammar cimport BYTE_HEX, BYTE_TOKEN, BYTE_VALUE, byte_is, byte_lower, hex_digit, is_blank, name_is

from halfsync.errors import ProtocolError


# What the next byte belongs to. The order matters: from TRAILER_START on, bytes belong to the trailer section.
cdef enum:
    SIZE = 0
    EXTENSION                 # after ";", before its name
    EXTENSION_NAME
    EXTENSION_NAMED           # after its name and white space
    EXTENSION_EQUALS          # after "=", before its value
    EXTENSION_VALUE
    EXTENSION_QUOTED
    EXTENSION_ESCAPE          # in quotes, after a backslash
    EXTENSION_CLOSED          # after the closing quote
    EXTENSION_OVER            # after its value and white space
    SIZE_LF
    DATA
    DATA_CR
    DATA_LF
    TRAILER_START
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    END_LF
    END


cdef inline int refuse(Chunked *chunked, int status, const char *reason) noexcept nogil:
    chunked.refused = <int16_t>status
    chunked.reason = reason
    return -status


cdef void chunked_reset(Chunked *chunked) noexcept nogil:
    memset(chunked, 0, sizeof(Chunked))


cdef int chunked_next(Chunked *chunked, const char *data, size_t length, size_t *used,
                      size_t *data_at, size_t *data_length) noexcept nogil:
    cdef size_t at = 0, piece
    while at < length and not chunked.refused and chunked.state != END:
        if chunked.state == DATA:
            piece = min(<size_t>chunked.remaining, length - at)
            data_at[0] = at
            data_length[0] = piece
            used[0] = at + piece
            chunked.remaining -= piece
            if chunked.remaining == 0:
                chunked.state = DATA_CR
            return CHUNKED_DATA
        if chunked.state >= TRAILER_START:
            take_trailer(chunked, data[at])
        else:
            take_framing(chunked, data[at])
        at += 1
    used[0] = at
    if chunked.refused:
        return -chunked.refused
    return CHUNKED_END if chunked.state == END else CHUNKED_MORE


cdef inline int take_framing(Chunked *chunked, char byte) noexcept nogil:
    if chunked.state == SIZE:
        return take_size(chunked, byte)
    if chunked.state < SIZE_LF:
        return take_extension(chunked, byte)
    if chunked.state == SIZE_LF:
        if byte != c'\n':
            return refuse(chunked, 400, b"a bare CR in a chunk's size line")
        chunked.size_digits = 0
        chunked.state = DATA if chunked.remaining else TRAILER_START
    elif chunked.state == DATA_CR:
        if byte != c'\r':
            return refuse(chunked, 400, b"chunk data that is longer than its size")
        chunked.state = DATA_LF
    else:
        if byte != c'\n':
            return refuse(chunked, 400, b"chunk data that is not followed by CRLF")
        chunked.state = SIZE
    return 0


cdef inline int take_size(Chunked *chunked, char byte) noexcept nogil:
    if byte_is(byte, BYTE_HEX):
        # Below 2**59, one more digit still fits in 63 bits.
        if chunked.size_digits == CHUNK_SIZE_DIGITS or chunked.remaining >> 59:
            return refuse(chunked, 400, b"a chunk size that is too large")
        chunked.remaining = chunked.remaining << 4 | hex_digit(byte)
        chunked.size_digits += 1
    elif chunked.size_digits and byte == c'\r':
        chunked.state = SIZE_LF
    elif chunked.size_digits and byte == c';':
        chunked.state = EXTENSION
        return count_extension(chunked)
    else:
        return refuse(chunked, 400, b"a chunk size that is not hex digits")
    return 0


cdef inline int count_extension(Chunked *chunked) noexcept nogil:
    chunked.extension += 1
    if chunked.extension > CHUNK_EXTENSION_BYTES:
        return refuse(chunked, 400, b"chunk extensions that are too long")
    return 0


# No code reads an extension. But a proxy that reads its quotes in another way may see another end of the line.
cdef int take_extension(Chunked *chunked, char byte) noexcept nogil:
    cdef int state = extension_next(chunked.state, byte)
    if state == SIZE:
        return refuse(chunked, 400, b"a chunk extension that is not a name, or a name and a value")
    chunked.state = <uint8_t>state
    return 0 if state == SIZE_LF else count_extension(chunked)


# RFC 9112 7.1.1: *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] ), after the first ";". Returns SIZE if
# the byte is not allowed there.
cdef int extension_next(int state, char byte) noexcept nogil:
    if state == EXTENSION_QUOTED and (byte == c'"' or byte == c'\\'):
        return EXTENSION_CLOSED if byte == c'"' else EXTENSION_ESCAPE
    if state == EXTENSION_QUOTED or state == EXTENSION_ESCAPE:
        return EXTENSION_QUOTED if byte_is(byte, BYTE_VALUE) else SIZE
    if state == EXTENSION or state == EXTENSION_NAME:
        if byte_is(byte, BYTE_TOKEN):
            return EXTENSION_NAME
    elif state == EXTENSION_EQUALS or state == EXTENSION_VALUE:
        if byte_is(byte, BYTE_TOKEN):
            return EXTENSION_VALUE
        if byte == c'"' and state == EXTENSION_EQUALS:
            return EXTENSION_QUOTED
    if state == EXTENSION or state == EXTENSION_EQUALS:
        return state if is_blank(byte) else SIZE
    # A name or a value has ended.
    if byte == c';':
        return EXTENSION
    if byte == c'=' and state <= EXTENSION_NAMED:
        return EXTENSION_EQUALS
    if is_blank(byte):
        return EXTENSION_NAMED if state <= EXTENSION_NAMED else EXTENSION_OVER
    if byte == c'\r' and state != EXTENSION_NAMED and state != EXTENSION_OVER:
        return SIZE_LF
    return SIZE


cdef int take_trailer(Chunked *chunked, char byte) noexcept nogil:
    chunked.trailer += 1
    if chunked.trailer > TRAILER_BYTES:
        return refuse(chunked, 431, b"a trailer section that is too long")
    if chunked.state == TRAILER_LF or chunked.state == END_LF:
        if byte != c'\n':
            return refuse(chunked, 400, b"a bare CR in a trailer line")
        chunked.state = END if chunked.state == END_LF else TRAILER_START
        return 0
    if chunked.state == TRAILER_START:
        if byte == c'\r':
            chunked.state = END_LF
            return 0
        if chunked.fields == TRAILER_FIELDS:
            return refuse(chunked, 431, b"too many trailer fields")
        chunked.fields += 1
        chunked.line = chunked.name_length = 0
        chunked.state = TRAILER_NAME
    elif chunked.state == TRAILER_VALUE and byte == c'\r':
        chunked.state = TRAILER_LF
        return 0
    chunked.line += 1
    if chunked.line > TRAILER_LINE_BYTES:
        return refuse(chunked, 431, b"a trailer line that is too long")
    if chunked.state == TRAILER_NAME:
        return take_trailer_name(chunked, byte)
    if not byte_is(byte, BYTE_VALUE):
        return refuse(chunked, 400, b"a control character in a trailer value")
    return 0


cdef int take_trailer_name(Chunked *chunked, char byte) noexcept nogil:
    cdef int length = chunked.name_length
    if byte_is(byte, BYTE_TOKEN):
        if length < TRAILER_NAME_BYTES:
            chunked.name[length] = byte_lower(byte)
        if length <= TRAILER_NAME_BYTES:
            chunked.name_length += 1
        return 0
    if byte != c':' or length == 0:
        return refuse(chunked, 400, b"a trailer line that does not begin with a name and a colon")
    if name_is(chunked.name, length, b"host") or name_is(chunked.name, length, b"content-length") \
            or name_is(chunked.name, length, b"transfer-encoding"):
        return refuse(chunked, 400, b"a framing field in the trailer")
    chunked.state = TRAILER_VALUE
    return 0


@cython.final
cdef class ChunkedParser:
    """Read one chunked body from bytes that arrive in pieces. It belongs to one thread."""
    cdef Chunked chunked
    cdef bytes rest

    def __init__(self):
        self.rest = b""
        chunked_reset(&self.chunked)

    def feed(self, bytes data not None):
        """Take more bytes, and return the pieces of the body in them, without empty ones.

        ProtocolError: the body must be refused; every later call raises the same again. ValueError: the body had
        already ended.
        """
        cdef const char *start = data
        cdef size_t at = 0, used = 0, piece_at = 0, piece_length = 0, length = len(data)
        cdef int event = CHUNKED_DATA
        if self.chunked.state == END:
            raise ValueError("this parser has read its body: feed what is left over to another")
        pieces = []
        while event == CHUNKED_DATA:
            event = chunked_next(&self.chunked, start + at, length - at, &used, &piece_at, &piece_length)
            if event == CHUNKED_DATA:
                pieces.append(start[at + piece_at:at + piece_at + piece_length])
            at += used
        if event < 0:
            raise ProtocolError(-event, self.chunked.reason.decode())
        self.rest = start[at:length]
        return pieces

    @property
    def finished(self):
        """True once the last chunk and the trailer section have ended."""
        return self.chunked.state == END

    @property
    def leftover(self):
        """The bytes that came after the body. Empty until the body has ended."""
        return self.rest
