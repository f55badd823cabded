"""The values of the access log's fields: what is known of a request that has ended, without Python."""
from libc.string cimport memchr, strlen

from halfsync.exchange.exchange cimport Exchange, exchange_begin, exchange_knows_target, exchange_line
from halfsync.exchange.outcome cimport OUTCOME_OK, outcome_name
from halfsync.exchange.timeline cimport Timeline, timeline_turn_ns
from halfsync.http.grammar cimport is_blank, trim, word_is, write_decimal
from halfsync.http.parser cimport Field, Head, TARGET_ABSOLUTE
from halfsync.http.trace_context cimport TRACE_ID_BYTES, trace_id_of
from halfsync.http.trust cimport host_bytes, host_text
from halfsync.observe.access_format cimport (
    LOG_ACCEPTED_S, LOG_APP_S, LOG_BODY_S, LOG_BYTES, LOG_BYTES_OR_NONE, LOG_DURATIONS, LOG_FAILURE, LOG_HEAD_S,
    LOG_METHOD, LOG_OUTCOME, LOG_PID, LOG_QUERY, LOG_QUEUE_S, LOG_REASON, LOG_RECEIVE_S, LOG_REMOTE, LOG_REMOTE_PORT,
    LOG_REQUEST, LOG_REQUEST_FIELD, LOG_REQUEST_ID, LOG_RESPONSE_FIELD, LOG_STATUS, LOG_TARGET, LOG_TIME, LOG_TOTAL_MS,
    LOG_TOTAL_S, LOG_TOTAL_US, LOG_TOTAL_WHOLE_S, LOG_TRACE_ID, LOG_USER, LOG_VERSION, STYLE_PAIR, STYLE_VALUE,
)
from halfsync.observe.secrets cimport shown_bytes

cdef extern from *:
    """
    #include <stdio.h>
    #include <time.h>

    static _Thread_local time_t hs_log_second = -1;
    static _Thread_local char hs_log_times[2][40];

    /* Return the time now, as [23/Nov/2026:14:00:00 +0000] or 2026-11-23T14:00:00.123+0000. Each thread writes the
       texts once a second, and the milliseconds each time. */
    static const char *hs_log_time(int iso) {
        static const char months[12][4] = {
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        };
        struct timespec now;
        struct tm local;
        char form[40];
        int milliseconds;
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        if (now.tv_sec != hs_log_second) {
            localtime_r(&now.tv_sec, &local);
            snprintf(form, sizeof(form), "[%%d/%s/%%Y:%%H:%%M:%%S %%z]", months[local.tm_mon % 12]);
            strftime(hs_log_times[0], 40, form, &local);
            strftime(hs_log_times[1], 40, "%Y-%m-%dT%H:%M:%S.000%z", &local);
            hs_log_second = now.tv_sec;
        }
        if (iso) {
            milliseconds = (int)(now.tv_nsec / 1000000);
            hs_log_times[1][20] = (char)('0' + milliseconds / 100);
            hs_log_times[1][21] = (char)('0' + milliseconds / 10 % 10);
            hs_log_times[1][22] = (char)('0' + milliseconds % 10);
        }
        return hs_log_times[iso];
    }
    """
    const char *time_text "hs_log_time" (int iso) nogil

cdef enum:
    VERSION_BYTES = 8  # of HTTP/1.1, behind a space at the end of a valid request line


cdef inline bint set_word(Value *value, const char *text, uint32_t length) noexcept nogil:
    """Set a text that the server made. Returns True."""
    value.text = text
    value.length = length
    value.is_foreign = value.is_cut = False
    return True


cdef inline bint set_foreign(Value *value, const char *text, uint32_t length) noexcept nogil:
    """Set a text that a client or an application made. Returns whether it is not empty."""
    value.text = text
    value.length = length
    value.is_foreign = True
    value.is_cut = False
    return length > 0


cdef inline char *write_ipv4(char *at, const uint8_t *host) noexcept nogil:
    """Write an IPv4 address, faster than the C library does. Returns its end."""
    cdef int part
    for part in range(4):
        at = write_decimal(at, host[part])
        at[0] = c'.'
        at += 1
    return at - 1


cdef bint find_remote(const Entry *entry, Value *value) noexcept nogil:
    """Find the client's address, without its port."""
    cdef const uint8_t *host
    cdef int port
    cdef int length = host_bytes(entry.address, entry.address_length, &host, &port)
    if length == 0:
        return False
    if length == 16:
        host_text(host, length, value.made)
        return set_word(value, value.made, strlen(value.made))
    return set_word(value, value.made, <uint32_t> (write_ipv4(value.made, host) - value.made))


