"""The bridge from a model to the application: one turn after the other, whatever the protocol.

A model has received what makes a turn and gives it to `run`, which calls the application and sends what comes of it.
The models know no other part of a bridge, and a bridge knows no model.
"""


import os

from posix.unistd cimport getpid


cdef class Bridge:
    """What every bridge is. One a server; all of its workers share it, and call it with the GIL."""

    def __cinit__(self, *_args, **_kwargs):
        self.settle()

    def settle(self):
        """Say that this process serves."""
        self.process = getpid()

    cdef void leave_copy(self, object error) noexcept:
        """End the process if it is a copy that the application has forked: its turn is the original's to answer.

        error: what the application raised in it; SystemExit is how such a copy usually means to end.
        """
        if getpid() == self.process:
            return
        code = error.code if type(error) is SystemExit else 1
        os._exit(0 if code is None else code if type(code) is int else 1)

    cdef int run(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1:
        """Have the application do one turn, and send its response. Returns a TurnEnd.

        waited_s: seconds that the request waited for a worker. What the bridge puts into `exchange.kept` it finds there
        in the connection's next turn. Whatever the application raises ends here.
        """
        raise NotImplementedError

    cdef void forget(self, void *kept) noexcept:
        """Let go of what was kept: the connection has ended. Called once, unless nothing was."""
