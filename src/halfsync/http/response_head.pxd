# The one writer of response heads: what the server says about a response and its connection (RFC 9110, RFC 9112), for
# applications' responses, static files, probes and errors. Pure functions, for any thread. Each writes at a position
# where its caller has made room, and returns the end.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from halfsync.http.grammar cimport name_is, write_decimal
from halfsync.http.request_id cimport ID_FIELD_BYTES

cdef enum:
    DATE_BYTES = 29           # Sun, 06 Nov 1994 08:49:37 GMT
    KEEPS_BYTES = 72          # of the fields that say that a connection stays, and for how long
    SERVER_LINES_BYTES = 512  # more than the server adds to the head of an application's response
    ERROR_BYTES = 1024        # enough for any error page with its head
    ERROR_TEXT_BYTES = 64     # and for its text
    CONTINUE_BYTES = 32       # and for a 100 Continue
    RETRY_AFTER_S = 1         # with a 503, unless the server is overloaded (pool/overload.pxd)

# The fields that the server itself adds to a response, from the settings. Read-only once made, but for retry_after_s of
# an engine, which its thread may change.
ctypedef struct ServerFields:
    bint server               # Server
    int keeps_length
    char keeps[KEEPS_BYTES]   # Connection and Keep-Alive, if the connection stays
    int retry_after_s         # with every 503
    bint timing               # Server-Timing
    int id_field_length       # 0: error pages do not show the id of their request
    char id_field[ID_FIELD_BYTES + 2]  # the name of the field that shows it, and a colon

# keep_alive_s: how long a connection may idle between two requests.
cdef void server_fields_init(ServerFields *fields, bint server, double keep_alive_s) noexcept nogil

# Let responses say how long they took, and error pages have the id of their request. id_field: the name of the field,
# at most ID_FIELD_BYTES; NULL: they have none.
cdef void server_fields_show(ServerFields *fields, bint timing, const char *id_field) noexcept nogil

# Write Server-Timing (W3C, 3.2). Durations are in ns; -1: not known, and not written.
cdef char *write_server_timing(char *at, int64_t queue_ns, int64_t app_ns, int64_t total_ns) noexcept nogil

# Return the Date field's value now: DATE_BYTES, owned by the calling thread and valid until its next call (RFC 9110
# 5.6.7).
cdef const char *date_now() noexcept nogil

# Write the date of a second since 1970, terminated, into `size` bytes: more than DATE_BYTES.
cdef void write_date(long second, char *out, size_t size) noexcept nogil

# Return the reason phrase registered for a status, or "".
cdef const char *reason_phrase(int status) noexcept nogil

# Begin a response of the server's own: status line, Date, Server, and Retry-After if it is due. Then come further
# fields, if any, and end_head or end_with_text.
cdef char *begin_head(char *at, const ServerFields *fields, int status) noexcept nogil

# End a head whose response is a line of text, and write the text, unless the method was HEAD. sent: set to the text's
# bytes that were written.
cdef char *end_with_text(char *at, const ServerFields *fields, bint stays, bint is_head, const char *text,
                         size_t length, int64_t *sent) noexcept nogil

# Write the text of an error page, at most ERROR_TEXT_BYTES. Returns its length.
cdef int error_text(int status, char *text) noexcept nogil

# The same for an error page, whose text repeats its status. Begin to end, it has at most ERROR_BYTES.
cdef char *end_with_error(char *at, const ServerFields *fields, int status, bint stays, bint is_head,
                          int64_t *sent) noexcept nogil


# --- what a response is ---

# What a field that an application sets means to the server.
cdef enum FieldMeaning:
    MEANS_NOTHING
    MEANS_CONTENT_LENGTH
    MEANS_DATE
    MEANS_SERVER
    MEANS_CONNECTION
    MEANS_HOP_BY_HOP          # about the connection, which the server owns (RFC 9110 7.6.1, PEP 3333)
    MEANS_KEEPING             # how long the connection is kept, which the server sends itself

# What marks the end of a body (RFC 9112 6.3).
cdef enum Framing:
    FRAMING_NONE              # there is no body
    FRAMING_LENGTH            # its Content-Length
    FRAMING_CHUNKED           # its last chunk
    FRAMING_CLOSE             # the end of the connection


