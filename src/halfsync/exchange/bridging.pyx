"""The bridge from a model to the application: one turn after another, for any protocol.

A model receives what makes a turn and gives it to `run`, which calls the application and sends the response. The
models know no other part of a bridge, and a bridge knows no model.
"""

from halfsync.exchange.outcome cimport OUTCOME_ERROR, outcome_note
from halfsync.exchange.refusal cimport REASON_APPLICATION, REASON_RESOURCES, exchange_error
from halfsync.http.response_head cimport ERROR_BYTES
from halfsync.native.forks cimport copies, end_process, exit_forked_copy, is_forked_copy


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
        try:
            return self.do_turn(exchange, origin, sink, waited_s)
        finally:
            exit_forked_copy(self.began)

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
