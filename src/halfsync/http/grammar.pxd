# The grammar that the parsers share: what a byte, a word, an authority and a list of transfer codings may be.
from libc.stdint cimport uint8_t


cdef extern from "ascii.h" nogil:
    enum:
        BYTE_TOKEN
        BYTE_TARGET
        BYTE_VALUE
        BYTE_HOST
        BYTE_DIGIT
        BYTE_HEX
    bint byte_is(char byte, uint8_t kind)
    char byte_lower(char byte)
    const char *value_end(const char *at, const char *end)


cdef inline bint is_blank(char byte) noexcept nogil:
    return byte == c' ' or byte == c'\t'


# True where the bytes are this word, whatever their case; lower must be in lower case.
cdef inline bint word_is(const char *at, const char *lower, size_t length) noexcept nogil:
    cdef size_t i
    for i in range(length):
        if byte_lower(at[i]) != lower[i]:
            return False
    return True


# host[:port] of RFC 3986 3.2 without userinfo. Of an IPv6 literal only the characters are checked, and that
# it has two colons: no route depends on more. A port may be empty, as the RFC allows, unless it is needed.
cdef inline bint authority_is_valid(const char *at, const char *end, bint port_needed) noexcept nogil:
    cdef const char *host = at
    cdef int colons = 0, port = 0
    if at < end and at[0] == c'[':
        at += 1
        while at < end and (byte_is(at[0], BYTE_HEX) or at[0] == c':' or at[0] == c'.'):
            colons += at[0] == c':'
            at += 1
        if at == end or at[0] != c']' or colons < 2:
            return False
        at += 1
    else:
        while at < end and byte_is(at[0], BYTE_HOST):
            if at[0] == c'%':
                if end - at < 3 or not byte_is(at[1], BYTE_HEX) or not byte_is(at[2], BYTE_HEX):
                    return False
                at += 2
            at += 1
        if at == host:
            return False
    if at == end:
        return not port_needed
    if at[0] != c':' or end - at > 6:
        return False
    at += 1
    if at == end:
        return not port_needed
    while at < end and byte_is(at[0], BYTE_DIGIT):
        port = port * 10 + (at[0] - c'0')
        at += 1
    return at == end and port <= 65535


# 0 for chunked alone, 501 for a list with a coding that we do not have, 400 for a list that nobody may send.
cdef inline int coding_status(const char *at, const char *end) noexcept nogil:
    cdef const char *word
    cdef bint chunked = False, other = False
    while True:
        while at < end and is_blank(at[0]):
            at += 1
        word = at
        while at < end and byte_is(at[0], BYTE_TOKEN):
            at += 1
        if at == word or chunked:
            return 400
        chunked = at - word == 7 and word_is(word, b"chunked", 7)
        other = other or not chunked
        while at < end and is_blank(at[0]):
            at += 1
        if at < end and at[0] == c';':
            # RFC 9112 7.1: parameters of chunked are an error. Those of other codings are not read.
            if chunked:
                return 400
            while at < end and at[0] != c',':
                at += 1
        if at == end:
            return 501 if other else 0
        if at[0] != c',':
            return 400
        at += 1
