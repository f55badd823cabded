"""Read X-Request-Start, in which a proxy says when it received a request.

There is no standard. The field is a time since 1970, with or without "t=" before it: as seconds, which may have a
fraction (nginx's ${msec}), milliseconds (Heroku), microseconds (HAProxy, Apache's %t) or nanoseconds. The units are
told apart by their size. Of several fields the first counts, which is of the proxy that is nearest to the client.
"""
from libc.stdint cimport INT64_MAX

from halfsync.http.grammar cimport BYTE_DIGIT, byte_is
from halfsync.http.parser cimport Field, field_is

cdef int64_t SECOND = 1000000000
cdef int64_t DAY_NS = 24 * 60 * 60 * SECOND
cdef int64_t MILLIONTH = 1000000
# Below these a number counts seconds, milliseconds and microseconds: each is a time in the year 5138.
cdef int64_t SECONDS_MOST = 100000000000
cdef int64_t MILLISECONDS_MOST = SECONDS_MOST * 1000
cdef int64_t MICROSECONDS_MOST = MILLISECONDS_MOST * 1000


cdef bint read_time(const char *at, const char *end, int64_t *time_ns) noexcept nogil:
    """Read a time in any of the units, as ns since 1970. Returns False if it is none."""
    cdef int64_t whole = 0, scale
    cdef double fraction = 0, weight = 0.1
    cdef const char *start
    if end - at > 2 and at[0] == c"t" and at[1] == c"=":
        at += 2
    start = at
    while at < end and byte_is(at[0], BYTE_DIGIT):
        if whole > (INT64_MAX - 9) // 10:  # past the year 2262, in nanoseconds
            return False
        whole = whole * 10 + (at[0] - c"0")
        at += 1
    if at == start:
        return False
    if at < end and at[0] == c".":
        at += 1
        while at < end and byte_is(at[0], BYTE_DIGIT):
            fraction += (at[0] - c"0") * weight
            weight /= 10
            at += 1
    if at < end:
        return False
    scale = (
        SECOND if whole < SECONDS_MOST else MILLIONTH if whole < MILLISECONDS_MOST
        else 1000 if whole < MICROSECONDS_MOST else 1
    )
    time_ns[0] = whole * scale + <int64_t> (fraction * scale)
    return True


cdef bint request_start_age(const Head *head, const char *data, int64_t now, int64_t *age_ns) noexcept nogil:
    """Read the field. See the declaration."""
    cdef const Field *field
    cdef const char *at
    cdef int64_t time_ns
    cdef int position
    for position in range(head.fields_count):
        field = &head.fields[position]
        if field_is(data, field, b"x-request-start"):
            at = data + field.value
            if not read_time(at, at + field.value_length, &time_ns):
                return False
            age_ns[0] = now - time_ns
            return -DAY_NS < age_ns[0] < DAY_NS
    return False