cdef bint find_request(const Exchange *exchange, Value *value) noexcept nogil:
    """Find the request line: as it was sent, or as much of it as was received.

    An invalid line may be any field, so only the part that `shown_bytes` allows is logged.
    """
    cdef const Head *head = &exchange.head
    cdef uint32_t begin, length
    if exchange_knows_target(exchange):
        length = head.target + head.target_length + 1 + VERSION_BYTES - head.method
        return set_foreign(value, exchange.data + head.method, length)
    begin = exchange_begin(exchange)
    length = exchange_line(exchange, begin)
    set_foreign(value, exchange.data + begin, shown_bytes(exchange.data + begin, length))
    value.is_cut = value.length < length
    return length > 0


cdef bint find_part(const Exchange *exchange, int what, Value *value) noexcept nogil:
    """Find a part of a valid request line."""
    cdef const Head *head = &exchange.head
    cdef const char *data = exchange.data
    if not exchange_knows_target(exchange):
        return False
    if what == LOG_METHOD:
        return set_foreign(value, data + head.method, head.method_length)
    if what == LOG_TARGET:
        return set_foreign(value, data + head.target, head.target_length)
    if what == LOG_QUERY:
        return set_foreign(value, data + head.query, head.query_length)
    if what == LOG_VERSION:
        return set_foreign(value, data + head.target + head.target_length + 1, VERSION_BYTES)
    if head.path_length == 0 and head.target_form == TARGET_ABSOLUTE:
        return set_word(value, b"/", 1)
    return set_foreign(value, data + head.path, head.path_length)


cdef bint find_field(const Exchange *exchange, const char *lower, uint32_t length, Value *value) noexcept nogil:
    """Find the first field of the request with this name, which is in lower case."""
    cdef uint32_t position
    cdef const Field *field
    for position in range(exchange.head.fields_count):
        field = &exchange.head.fields[position]
        if field.name_length == length and word_is(exchange.data + field.name, lower, length):
            return set_foreign(value, exchange.data + field.value, field.value_length)
    return False


cdef bint find_response_field(
    const Exchange *exchange, const char *lower, uint32_t length, Value *value
) noexcept nogil:
    """Find the first field of the response with this name, which is in lower case."""
    cdef const char *at = exchange.response_head
    cdef const char *end
    cdef const char *line_end
    cdef const char *text
    if at == NULL:
        return False
    end = at + exchange.response_head_length
    while at < end:
        line_end = <const char *> memchr(at, c"\r", end - at)
        if line_end == NULL:
            return False
        if <size_t> (line_end - at) > length and at[length] == c":" and word_is(at, lower, length):
            text = at + length + 1
            trim(&text, &line_end)
            return set_foreign(value, text, line_end - text)
        at = line_end + 2
    return False


cdef inline int sextet(char byte) noexcept nogil:
    """Return the value of a character of Base64 (RFC 4648 4), or -1."""
    if c'A' <= byte <= c'Z':
        return byte - c'A'
    if c'a' <= byte <= c'z':
        return byte - c'a' + 26
    if c'0' <= byte <= c'9':
        return byte - c'0' + 52
    return 62 if byte == c'+' else 63 if byte == c'/' else -1


cdef bint find_user(const Exchange *exchange, Value *value) noexcept nogil:
    """Find the user name in Basic credentials (RFC 7617). The password, behind a colon, is not decoded."""
    cdef const char *at
    cdef const char *end
    cdef uint32_t bits = 0
    cdef uint32_t length = 0
    cdef int held = 0
    cdef int digit
    if not find_field(exchange, b"authorization", 13, value):
        return False
    at = value.text
    end = at + value.length
    if end - at < 6 or not word_is(at, b"basic", 5) or not is_blank(at[5]):
        return False
    at += 6
    trim(&at, &end)
    while at < end and length < MADE_BYTES:
        digit = sextet(at[0])
        if digit < 0:
            return False  # no colon, or no Base64
        bits = bits << 6 | <uint32_t> digit
        held += 6
        at += 1
        if held >= 8:
            held -= 8
            value.made[length] = <char> (bits >> held & 255)
            if value.made[length] == c':':
                return set_foreign(value, value.made, length)
            length += 1
    return False


