"""The id of a request: taken from a field that a trusted proxy has set, or made here.

There is no standard for such a field. Of several the last one counts: proxies that add the field, and do not replace
what a client has sent, add it behind that. An id is a token (RFC 9110 5.6.2) that may also have : / = and @, which ids
of common proxies have. So an id needs no quotes in any log, and no escapes in a response. One that is made has 128
random bits, as 32 hexadecimal digits.
"""
cimport cython

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from halfsync.http.grammar cimport BYTE_TOKEN, byte_is, word_is
from halfsync.http.parser cimport Field
from halfsync.http.trust cimport trust_has
from halfsync.native.random_bits cimport RANDOM_WORDS, random_words


@cython.final
cdef class RequestIds:
    """Where the ids of requests come from. The holder of a pointer to its `source` must keep it alive."""

    def __init__(self, str name not None, TrustedPeers trusted):
        """name: of the field. trusted: the peers whose ids are taken; None: none are. Raises ValueError."""
        cdef bytes lower = name.lower().encode("ascii")
        if not 0 < len(lower) <= ID_FIELD_BYTES:
            raise ValueError(f"the name of a field is too long: {name!r}")
        self.trusted = trusted
        self.source.trust = NULL if trusted is None else &trusted.trust
        self.source.name_length = len(lower)
        memcpy(self.source.name, <const char *> lower, self.source.name_length)


cdef inline bint is_id(const char *text, uint32_t length) noexcept nogil:
    """Tell whether a text may be the id of a request."""
    cdef uint32_t position
    if not 0 < length <= REQUEST_ID_BYTES:
        return False
    for position in range(length):
        if not byte_is(text[position], BYTE_TOKEN) and text[position] not in (c":", c"/", c"=", c"@"):
            return False
    return True


cdef inline uint64_t hex_digits(uint64_t nibbles) noexcept nogil:
    """Return the hexadecimal digits of eight numbers below 16, each in its byte: "0" + n, and 39 more from 10 on."""
    cdef uint64_t ones = <uint64_t> 0x0101010101010101
    return nibbles + ones * c"0" + ((nibbles + ones * 6) >> 4 & ones) * 39


cdef inline void make_id(char *id) noexcept nogil:
    """Make an id of MADE_ID_BYTES."""
    cdef uint64_t low = <uint64_t> 0x0f0f0f0f0f0f0f0f
    cdef uint64_t[RANDOM_WORDS] words
    cdef uint64_t[2 * RANDOM_WORDS] digits
    cdef int position
    random_words(words)
    for position in range(RANDOM_WORDS):  # the order of random digits does not matter
        digits[2 * position] = hex_digits(words[position] & low)
        digits[2 * position + 1] = hex_digits(words[position] >> 4 & low)
    memcpy(id, digits, MADE_ID_BYTES)


cdef uint32_t request_id_of(
    const IdSource *source, const Head *head, const char *data, const uint8_t *address, int address_length, char *id,
    uint8_t *is_sent
) noexcept nogil:
    """Write the id of a request. See the .pxd."""
    cdef const Field *found = NULL
    cdef const Field *field
    cdef uint32_t position
    for position in range(head.fields_count):
        field = &head.fields[position]
        if field.name_length == source.name_length and word_is(data + field.name, source.name, field.name_length):
            found = field
    is_sent[0] = found != NULL
    if (
        found != NULL and source.trust != NULL and is_id(data + found.value, found.value_length)
        and trust_has(source.trust, address, address_length)
    ):
        memcpy(id, data + found.value, found.value_length)
        return found.value_length
    make_id(id)
    return MADE_ID_BYTES
