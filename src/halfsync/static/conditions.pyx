"""Read the conditions, ranges and codings of a request for a file. The caller decides what follows from them.

HTTP-dates are RFC 9110 5.6.7, entity tags 8.8.3, byte ranges 14.1.2, Accept-Encoding 12.5.3. A malformed field counts
as not sent, as those sections require.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcmp

from halfsync.http.grammar cimport (
    BYTE_DIGIT, BYTE_TOKEN, byte_is, digits_end, is_blank, name_is, number_of, word_is,
)
from halfsync.http.response_head cimport date_now, write_date

cdef extern from *:
    """
    static _Thread_local long long hs_text_second = -1;
    static _Thread_local char hs_text[80];
    """
    long long hs_text_second
    char hs_text[80]

cdef enum:
    PIVOT_YEARS = 50  # a year of two digits further ahead is of the last century (RFC 9110 5.6.7)

cdef int64_t BEYOND = 1000000000000000000  # stands for every larger number: no file has so many bytes

cdef const char *MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
cdef const char *DAYS = b"SunMonTueWedThuFriSat"
cdef const char *DAY_ENDS = b"day\0\0\0day\0\0\0sday\0\0nesdayrsday\0day\0\0\0urday\0"


cdef int name_at(const char *at, const char *names, int count) noexcept nogil:
    """Return the position of this name among `count` names of three letters, or -1."""
    cdef int position
    for position in range(count):
        if memcmp(at, names + 3 * position, 3) == 0:
            return position
    return -1


cdef int64_t days_before(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Return the days from 1970-01-01 to a date. The year begins in March, so that a leap day is its last."""
    cdef int64_t shifted = year if month > 2 else year - 1
    cdef int64_t of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + of_year - 719468


