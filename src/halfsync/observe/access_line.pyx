"""One line of the access log, in the combined format or as JSON.

Bytes from the client that are not printable ASCII are escaped, so no request can forge a line. The length of each text,
with its escapes, is limited, so every line is complete. No text depends on the locale that an application has set.
"""
from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from halfsync.exchange.exchange cimport exchange_begin, exchange_knows_target, exchange_line
from halfsync.http.parser cimport Field, Head, field_is
from halfsync.observe.secrets cimport shown_bytes

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <time.h>

    static void hs_log_address(const void *address, int length, char *text, size_t room) {
        struct sockaddr_in four = {0};
        struct sockaddr_in6 six = {0};  /* copies: in a record the address may be unaligned */
        memcpy(&four, address, (size_t)length < sizeof(four) ? (size_t)length : sizeof(four));
        memcpy(&six, address, (size_t)length < sizeof(six) ? (size_t)length : sizeof(six));
        text[0] = '-';
        text[1] = 0;
        if (length >= (int)sizeof(four) && four.sin_family == AF_INET)
            inet_ntop(AF_INET, &four.sin_addr, text, room);
        else if (length >= (int)sizeof(six) && six.sin6_family == AF_INET6)
            inet_ntop(AF_INET6, &six.sin6_addr, text, room);
    }

    static _Thread_local time_t hs_log_second = -1;
    static _Thread_local char hs_log_times[2][40];
    static const char hs_log_months[12][4] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    };

    /* Return the time now, as [23/Nov/2026:14:00:00 +0000] or 2026-11-23T14:00:00+0000. */
    static const char *hs_log_time(int json) {
        struct timespec now;
        struct tm local;
        char form[40];
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        if (now.tv_sec != hs_log_second) {
            localtime_r(&now.tv_sec, &local);
            snprintf(form, sizeof(form), "[%%d/%s/%%Y:%%H:%%M:%%S %%z]", hs_log_months[local.tm_mon % 12]);
            strftime(hs_log_times[0], 40, form, &local);
            strftime(hs_log_times[1], 40, "%Y-%m-%dT%H:%M:%S%z", &local);
            hs_log_second = now.tv_sec;
        }
        return hs_log_times[json];
    }
    """
    void address_text "hs_log_address" (const void *address, int length, char *text, size_t room) nogil
    const char *time_text "hs_log_time" (int json) nogil

cdef enum:
    VERSION_BYTES = 9  # of a space and HTTP/1.1, the end of a valid request line
    TEXT_MOST = 2048  # bytes of one text from the client that are logged
    ESCAPED_MOST = 3800  # of such a text in the line, with its escapes
    SECONDS_BYTES = 32


cdef void add_text(Line *line, const char *text, size_t length) noexcept nogil:
    """Append a text unchanged."""
    length = min(length, LINE_BYTES - line.length)
    memcpy(line.text + line.length, text, length)
    line.length += length


cdef void add_escaped(Line *line, const char *text, size_t length, bint json) noexcept nogil:
    """Append a client's text, with the quote, the backslash and all but printable ASCII escaped in hexadecimal.

    A text that is too long is cut, but never in the middle of an escape.
    """
    cdef char escaped[8]
    cdef size_t position
    cdef size_t escape = 6 if json else 4
    cdef size_t end = min(line.length + ESCAPED_MOST, <size_t> LINE_BYTES)
    cdef unsigned char byte
    for position in range(min(length, <size_t> TEXT_MOST)):
        byte = <unsigned char> text[position]
        if 32 <= byte < 127 and byte != b'"' and byte != b"\\":
            if line.length == end:
                break
            add_text(line, text + position, 1)
        else:
            if line.length + escape > end:
                break
            add_text(line, escaped, snprintf(
                escaped, sizeof(escaped), <const char *> (b"\\u%04x" if json else b"\\x%02x"), <unsigned int> byte))


cdef void add_field(Line *line, const Exchange *exchange, const char *lower, bint json) noexcept nogil:
    """Append the value of the request's first field with this name, or "-". lower: a literal, in lower case."""
    cdef uint32_t position
    cdef const Field *field
    if exchange != NULL:
        for position in range(exchange.head.fields_count):
            field = &exchange.head.fields[position]
            if field_is(exchange.data, field, lower):
                add_escaped(line, exchange.data + field.value, field.value_length, json)
                return
    add_text(line, b"-", 1)


