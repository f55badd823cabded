"""The form of a line of the access log: made once from a setting, and read by any thread."""
from libc.stdlib cimport calloc, free

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from halfsync.http.request_id cimport REQUEST_ID_BYTES

from halfsync.runtime.standard import genuine

cdef enum:
    AROUND_BYTES = 8          # quotes, and the mark of a text that was cut
    LEAST = 128               # bytes of a text that always have room

# By their names in settings/access_format.py.
STYLES = {"plain": STYLE_PLAIN, "within": STYLE_WITHIN, "value": STYLE_VALUE, "pair": STYLE_PAIR}
VALUES = {
    "": LOG_NOTHING, "ident": LOG_ABSENT, "time": LOG_TIME, "remote": LOG_REMOTE, "request": LOG_REQUEST,
    "method": LOG_METHOD, "target": LOG_TARGET, "path": LOG_PATH, "query": LOG_QUERY, "version": LOG_VERSION,
    "user": LOG_USER, "request_field": LOG_REQUEST_FIELD, "response_field": LOG_RESPONSE_FIELD, "pid": LOG_PID,
    "remote_port": LOG_REMOTE_PORT, "status": LOG_STATUS, "bytes": LOG_BYTES, "bytes_or_none": LOG_BYTES_OR_NONE,
    "total_whole_s": LOG_TOTAL_WHOLE_S, "total_ms": LOG_TOTAL_MS, "total_us": LOG_TOTAL_US, "queue_s": LOG_QUEUE_S,
    "total_s": LOG_TOTAL_S, "outcome": LOG_OUTCOME, "failure": LOG_FAILURE, "reason": LOG_REASON,
    "accepted_s": LOG_ACCEPTED_S, "head_s": LOG_HEAD_S, "body_s": LOG_BODY_S, "receive_s": LOG_RECEIVE_S,
    "app_s": LOG_APP_S, "send_s": LOG_SEND_S, "request_id": LOG_REQUEST_ID, "trace_id": LOG_TRACE_ID,
}


cdef class AccessFormat:
    """A format that is ready to be written. The holder of a pointer to its `format` must keep it alive."""

    def __init__(self, str text not None, uint32_t line_bytes=LINE_BYTES):
        """text: the setting `log_format`. line_bytes: of the longest line. Raises UsageError and ValueError."""
        cdef list pieces
        cdef dict tables = {}
        cdef Py_ssize_t fixed = 1
        cdef int texts = 0
        cdef uint32_t index
        cdef Piece *piece
        with genuine():
            from halfsync.settings.access_format import read_format
        pieces = list(read_format(text))
        free(self.format.pieces)
        self.format.pieces = <Piece *> calloc(len(pieces), sizeof(Piece))
        if self.format.pieces == NULL:
            raise MemoryError
        self.format.count = len(pieces)
        self.kept = []
        for index in range(self.format.count):
            piece = &self.format.pieces[index]
            self.set_piece(piece, pieces[index], tables)
            is_own = piece.value <= LOG_REMOTE or LOG_OUTCOME <= piece.value <= LOG_REASON
            is_id = piece.value == LOG_REQUEST_ID and piece.style != STYLE_PLAIN  # JSON escapes nothing of an id
            is_text = not is_own and not is_id and piece.value < LOG_NUMBERS
            fixed += piece.length + AROUND_BYTES
            if not is_text:
                fixed += REASON_BYTES if piece.value == LOG_REASON else REQUEST_ID_BYTES if is_id else WORD_BYTES
            texts += is_text
            self.format.wants_response |= piece.value == LOG_RESPONSE_FIELD
        self.format.escaped_most = ESCAPED_MOST
        if texts > 0:
            self.format.escaped_most = max(0, min(ESCAPED_MOST, (line_bytes - fixed) // texts))
        if self.format.escaped_most < LEAST:
            raise ValueError("the format of the access log is too long for its lines")

    cdef int set_piece(self, Piece *piece, object given, dict tables) except -1:
        """Set a piece. tables: those that are made already."""
        cdef bytes text = given.text.encode("utf-8") + bytes(SLACK_BYTES)
        cdef bytes name = given.name.encode("ascii")
        cdef bint is_json = STYLES[given.style] != STYLE_PLAIN
        key = "json" if is_json else given.escapes
        if key not in tables:
            tables[key] = bytes(
                not 32 <= byte < 127 or chr(byte) in '"\\' or (not is_json and chr(byte) in given.escapes)
                for byte in range(256))
        cdef bytes table = tables[key]
        self.kept += [text, name, table]
        piece.value = VALUES[given.field]
        piece.style = STYLES[given.style]
        piece.is_common = is_json or not set(given.escapes) - set('"\\')
        piece.text = PyBytes_AS_STRING(text)
        piece.length = PyBytes_GET_SIZE(text) - SLACK_BYTES
        piece.name = PyBytes_AS_STRING(name)
        piece.name_length = PyBytes_GET_SIZE(name)
        piece.escapes = <const uint8_t *> PyBytes_AS_STRING(table)
        return 0

    def __dealloc__(self):
        free(self.format.pieces)
