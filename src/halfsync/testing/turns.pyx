"""The rows in which workers note their turns (shared/activity.pxd), for unit tests."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from halfsync.http.request_id cimport REQUEST_ID_BYTES
from halfsync.native.sync cimport load_uint
from halfsync.shared.activity cimport (
    PATH_KEPT, REFUSALS_KEPT, Activity, ActivityRefusal, ActivityRequest, ActivityRow, ActivityTurn, RequestNames,
    activity_begin, activity_end, activity_read, activity_take, refusal_keep, refusal_read,
)

ROWS = 1024
PATH_BYTES = <int> PATH_KEPT
REFUSALS = <int> REFUSALS_KEPT


cdef RequestNames names_of(bytes method, bytes path, bytes id, bytes trace):
    """Return what names a request. The caller keeps the bytes alive."""
    cdef RequestNames names
    names.method, names.method_length = method, len(method)
    names.path, names.path_length = path, len(path)
    names.id, names.id_length = id, len(id)
    names.trace = <const char *> trace if trace else NULL
    return names


cdef class Turns:
    """The rows of an `Activity`, by index."""

    cdef Activity activity

    def __init__(self, Activity activity not None):
        self.activity = activity

    def begin(
        self, uint32_t hint, unsigned int pid, uint32_t process, bytes method, bytes path, long long since,
        bytes id=b"", bytes trace=b""
    ):
        """Begin a turn in a free row, and return its index; -1: there is none. hint: where to look first."""
        cdef ActivityRow *row = activity_take(self.activity.table, &hint, pid)
        cdef RequestNames names = names_of(method, path, id, trace)
        if row == NULL:
            return -1
        activity_begin(row, process, 7, since, &names, b"\x01\x00", 2)
        return row - self.activity.table.rows

    def end(self, uint32_t index, unsigned int pid):
        """End the turn in a row."""
        activity_end(&self.activity.table.rows[index], pid)

    def read(self, uint32_t index):
        """Return pid, process, method, path and the length of the path of a row; None: no turn is under way in it."""
        cdef ActivityTurn turn
        cdef unsigned int version
        cdef unsigned int pid = activity_read(&self.activity.table.rows[index], &turn, &version)
        if pid == 0:
            return None
        path = turn.request.path[:min(turn.request.path_length, <uint32_t> PATH_KEPT)]
        return pid, turn.process, turn.request.method[:turn.request.method_length], path, turn.request.path_length

    def ids(self, uint32_t index):
        """Return the ids of the request of a row, in which a turn is under way."""
        cdef const ActivityRequest *request = &self.activity.table.rows[index].turn.request
        return request.id[:request.id_length], request.trace[:request.trace_length]

    @property
    def used(self):
        """The number of rows that may be in use."""
        return load_uint(&self.activity.table.used)

    def write_many(self, uint32_t index, int times):
        """Begin a turn in a row again and again, without the GIL. Each one has one letter in every place."""
        cdef char text[PATH_KEPT]
        cdef RequestNames names
        cdef int letter
        names.method = names.path = names.id = names.trace = text
        names.method_length, names.path_length, names.id_length = 16, PATH_KEPT, REQUEST_ID_BYTES
        with nogil:
            for letter in range(times):
                memset(text, c'a' + letter % 26, PATH_KEPT)
                activity_begin(
                    &self.activity.table.rows[index], letter % 26, 0, 1 + letter, &names, <uint8_t *> text, 28)

    def read_many(self, uint32_t index, int times):
        """Read a row again and again, without the GIL. Return how often it was read, and how often it was not whole."""
        cdef ActivityTurn turn
        cdef unsigned int version
        cdef int read = 0, torn = 0
        cdef int _time, at
        cdef char letter
        with nogil:
            for _time in range(times):
                if activity_read(&self.activity.table.rows[index], &turn, &version) == 0:
                    continue
                read += 1
                letter = c'a' + turn.process
                for at in range(PATH_KEPT):
                    if turn.request.path[at] != letter:
                        torn += 1
                        break
                if turn.request.method[0] != letter or turn.request.address[27] != letter:
                    torn += 1
                if turn.request.id[REQUEST_ID_BYTES - 1] != letter or turn.request.trace[0] != letter:
                    torn += 1
        return read, torn

    def refuse(self, int status, bytes reason, bytes path):
        """Keep a refusal."""
        cdef RequestNames names = names_of(b"GET", path, b"", b"")
        refusal_keep(self.activity.table, 1, status, reason, &names, b"", 0)

    def refusals(self):
        """Return status, reason and path of those that are kept, in no order."""
        cdef ActivityRefusal refusal
        found = []
        for index in range(REFUSALS_KEPT):
            if refusal_read(&self.activity.table.refusals[index], &refusal):
                path = refusal.request.path[:refusal.request.path_length]
                found.append((refusal.status, <bytes> refusal.reason, path))
        return found
