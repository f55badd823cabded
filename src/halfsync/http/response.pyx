"""Pieces of a response head that need no application: dates, reason phrases and refusals (RFC 9110 5.6.7, 15)."""
from libc.stdio cimport snprintf

cdef extern from *:
    """
    #include <time.h>
    #include <string.h>

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

    /* The date changes once a second: each thread writes it then, and reads its own copy until the next. */
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


cdef int write_refusal(char *out, int status, bint with_body, bint server, int *body_bytes) noexcept nogil:
    """Write a response that refuses a request, says why in a line of text, and closes the connection.

    out: REFUSAL_BYTES. with_body: False in answer to HEAD. body_bytes: how long the body is. Returns the length of all.
    """
    cdef char body[64]
    cdef char retry[32]
    cdef int body_length = snprintf(body, sizeof(body), "%d %s\n", status, hs_reason_phrase(status))
    cdef const char *server_line = b"Server: halfsync\r\n"
    cdef const char *nothing = b""
    body_bytes[0] = body_length if with_body else 0
    retry[0] = 0
    if status == 503:
        snprintf(retry, sizeof(retry), "Retry-After: %d\r\n", RETRY_AFTER_S)
    return snprintf(
        out, REFUSAL_BYTES,
        "HTTP/1.1 %d %s\r\n%s%sDate: %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        "Connection: close\r\n\r\n%s",
        status, hs_reason_phrase(status), retry, server_line if server else nothing,
        hs_date_now(), body_length, <const char *> body if with_body else nothing,
    )
