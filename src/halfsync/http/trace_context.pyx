# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""The trace that a request belongs to, by its field traceparent (W3C Trace Context, 3.2).

The field is VERSION-TRACE-PARENT-FLAGS, in lower-case hexadecimal digits: 2, 32, 16 and 2 of them. A version above 00
may have more behind another dash; ff is none. An id of zeros only is invalid. The application gets the field as it was
sent, valid or not.
"""
from libc.stdint cimport uint8_t, uint32_t

from halfsync.http.parser cimport Field, field_is

cdef enum:
    VERSION_AT = 0
    TRACE_AT = 3
    PARENT_AT = 36
    FLAGS_AT = 53
    LENGTH = 55               # of version 00, and the least of later ones


cdef inline uint8_t not_a_digit(uint8_t byte) noexcept nogil:
    """Return 0 for a lower-case hexadecimal digit, else 1. What is below a range wraps to above it."""
    return (<uint8_t> (byte - c"0") > 9) & (<uint8_t> (byte - c"a") > 5)


cdef inline bint are_digits(const char *text, uint32_t length, bint may_be_zero) noexcept nogil:
    """Tell whether all bytes are lower-case hexadecimal digits, and not all of them 0 unless they may be.

    It looks at all of them without a branch, so that the compiler can take many at once.
    """
    cdef uint8_t wrong = 0
    cdef uint8_t digits = 0
    cdef uint32_t position
    for position in range(length):
        wrong |= not_a_digit(<uint8_t> text[position])
        digits |= <uint8_t> (text[position] ^ c"0")
    return wrong == 0 and (may_be_zero or digits != 0)


cdef bint is_traceparent(const char *text, uint32_t length) noexcept nogil:
    """Tell whether a value is valid, or of a later version and begins like a valid one."""
    cdef bint is_first
    if length < LENGTH or text[TRACE_AT - 1] != c"-" or text[PARENT_AT - 1] != c"-" or text[FLAGS_AT - 1] != c"-":
        return False
    is_first = text[VERSION_AT] == c"0" and text[VERSION_AT + 1] == c"0"
    if length > LENGTH and (is_first or text[LENGTH] != c"-"):
        return False
    if text[VERSION_AT] == c"f" and text[VERSION_AT + 1] == c"f":
        return False
    return (
        are_digits(text + VERSION_AT, 2, True) and are_digits(text + TRACE_AT, TRACE_ID_BYTES, False)
        and are_digits(text + PARENT_AT, 16, False) and are_digits(text + FLAGS_AT, 2, True)
    )


cdef const char *trace_id_of(const Head *head, const char *data) noexcept nogil:
    """Return the trace id in the head. See the .pxd."""
    cdef const Field *found = NULL
    cdef const Field *field
    cdef uint32_t position
    for position in range(head.fields_count):
        field = &head.fields[position]
        if field_is(data, field, b"traceparent"):
            if found != NULL:
                return NULL
            found = field
    if found == NULL or not is_traceparent(data + found.value, found.value_length):
        return NULL
    return data + found.value + TRACE_AT
