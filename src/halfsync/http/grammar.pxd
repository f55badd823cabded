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
# it has two colons: no route depends on more. A port may be empty, as the RFC allows.
cdef inline bint authority_is_valid(const char *at, const char *end) noexcept nogil:
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
        return True
    if at[0] != c':' or end - at > 6:
        return False
    at += 1
    while at < end and byte_is(at[0], BYTE_DIGIT):
        port = port * 10 + (at[0] - c'0')
        at += 1
    return at == end and port <= 65535


# What read_codings has seen.
cdef enum:
    CODINGS_CHUNKED = 1       # the last coding is chunked
    CODINGS_OTHER = 2         # there is one that is not


# Read one Transfer-Encoding field; seen: what those before it said, since all are one list (RFC 9110 5.3). Returns
# CODINGS_ bits, or -1 for a list that nobody may send: with an empty element, or with something behind chunked.
cdef inline int read_codings(const char *at, const char *end, int seen) noexcept nogil:
    cdef const char *word
    while True:
        while at < end and is_blank(at[0]):
            at += 1
        word = at
        while at < end and byte_is(at[0], BYTE_TOKEN):
            at += 1
        if at == word or seen & CODINGS_CHUNKED:
            return -1
        seen |= CODINGS_CHUNKED if at - word == 7 and word_is(word, b"chunked", 7) else CODINGS_OTHER
        while at < end and is_blank(at[0]):
            at += 1
        if at < end and at[0] == c';':
            # RFC 9112 7.1: parameters of chunked are an error. Those of other codings are not read.
            if seen & CODINGS_CHUNKED:
                return -1
            at = codings_parameters_end(at, end)
        if at == end:
            return seen
        if at[0] != c',':
            return -1
        at += 1


# Where the parameters of a coding end: at a comma that is in no quoted string, or at the end.
cdef inline const char *codings_parameters_end(const char *at, const char *end) noexcept nogil:
    cdef bint quoted = False
    while at < end and (quoted or at[0] != c','):
        if at[0] == c'"':
            quoted = not quoted
        elif quoted and at[0] == c'\\' and at + 1 < end:
            at += 1
        at += 1
    return at
