"""The bridge from a model to the application: one turn after the other, whatever the protocol.

A model has received what makes a turn and gives it to `run`, which calls the application and sends what comes of it.
The models know no other part of a bridge, and a bridge knows no model.
"""


cdef class Bridge:
    """What every bridge is. One a server; all of its workers share it, and call it with the GIL."""

    cdef int run(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1:
        """Have the application do one turn, and send its response. Returns a TurnEnd.

        waited_s: seconds that the request waited for a worker. What the bridge puts into `exchange.kept` it finds there
        in the connection's next turn. Whatever the application raises ends here.
        """
        raise NotImplementedError

    cdef void forget(self, void *kept) noexcept:
        """Let go of what was kept: the connection has ended. Called once, unless nothing was."""
