"""What a request for a file asks: the fields that matter, and what follows from its conditions (RFC 9110 13 and 14)."""
from libc.string cimport memcmp

from halfsync.http.parser cimport Head, field_is
from halfsync.static.conditions cimport RANGE_WHOLE, date_read, range_read, tags_match


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


cdef void read_asked(FileRequest *request) noexcept nogil:
    """Set the bits of the fields that were sent."""
    cdef const Head *head = &request.exchange.head
    cdef uint32_t position
    request.seen = 0
    for position in range(head.fields_count):
        request.seen |= asked_by(request.exchange.data, &head.fields[position])


cdef const Field *next_field(const FileRequest *request, int asked, uint32_t *position) noexcept nogil:
    """Return the next field of a kind from a position on, or NULL. Moves the position past it."""
    cdef const Head *head = &request.exchange.head
    cdef const Field *field
    while position[0] < head.fields_count:
        field = &head.fields[position[0]]
        position[0] += 1
        if asked_by(request.exchange.data, field) == asked:
            return field
    return NULL


cdef const Field *only_field(const FileRequest *request, int asked) noexcept nogil:
    """Return the field of a kind that may be sent once, or NULL if it was not sent, or was sent more than once."""
    cdef uint32_t position = 0
    cdef const Field *field
    if not request.seen & asked:
        return NULL
    field = next_field(request, asked, &position)
    return field if next_field(request, asked, &position) == NULL else NULL


cdef bint any_tag_matches(const FileRequest *request, int asked, bint weak) noexcept nogil:
    """Tell whether the file's entity tag is in a list of any field of a kind."""
    cdef uint32_t position = 0
    cdef const Field *field
    while True:
        field = next_field(request, asked, &position)
        if field == NULL:
            return False
        if tags_match(request.exchange.data + field.value, field.value_length, request.tag, request.tag_length, weak):
            return True


cdef bint date_of(const FileRequest *request, int asked, int64_t *second) noexcept nogil:
    """Read the date of a field. Return False if none was sent, or it is not a date."""
    cdef const Field *field = only_field(request, asked)
    return field != NULL and date_read(request.exchange.data + field.value, field.value_length, second)


cdef int precondition(const FileRequest *request) noexcept nogil:
    """Return 0 to continue, 304, or 412, in the order of RFC 9110 13.2.2."""
    cdef int64_t second = 0
    if request.seen & ASKED_IF_MATCH:
        if not any_tag_matches(request, ASKED_IF_MATCH, False):
            return 412
    elif date_of(request, ASKED_IF_UNMODIFIED_SINCE, &second) and request.stat.modified_s > second:
        return 412
    if request.seen & ASKED_IF_NONE_MATCH:
        if any_tag_matches(request, ASKED_IF_NONE_MATCH, True):
            return 304
    elif date_of(request, ASKED_IF_MODIFIED_SINCE, &second) and request.stat.modified_s <= second:
        return 304
    return 0


cdef int wanted_range(const FileRequest *request, int64_t *first, int64_t *length) noexcept nogil:
    """Return which part of the file is wanted: a RangeKind. Only GET has ranges (RFC 9110 14.2).

    With If-Range, a part is sent only if the field has a single entity tag that matches in a strong comparison. A date
    never matches: a file may have changed twice in that second, or have been given another file's time, and this server
    cannot detect that (RFC 9110 13.1.5, 8.8.2.2).
    """
    cdef const Field *field
    cdef const Field *condition
    if request.is_head:
        return RANGE_WHOLE
    field = only_field(request, ASKED_RANGE)
    if field == NULL:
        return RANGE_WHOLE
    if request.seen & ASKED_IF_RANGE:
        condition = only_field(request, ASKED_IF_RANGE)
        if (
            condition == NULL or condition.value_length != request.tag_length
            or memcmp(request.exchange.data + condition.value, request.tag, request.tag_length) != 0
        ):
            return RANGE_WHOLE
    return range_read(request.exchange.data + field.value, field.value_length, request.stat.size, first, length)