cdef bint find_trace(const Exchange *exchange, Value *value) noexcept nogil:
    """Find the trace that the request belongs to."""
    cdef const char *found = trace_id_of(&exchange.head, exchange.data)
    return found != NULL and set_word(value, found, TRACE_ID_BYTES)


cdef bint find_outcome(const Entry *entry, int what, Value *value) noexcept nogil:
    """Find how the request ended, or why."""
    if what == LOG_REASON:  # written like a client's text, with quotes where it needs them
        return entry.reason != NULL and set_foreign(value, entry.reason, strlen(entry.reason))
    if what == LOG_FAILURE and entry.outcome == OUTCOME_OK:
        return False
    return set_word(value, outcome_name(entry.outcome), strlen(outcome_name(entry.outcome)))


cdef bint find_text(const Entry *entry, const Piece *piece, Value *value) noexcept nogil:
    """Find the text of a piece. See the .pxd."""
    cdef int what = piece.value
    cdef const char *time
    if what == LOG_TIME:
        time = time_text(piece.style == STYLE_VALUE or piece.style == STYLE_PAIR)
        return set_word(value, time, strlen(time))
    if what == LOG_REMOTE:
        return find_remote(entry, value)
    if LOG_OUTCOME <= what <= LOG_REASON:
        return find_outcome(entry, what, value)
    if entry.exchange == NULL:
        return False
    if what == LOG_REQUEST:
        return find_request(entry.exchange, value)
    if what == LOG_REQUEST_FIELD:
        return find_field(entry.exchange, piece.name, piece.name_length, value)
    if what == LOG_RESPONSE_FIELD:
        return find_response_field(entry.exchange, piece.name, piece.name_length, value)
    if what == LOG_REQUEST_ID:
        return set_foreign(value, entry.exchange.id, entry.exchange.id_length)
    if what == LOG_TRACE_ID:
        return find_trace(entry.exchange, value)
    if what == LOG_USER:
        return find_user(entry.exchange, value)
    if LOG_METHOD <= what <= LOG_VERSION:
        return find_part(entry.exchange, what, value)
    return False


cdef bint find_interval(int64_t since, int64_t until, int64_t *number) noexcept nogil:
    """Find the time between two points, in ns, if both are known."""
    number[0] = max(until - since, <int64_t> 0)
    return since > 0 and until > 0


cdef bint find_duration(const Entry *entry, int what, int64_t *number) noexcept nogil:
    """Find a duration, in ns."""
    cdef const Timeline *timeline
    if what == LOG_QUEUE_S or what == LOG_TOTAL_S:
        number[0] = max(entry.queue_ns if what == LOG_QUEUE_S else entry.total_ns, <int64_t> 0)
        return True
    if entry.exchange == NULL:
        return False
    timeline = &entry.exchange.timeline
    if what == LOG_ACCEPTED_S:
        return find_interval(timeline.accepted_ns, timeline.first_byte_ns, number)
    if what == LOG_HEAD_S:
        return find_interval(timeline.first_byte_ns, timeline.head_ns, number)
    if what == LOG_BODY_S:
        return find_interval(timeline.head_ns, timeline.complete_ns, number)
    if what == LOG_RECEIVE_S:
        return find_interval(timeline.first_byte_ns, timeline.complete_ns, number)
    if what == LOG_APP_S:
        return find_interval(timeline_turn_ns(timeline), timeline.first_sent_ns, number)
    return find_interval(timeline.first_sent_ns, timeline.last_sent_ns, number)


cdef bint find_number(const Entry *entry, int what, int64_t *number) noexcept nogil:
    """Find a number. See the .pxd."""
    cdef const uint8_t *host
    cdef int port
    cdef int64_t total = max(entry.total_ns, <int64_t> 0)
    if what == LOG_STATUS:
        number[0] = entry.status
        return entry.status > 0
    if what == LOG_BYTES or what == LOG_BYTES_OR_NONE:
        number[0] = entry.sent
        return what == LOG_BYTES or entry.sent > 0
    if what > LOG_DURATIONS:
        return find_duration(entry, what, number)
    if what == LOG_TOTAL_WHOLE_S:
        number[0] = total // 1000000000
    elif what == LOG_TOTAL_MS:
        number[0] = total // 1000000
    elif what == LOG_TOTAL_US:
        number[0] = total // 1000
    elif what == LOG_PID:
        number[0] = entry.pid
    elif what == LOG_REMOTE_PORT:
        number[0] = 0
        if host_bytes(entry.address, entry.address_length, &host, &port) > 0:
            number[0] = port
        return number[0] > 0
    return True