cdef bint second_of(int64_t year, int64_t month, int64_t day, const char *time, int64_t *second) noexcept nogil:
    """Set the second of a date and hh:mm:ss. Return False if there is no such date. month: from 1."""
    cdef int64_t hour = number_of(time, 2)
    cdef int64_t minute = number_of(time + 3, 2)
    cdef int64_t of_minute = number_of(time + 6, 2)
    cdef int64_t last = 31
    if time[2] != c':' or time[5] != c':' or year < 0 or month < 1:
        return False
    if month == 2:
        last = 29 if (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 else 28
    elif month == 4 or month == 6 or month == 9 or month == 11:
        last = 30
    if not 1 <= day <= last or not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= of_minute <= 60:
        return False
    second[0] = ((days_before(year, month, day) * 24 + hour) * 60 + minute) * 60 + of_minute
    return True


cdef int64_t full_year(int64_t two_digits) noexcept nogil:
    """Return the year that two digits mean today."""
    cdef int64_t this_year, year
    if two_digits < 0:
        return -1
    this_year = number_of(date_now() + 12, 4)
    year = this_year - this_year % 100 + two_digits
    if year > this_year + PIVOT_YEARS:
        year -= 100
    elif year <= this_year - 100 + PIVOT_YEARS:
        year += 100
    return year


cdef bint date_read(const char *at, size_t length, int64_t *second) noexcept nogil:
    """Read an HTTP-date in any of its three forms, as seconds since 1970. Return False if it is none."""
    cdef int day = name_at(at, DAYS, 7) if length >= 24 else -1
    cdef int end = 0
    cdef char[3] padded
    if day < 0:
        return False
    if length == 29 and at[3] == c',':  # Sun, 06 Nov 1994 08:49:37 GMT
        if at[4] != c' ' or at[7] != c' ' or at[11] != c' ' or at[16] != c' ' or memcmp(at + 25, b" GMT", 4) != 0:
            return False
        return second_of(
            number_of(at + 12, 4), name_at(at + 8, MONTHS, 12) + 1, number_of(at + 5, 2), at + 17, second)
    if length == 24 and at[3] == c' ':  # Sun Nov  6 08:49:37 1994
        if at[7] != c' ' or at[10] != c' ' or at[19] != c' ':
            return False
        padded[0] = c'0' if at[8] == c' ' else at[8]
        padded[1] = at[9]
        return second_of(
            number_of(at + 20, 4), name_at(at + 4, MONTHS, 12) + 1, number_of(padded, 2), at + 11, second)
    at += 3  # Sunday, 06-Nov-94 08:49:37 GMT
    while end < 6 and DAY_ENDS[6 * day + end] != 0:
        end += 1
    if length != <size_t> (3 + end + 24) or memcmp(at, DAY_ENDS + 6 * day, end) != 0:
        return False
    at += end
    if at[0] != c',' or at[1] != c' ' or at[4] != c'-' or at[8] != c'-' or at[11] != c' ':
        return False
    if memcmp(at + 20, b" GMT", 4) != 0:
        return False
    return second_of(
        full_year(number_of(at + 9, 2)), name_at(at + 5, MONTHS, 12) + 1, number_of(at + 2, 2), at + 12,
        second)


cdef const char *date_text(int64_t second) noexcept nogil:
    """Return the text of a date. Each thread caches its last: a file is often requested again."""
    global hs_text_second
    if second != hs_text_second:
        write_date(second, hs_text, sizeof(hs_text))
        hs_text_second = second
    return hs_text


cdef bint tags_match(const char *at, size_t length, const char *tag, size_t tag_length, bint weak) noexcept nogil:
    """Tell whether a list of entity tags, or "*", has this strong one. weak: compare weakly: W/ is ignored.

    tag: with its quotation marks.
    """
    cdef const char *end = at + length
    cdef const char *first
    cdef bint is_weak
    if length == 1 and at[0] == c'*':
        return True
    while at < end:
        if at[0] == c',' or is_blank(at[0]):
            at += 1
            continue
        is_weak = end - at > 2 and at[0] == c'W' and at[1] == c'/'
        if is_weak:
            at += 2
        if at[0] != c'"':
            return False
        first = at
        at += 1
        while at < end and at[0] != c'"':
            at += 1
        if at == end:
            return False
        at += 1
        if <size_t> (at - first) == tag_length and memcmp(first, tag, tag_length) == 0 and (weak or not is_weak):
            return True
    return False


cdef const char *number_at(const char *at, const char *end, int64_t *value) noexcept nogil:
    """Read any number of digits, and return where they end. value: -1 if there are none."""
    cdef const char *last = digits_end(at, end)
    value[0] = -1
    if at == last:
        return last
    while last - at > 1 and at[0] == c'0':
        at += 1
    value[0] = number_of(at, last - at)
    if value[0] < 0:
        value[0] = BEYOND
    return last


cdef int range_read(const char *at, size_t length, int64_t size, int64_t *first, int64_t *count) noexcept nogil:
    """Read a Range field for a file of `size` bytes. Returns a RangeKind; with RANGE_PART sets first and count.

    Several ranges mean the whole, as RFC 9110 14.2 permits. So does a range that is malformed or in a unit other than
    bytes.
    """
    cdef const char *end = at + length
    cdef int64_t last
    if length < 6 or not word_is(at, b"bytes", 5) or at[5] != c'=':
        return RANGE_WHOLE
    at += 6
    while at < end and (is_blank(at[0]) or at[0] == c','):
        at += 1
    at = number_at(at, end, first)
    if at == end or at[0] != c'-':
        return RANGE_WHOLE
    at = number_at(at + 1, end, &last)
    while at < end and (is_blank(at[0]) or at[0] == c','):
        at += 1
    if at < end or (first[0] < 0 and last < 0) or (first[0] >= 0 and 0 <= last < first[0]):
        return RANGE_WHOLE
    if first[0] < 0:
        if last == 0:
            return RANGE_BEYOND
        if size == 0:
            return RANGE_WHOLE  # all of an empty file, which no Content-Range can express
        count[0] = min(last, size)
        first[0] = size - count[0]
        return RANGE_PART
    if first[0] >= size:
        return RANGE_BEYOND
    count[0] = (size if last < 0 or last >= size else last + 1) - first[0]
    return RANGE_PART


cdef void codings_reset(Codings *codings) noexcept nogil:
    """Begin with no coding named."""
    codings.brotli = codings.gzip = codings.identity = codings.others = -1


cdef int weight_at(const char *at, const char *end) noexcept nogil:
    """Return a weight (RFC 9110 12.4.2) in thousandths: 1000 if there is none, 0 if it is malformed."""
    cdef int value, digit
    while at < end and is_blank(at[0]):
        at += 1
    if at == end:
        return 1000
    if at[0] != c';':
        return 0
    at += 1
    while at < end and is_blank(at[0]):
        at += 1
    if end - at < 3 or not word_is(at, b"q", 1) or at[1] != c'=' or (at[2] != c'0' and at[2] != c'1'):
        return 0
    value = 1000 * (at[2] - c'0')
    at += 3
    if at < end and at[0] == c'.':
        at += 1
        digit = 100
        while at < end and digit > 0 and byte_is(at[0], BYTE_DIGIT):
            value += digit * (at[0] - c'0')
            digit = digit // 10
            at += 1
    while at < end and is_blank(at[0]):
        at += 1
    return value if at == end and value <= 1000 else 0


cdef void codings_read(Codings *codings, const char *at, size_t length) noexcept nogil:
    """Add one Accept-Encoding field to what was read from the fields before it."""
    cdef const char *end = at + length
    cdef const char *name
    cdef const char *item
    cdef int weight
    while at < end:
        while at < end and (at[0] == c',' or is_blank(at[0])):
            at += 1
        name = at
        while at < end and byte_is(at[0], BYTE_TOKEN):
            at += 1
        item = at
        while at < end and at[0] != c',':
            at += 1
        weight = weight_at(item, at)
        if name_is(name, item - name, b"br"):
            codings.brotli = weight
        elif name_is(name, item - name, b"gzip") or name_is(name, item - name, b"x-gzip"):
            codings.gzip = weight
        elif name_is(name, item - name, b"identity"):
            codings.identity = weight
        elif item - name == 1 and name[0] == c'*':
            codings.others = weight


cdef int coding_weight(const Codings *codings, int named) noexcept nogil:
    """Return the weight of a coding, or 0 if the client prefers no coding. named: its weight by name, or -1."""
    cdef int weight = named if named >= 0 else codings.others
    return 0 if weight < codings.identity else max(weight, 0)