cdef void add_request_line(Line *line, const Exchange *exchange, bint json) noexcept nogil:
    """Append method, target and version, or an invalid request line as received, or "-" if nothing was received.

    An invalid line may be any field, so only the part that `shown_bytes` allows is logged.
    """
    cdef const Head *head
    cdef uint32_t begin, shown, length = 0
    if exchange == NULL or not exchange_knows_target(exchange):
        if exchange != NULL:
            begin = exchange_begin(exchange)
            length = exchange_line(exchange, begin)
            shown = shown_bytes(exchange.data + begin, length)
            add_escaped(line, exchange.data + begin, shown, json)
            if shown < length:
                add_text(line, b" ...", 4)
        if length == 0:
            add_text(line, b"-", 1)
        return
    head = &exchange.head
    add_escaped(line, exchange.data + head.method, head.method_length, json)
    add_text(line, b" ", 1)
    add_escaped(line, exchange.data + head.target, head.target_length, json)
    add_text(line, exchange.data + head.target + head.target_length, VERSION_BYTES)


cdef void write_seconds(char *out, int64_t ns) noexcept nogil:
    """Write a duration in seconds into SECONDS_BYTES, with a decimal point in every locale."""
    cdef long long microseconds = max(ns, <int64_t> 0) // 1000
    snprintf(out, SECONDS_BYTES, b"%lld.%06lld", microseconds // 1000000, microseconds % 1000000)


cdef void format_combined(
    Line *line, const Entry *entry, const char *address, const char *queue_s, const char *total_s
) noexcept nogil:
    """Format a line as Apache httpd's combined format, then the seconds in the queue and in all."""
    cdef char numbers[96]
    add_text(line, numbers, snprintf(numbers, sizeof(numbers), b"%s - - %s \"", address, time_text(False)))
    add_request_line(line, entry.exchange, False)
    add_text(line, numbers, snprintf(
        numbers, sizeof(numbers), b"\" %d %lld \"", entry.status, <long long> entry.sent))
    add_field(line, entry.exchange, b"referer", False)
    add_text(line, b"\" \"", 3)
    add_field(line, entry.exchange, b"user-agent", False)
    add_text(line, numbers, snprintf(numbers, sizeof(numbers), b"\" %s %s", queue_s, total_s))


cdef void format_json(
    Line *line, const Entry *entry, const char *address, const char *queue_s, const char *total_s
) noexcept nogil:
    """Format a line as one JSON object. Texts from the client are latin-1."""
    cdef char numbers[192]
    add_text(line, numbers, snprintf(
        numbers, sizeof(numbers), b"{\"time\": \"%s\", \"remote\": \"%s\", \"request\": \"", time_text(True), address))
    add_request_line(line, entry.exchange, True)
    add_text(line, numbers, snprintf(
        numbers, sizeof(numbers),
        b"\", \"status\": %d, \"bytes\": %lld, \"queue_s\": %s, \"total_s\": %s, \"referer\": \"",
        entry.status, <long long> entry.sent, queue_s, total_s))
    add_field(line, entry.exchange, b"referer", True)
    add_text(line, b"\", \"agent\": \"", 13)
    add_field(line, entry.exchange, b"user-agent", True)
    add_text(line, b"\"}", 2)


cdef void line_format(Line *line, const Entry *entry, bint json) noexcept nogil:
    """Format a whole line, with its end."""
    cdef char address[64]
    cdef char queue_s[SECONDS_BYTES]
    cdef char total_s[SECONDS_BYTES]
    line.length = 0
    address_text(entry.address, entry.address_length, address, sizeof(address))
    write_seconds(queue_s, entry.queue_ns)
    write_seconds(total_s, entry.total_ns)
    if json:
        format_json(line, entry, address, queue_s, total_s)
    else:
        format_combined(line, entry, address, queue_s, total_s)
    line.length = min(line.length, <size_t> LINE_BYTES - 1)
    add_text(line, b"\n", 1)
