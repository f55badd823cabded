"""The parts of response heads that are not inline: dates, reason phrases and error pages (RFC 9110 5.6.7, 15)."""
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset, strlen

from halfsync.http.grammar cimport write_decimal, write_fixed

cdef extern from *:
    """
    #include <stdio.h>
    #include <time.h>

    static _Thread_local time_t hs_date_second = -1;
    static _Thread_local char hs_date[80];

    static void hs_date_of(time_t second, char *out, size_t size) {
        static const char days[] = "SunMonTueWedThuFriSat";
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        struct tm utc;
        gmtime_r(&second, &utc);
        snprintf(out, size, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
            days + 3 * utc.tm_wday, utc.tm_mday, months + 3 * utc.tm_mon, 1900 + utc.tm_year,
            utc.tm_hour, utc.tm_min, utc.tm_sec);
    }

    /* The date changes once a second: each thread then writes its own copy, and reads that until the next change. */
    static const char *hs_date_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        if (now.tv_sec != hs_date_second) {
            hs_date_of(now.tv_sec, hs_date, sizeof(hs_date));
            hs_date_second = now.tv_sec;
        }
        return hs_date;
    }

    static const char *hs_reason_phrase(int status) {
        switch (status) {
        case 100: return "Continue";
        case 101: return "Switching Protocols";
        case 103: return "Early Hints";
        case 200: return "OK";
        case 201: return "Created";
        case 202: return "Accepted";
        case 204: return "No Content";
        case 206: return "Partial Content";
        case 301: return "Moved Permanently";
        case 302: return "Found";
        case 303: return "See Other";
        case 304: return "Not Modified";
        case 307: return "Temporary Redirect";
        case 308: return "Permanent Redirect";
        case 400: return "Bad Request";
        case 401: return "Unauthorized";
        case 403: return "Forbidden";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 408: return "Request Timeout";
        case 409: return "Conflict";
        case 411: return "Length Required";
        case 412: return "Precondition Failed";
        case 413: return "Content Too Large";
        case 414: return "URI Too Long";
        case 416: return "Range Not Satisfiable";
        case 417: return "Expectation Failed";
        case 426: return "Upgrade Required";
        case 429: return "Too Many Requests";
        case 431: return "Request Header Fields Too Large";
        case 500: return "Internal Server Error";
        case 501: return "Not Implemented";
        case 502: return "Bad Gateway";
        case 503: return "Service Unavailable";
        case 504: return "Gateway Timeout";
        case 505: return "HTTP Version Not Supported";
        case 507: return "Insufficient Storage";
        default: return "";
        }
    }
    """
    const char *hs_date_now() nogil
    void hs_date_of(long second, char *out, size_t size) nogil
    const char *hs_reason_phrase(int status) nogil


cdef const char *date_now() noexcept nogil:
    return hs_date_now()


cdef void write_date(long second, char *out, size_t size) noexcept nogil:
    hs_date_of(second, out, size)


cdef const char *reason_phrase(int status) noexcept nogil:
    return hs_reason_phrase(status)


cdef void server_fields_init(ServerFields *fields, bint server, double keep_alive_s) noexcept nogil:
    """Set the fields from the settings. See the .pxd."""
    memset(fields, 0, sizeof(ServerFields))
    cdef char *at = write_text(fields.keeps, b"Connection: keep-alive\r\n")
    if keep_alive_s >= 1:
        at = write_crlf(write_decimal(write_text(at, b"Keep-Alive: timeout="), <uint64_t> keep_alive_s))
    fields.keeps_length = <int> (at - fields.keeps)
    fields.server = server
    fields.retry_after_s = RETRY_AFTER_S


cdef void server_fields_show(ServerFields *fields, bint timing, const char *id_field) noexcept nogil:
    """Set what responses say about their request. See the .pxd."""
    fields.timing = timing
    fields.id_field_length = 0
    if id_field != NULL:
        fields.id_field_length = <int> (write_text(write_text(fields.id_field, id_field), b": ") - fields.id_field)


cdef char *write_metric(char *at, const char *name, int64_t ns) noexcept nogil:
    """Write a metric of Server-Timing with its duration in milliseconds, unless that is -1."""
    if ns < 0:
        return at
    if at[-1] != c" ":
        at = write_text(at, b", ")
    return write_fixed(write_text(write_text(at, name), b";dur="), ns // 1000, 3)


cdef char *write_server_timing(char *at, int64_t queue_ns, int64_t app_ns, int64_t total_ns) noexcept nogil:
    """Write Server-Timing. See the .pxd."""
    cdef char *begin = at
    at = write_text(at, b"Server-Timing: ")
    at = write_metric(at, b"queue", queue_ns)
    at = write_metric(at, b"app", app_ns)
    at = write_metric(at, b"total", total_ns)
    return begin if at[-1] == c" " else write_crlf(at)


cdef char *begin_head(char *at, const ServerFields *fields, int status) noexcept nogil:
    """Begin a response of the server's own. See the .pxd."""
    cdef const char *phrase = hs_reason_phrase(status)
    at = write_text(write_decimal(write_version(at), status), b" ")
    at = write_crlf(write_bytes(at, phrase, strlen(phrase)))
    at = write_server_line(write_date_line(at), fields)
    return write_retry_after(at, fields, status)


cdef char *end_with_text(
    char *at, const ServerFields *fields, bint stays, bint is_head, const char *text, size_t length, int64_t *sent
) noexcept nogil:
    """End a head whose response is a line of text, and write the text. See the .pxd."""
    at = write_content_type(at, b"text/plain; charset=utf-8")
    at = end_head(write_content_length(at, length), fields, stays)
    sent[0] = 0 if is_head else length
    return write_bytes(at, text, sent[0])


cdef char *end_with_error(
    char *at, const ServerFields *fields, int status, bint stays, bint is_head, int64_t *sent
) noexcept nogil:
    """End a head whose response has only its status as text. See the .pxd."""
    cdef char[ERROR_TEXT_BYTES] text
    return end_with_text(at, fields, stays, is_head, text, error_text(status, text), sent)


cdef int error_text(int status, char *text) noexcept nogil:
    """Write the text of an error page, at most ERROR_TEXT_BYTES. Returns its length."""
    cdef const char *phrase = hs_reason_phrase(status)
    cdef char *at = write_text(write_decimal(text, status), b" ")
    return <int> (write_text(write_bytes(at, phrase, strlen(phrase)), b"\n") - text)
