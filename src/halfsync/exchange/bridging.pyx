"""The bridge from a model to the application: one turn after another, for any protocol.

A model receives what makes a turn and gives it to `run`, which calls the application and sends the response. The
models know no other part of a bridge, and a bridge knows no model.
"""

from libc.stdint cimport uint32_t

from halfsync.exchange.naming cimport exchange_names
from halfsync.exchange.outcome cimport OUTCOME_ERROR, outcome_note
from halfsync.exchange.reasons cimport REASON_APPLICATION, REASON_RESOURCES
from halfsync.exchange.refusal cimport exchange_error
from halfsync.exchange.timeline cimport timeline_turn_ns
from halfsync.http.response_head cimport ERROR_BYTES
from halfsync.native.forks cimport copies, end_process, exit_forked_copy, is_forked_copy
from halfsync.shared.activity cimport (
    Activity, ActivityRow, RequestNames, activity_begin, activity_end, activity_name_client, activity_take,
)

from halfsync.runtime.originals import os

cdef extern from *:
    """
    static __thread uint32_t hs_activity_hint;  /* index of the calling thread's last row */
    static __thread void *hs_activity_row;  /* its row, during a turn; NULL: it has none */
    static inline uint32_t *hs_get_hint(void) { return &hs_activity_hint; }
    static inline void *hs_get_row(void) { return hs_activity_row; }
    static inline void hs_set_row(void *row) { hs_activity_row = row; }
    """
    uint32_t *own_hint "hs_get_hint" () noexcept nogil
    void *own_row "hs_get_row" () noexcept nogil
    void set_own_row "hs_set_row" (void *row) noexcept nogil

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()


cdef int send_error(
    Exchange *exchange, Sink *sink, const ServerFields *fields, unsigned int began, int status
) noexcept:
    """Send an error page. See the .pxd."""
    cdef char[ERROR_BYTES] page
    cdef int64_t body
    cdef iovec vector
    exit_forked_copy(began)
    outcome_note(&exchange.outcome, OUTCOME_ERROR, REASON_RESOURCES if status == 503 else REASON_APPLICATION)
    vector.iov_base = page
    vector.iov_len = exchange_error(exchange, status, fields, sink.stays, page, &body)
    return TURN_COMPLETE if send_vectors(sink, &vector, 1, vector.iov_len) == 0 else TURN_CUT


cdef class Bridge:
    """The base of all bridges. A server has one; all of its workers share it, and call it with the GIL."""

    def __cinit__(self, *_args, **_kwargs):
        self.note_process()

    def note_process(self):
        """Note that this process serves."""
        self.began = copies[0]
        self.pid = os.getpid()

    def watch(self, Activity activity not None, unsigned int process):
        """Note each turn in these rows from now on. process: the number of this process's slot."""
        self.pinned = activity
        self.activity.table = activity.table
        self.activity.process = process

    cdef ActivityRow *note_turn(self, const Exchange *exchange, const Origin *origin) noexcept:
        """Note what this thread begins to run. NULL: there is no row for it."""
        cdef ActivityRow *row = activity_take(self.activity.table, own_hint(), self.pid)
        cdef RequestNames names
        if row != NULL:
            exchange_names(exchange, &names)
            activity_begin(
                row, self.activity.process, PyThread_get_thread_ident(), timeline_turn_ns(&exchange.timeline), &names,
                origin.address, origin.address_length)
        set_own_row(row)
        return row

    cdef void note_client(self, const Exchange *exchange) noexcept:
        """Note the client that a trusted proxy has named."""
        cdef ActivityRow *row = <ActivityRow *> own_row()
        if row != NULL:
            activity_name_client(row, exchange.client, exchange.client_length)

    cdef void exit_forked_copy_with(self, object error) noexcept:
        """End this process if it is a copy that the application has forked: the original answers the turn.

        error: what the application raised in it. Such a copy usually ends itself by SystemExit.
        """
        if is_forked_copy(self.began):
            end_process(error)

    cdef int run(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1:
        """Let the application do one turn, and send its response. Returns a TurnEnd.

        waited_s: seconds that the request waited for a worker. What the bridge puts into `exchange.app_state` is there
        again in the connection's next turn. Neither an exception of the application nor a copy that it forks gets out
        of this function.
        """
        cdef ActivityRow *row = NULL
        if self.activity.table != NULL:
            row = self.note_turn(exchange, origin)
        try:
            return self.do_turn(exchange, origin, sink, waited_s)
        finally:
            exit_forked_copy(self.began)
            if row != NULL:
                set_own_row(NULL)
                activity_end(row, self.pid)

    cdef int refuse(self, Exchange *exchange, Sink *sink, int status) noexcept:
        """Answer with an error if a turn cannot be run at all. Makes no Python object. Returns a TurnEnd."""
        return TURN_RESET

    cdef void discard_state(self, void *app_state) noexcept:
        """Release the bridge's state: the connection has ended. Called once, if there is any."""
        self.do_discard_state(app_state)
        exit_forked_copy(self.began)

    cdef int do_turn(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1:
        """Serve a turn, for `run`. A copy must send nothing: check for one before each send or further call."""
        raise NotImplementedError

    cdef void do_discard_state(self, void *app_state) noexcept:
        """Release the bridge's state, for `discard_state`."""
