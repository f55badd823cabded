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

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef uint8_t hs_id_bytes __attribute__((vector_size(16)));
    typedef uint64_t hs_id_words __attribute__((vector_size(16)));

    /* Return the hexadecimal digits of 16 numbers below 16: "0" + n, and 39 more from 10 on. */
    static inline hs_id_bytes hs_id_digits(hs_id_words numbers) {
        hs_id_bytes each = (hs_id_bytes)numbers;
        return each + '0' + ((hs_id_bytes)(each > 9) & 39);
    }

    /* Write 128 random bits as 32 hexadecimal digits. Their order does not matter. */
    static inline void hs_write_digits(char *out, const uint64_t *words) {
        const hs_id_words low = {0x0f0f0f0f0f0f0f0f, 0x0f0f0f0f0f0f0f0f};
        hs_id_words both = {words[0], words[1]};
        hs_id_bytes digits[2] = {hs_id_digits(both & low), hs_id_digits(both >> 4 & low)};
        memcpy(out, digits, sizeof(digits));
    }
    """
    void write_digits "hs_write_digits" (char *out, const uint64_t *words) nogil


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


cdef inline void make_id(char *id) noexcept nogil:
    """Make an id of MADE_ID_BYTES."""
    cdef uint64_t[RANDOM_WORDS] words
    random_words(words)
    write_digits(id, words)


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
