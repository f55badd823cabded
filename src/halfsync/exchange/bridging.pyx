"""The bridge from a model to the application: one turn after the other, whatever the protocol.

A model has received what makes a turn and gives it to `run`, which calls the application and sends what comes of it.
The models know no other part of a bridge, and a bridge knows no model.
"""

from halfsync.native.forks cimport copies, end_process, exit_forked_copy, is_forked_copy


cdef class Bridge:
    """What every bridge is. One a server; all of its workers share it, and call it with the GIL."""

    def __cinit__(self, *_args, **_kwargs):
        self.note_process()

    def note_process(self):
        """Say that this process serves."""
        self.began = copies[0]

    cdef void exit_forked_copy_with(self, object error) noexcept:
        """End this process if it is a copy that the application has forked: the original answers the turn.

        error: what the application raised in it; SystemExit is how such a copy usually means to end.
        """
        if is_forked_copy(self.began):
            end_process(error)

    cdef int run(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1:
        """Have the application do one turn, and send its response. Returns a TurnEnd.

        waited_s: seconds that the request waited for a worker. What the bridge puts into `exchange.app_state` it finds
        there in the connection's next turn. Neither an exception of the application nor a copy that it forks gets past
        here.
        """
        try:
            return self.do_turn(exchange, origin, sink, waited_s)
        finally:
            exit_forked_copy(self.began)

    cdef int refuse(self, Exchange *exchange, Sink *sink, int status) noexcept:
        """Answer a turn that cannot be run at all with an error. Makes no Python object. Returns a TurnEnd."""
        return TURN_RESET

    cdef void discard_state(self, void *app_state) noexcept:
        """Let go of what was kept: the connection has ended. Called once, unless nothing was."""
        self.do_discard_state(app_state)
        exit_forked_copy(self.began)

    cdef int do_turn(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1:
        """Serve a turn, for `run`. A copy must send nothing: look for one before each send, and before calling on."""
        raise NotImplementedError

    cdef void do_discard_state(self, void *app_state) noexcept:
        """Let go of what was kept, for `discard_state`."""
