# The form of a line of the access log, as pieces that the writer walks without the GIL (settings/access_format.py).
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    LINE_BYTES = 20 * 1024    # of one line, with its end
    TEXT_MOST = 2048          # bytes of one text from a client that are logged
    ESCAPED_MOST = 3800       # of such a text in the line, with its escapes, unless many share the line
    WORD_BYTES = 48           # of a value that the server makes: an address, a time, a number
    REASON_BYTES = 160        # of the reason of an outcome
    SLACK_BYTES = 32          # behind each text of a format, and behind a line: a short text is copied in one move

# What a piece shows of a request. Those below LOG_NUMBERS are texts.
cdef enum LogValue:
    LOG_NOTHING               # only the piece's own text
    LOG_ABSENT                # always missing
    LOG_TIME
    LOG_TRACE_ID
    LOG_REMOTE
    LOG_REQUEST
    LOG_METHOD
    LOG_TARGET
    LOG_PATH
    LOG_QUERY
    LOG_VERSION
    LOG_USER
    LOG_REQUEST_ID
    LOG_OUTCOME
    LOG_FAILURE
    LOG_REASON
    LOG_REQUEST_FIELD
    LOG_RESPONSE_FIELD
    LOG_NUMBERS
    LOG_PID
    LOG_REMOTE_PORT
    LOG_STATUS
    LOG_BYTES
    LOG_BYTES_OR_NONE
    LOG_TOTAL_WHOLE_S
    LOG_TOTAL_MS
    LOG_TOTAL_US
    LOG_DURATIONS             # those above are seconds, with microseconds
    LOG_ACCEPTED_S
    LOG_HEAD_S
    LOG_BODY_S
    LOG_RECEIVE_S
    LOG_QUEUE_S
    LOG_APP_S
    LOG_SEND_S
    LOG_TOTAL_S

cdef enum LogStyle:
    STYLE_PLAIN
    STYLE_WITHIN
    STYLE_VALUE
    STYLE_PAIR

ctypedef struct Piece:
    uint8_t value             # LogValue
    uint8_t style             # LogStyle
    uint8_t is_common         # it escapes what every format escapes, and nothing more
    uint32_t length           # of text
    uint32_t name_length
    const char *text          # before the value
    const char *name          # of a field of the request or the response, in lower case
    const uint8_t *escapes    # a table: which bytes of a text are escaped

ctypedef struct Format:
    Piece *pieces
    uint32_t count
    uint32_t escaped_most     # bytes of one text in the line, with its escapes: so every line is complete
    bint wants_response       # it shows fields of the response


cdef class AccessFormat:
    cdef Format format
    cdef list kept            # what the pointers point to

    cdef int set_piece(self, Piece *piece, object given, dict tables) except -1