cdef inline int meaning_of(const char *name, size_t length) noexcept nogil:
    """Return the FieldMeaning of a name. The length is compared first, since few names have a meaning."""
    if length == 2:
        return MEANS_HOP_BY_HOP if name_is(name, length, b"te") else MEANS_NOTHING
    if length == 4:
        return MEANS_DATE if name_is(name, length, b"date") else MEANS_NOTHING
    if length == 6:
        return MEANS_SERVER if name_is(name, length, b"server") else MEANS_NOTHING
    if length == 7:
        if name_is(name, length, b"trailer") or name_is(name, length, b"upgrade"):
            return MEANS_HOP_BY_HOP
        return MEANS_NOTHING
    if length == 8:
        return MEANS_HOP_BY_HOP if name_is(name, length, b"trailers") else MEANS_NOTHING
    if length == 10:
        if name_is(name, length, b"connection"):
            return MEANS_CONNECTION
        return MEANS_KEEPING if name_is(name, length, b"keep-alive") else MEANS_NOTHING
    if length == 14:
        return MEANS_CONTENT_LENGTH if name_is(name, length, b"content-length") else MEANS_NOTHING
    if length == 16:
        return MEANS_KEEPING if name_is(name, length, b"proxy-connection") else MEANS_NOTHING
    if length == 17:
        return MEANS_HOP_BY_HOP if name_is(name, length, b"transfer-encoding") else MEANS_NOTHING
    if length == 18:
        return MEANS_HOP_BY_HOP if name_is(name, length, b"proxy-authenticate") else MEANS_NOTHING
    if length == 19:
        return MEANS_HOP_BY_HOP if name_is(name, length, b"proxy-authorization") else MEANS_NOTHING
    return MEANS_NOTHING


cdef inline bint has_no_body(int status, bint is_head) noexcept nogil:
    """Tell whether a response never has a body: to HEAD, and with 204 and 304 (RFC 9110 6.4.1)."""
    return is_head or status == 204 or status == 304


cdef inline int framing_of(bint bodiless, bint has_length, int minor) noexcept nogil:
    """Return the Framing that marks the end of a body for a client of HTTP/1.minor (RFC 9112 6.1, 6.3)."""
    if bodiless:
        return FRAMING_NONE
    if has_length:
        return FRAMING_LENGTH
    return FRAMING_CHUNKED if minor >= 1 else FRAMING_CLOSE


# --- lines ---

cdef inline char *write_bytes(char *at, const char *data, size_t length) noexcept nogil:
    memcpy(at, data, length)
    return at + length


cdef inline char *write_text(char *at, const char *text) noexcept nogil:
    """Write a literal, whose length the compiler knows."""
    return write_bytes(at, text, strlen(text))


cdef inline char *write_crlf(char *at) noexcept nogil:
    at[0] = c'\r'
    at[1] = c'\n'
    return at + 2


cdef inline char *write_version(char *at) noexcept nogil:
    """Write the beginning of a status line (RFC 9112 4)."""
    return write_text(at, b"HTTP/1.1 ")


cdef inline char *write_continue(char *at) noexcept nogil:
    """Write an interim response without fields (RFC 9110 15.2.1)."""
    return write_text(write_version(at), b"100 Continue\r\n\r\n")


cdef inline char *write_content_length(char *at, uint64_t length) noexcept nogil:
    return write_crlf(write_decimal(write_text(at, b"Content-Length: "), length))


cdef inline char *write_content_type(char *at, const char *content_type) noexcept nogil:
    return write_crlf(write_text(write_text(at, b"Content-Type: "), content_type))


cdef inline char *write_date_line(char *at) noexcept nogil:
    """Write Date, which a server with a clock must send (RFC 9110 6.6.1)."""
    return write_crlf(write_bytes(write_text(at, b"Date: "), date_now(), DATE_BYTES))


cdef inline char *write_server_line(char *at, const ServerFields *fields) noexcept nogil:
    """Write Server (RFC 9110 10.2.4), unless the settings turn it off."""
    return write_text(at, b"Server: halfsync\r\n") if fields.server else at


cdef inline char *write_retry_after(char *at, const ServerFields *fields, int status) noexcept nogil:
    """Write Retry-After, if it is due: with 503 (RFC 9110 10.2.3, 15.6.4)."""
    if status != 503:
        return at
    return write_crlf(write_decimal(write_text(at, b"Retry-After: "), fields.retry_after_s))


cdef inline char *write_id_line(char *at, const ServerFields *fields, const char *id, uint32_t length) noexcept nogil:
    """Write the id of a request, if it has one and error pages show it."""
    if fields.id_field_length == 0 or length == 0:
        return at
    return write_crlf(write_bytes(write_bytes(at, fields.id_field, fields.id_field_length), id, length))


cdef inline char *end_head(char *at, const ServerFields *fields, bint stays) noexcept nogil:
    """Write whether the connection stays, and the empty line.

    Close is sent whenever the connection will be closed (RFC 9112 9.6). Otherwise keep-alive and the idle time are sent
    to every client: HTTP/1.0 clients expect it (RFC 9112 C.2.2), and others can then close in time.
    """
    if stays:
        at = write_bytes(at, fields.keeps, fields.keeps_length)
    else:
        at = write_text(at, b"Connection: close\r\n")
    return write_crlf(at)
