"""`halfsync.timeline`: when what happened to a request, as its application reads it."""
cimport cython
from libc.stdint cimport int64_t

from halfsync.exchange.timeline cimport timeline_turn_ns

cdef tuple NAMES = ("accepted", "begun", "head", "body", "queued", "started", "first_byte", "last_byte")


cdef inline object seconds(int64_t ns):
    """Return a time as a float, or None if it is 0."""
    return ns * 1e-9 if ns > 0 else None


@cython.final
@cython.freelist(16)
cdef class RequestTimeline:
    """The times of one request, in seconds on the clock of time.monotonic(). None: it has not happened, or never does.

    They are read from the request while its turn lasts, in any thread with the GIL. After it they are as they were at
    its end, for an application that has kept this object.
    """

    cdef const Timeline *times(self) noexcept:
        """Return where the times are now."""
        return &self.exchange.timeline if self.exchange != NULL else &self.kept

    cdef void keep(self) noexcept:
        """Copy the times, since the request is about to end."""
        if self.exchange != NULL:
            self.kept = self.exchange.timeline

    @property
    def accepted(self):
        """When the connection was accepted, or adopted from another process."""
        return seconds(self.times().accepted_ns)

    @property
    def begun(self):
        """When the first byte of the request was received, or came next on its connection."""
        return seconds(self.times().first_byte_ns)

    @property
    def head(self):
        """When its head was complete."""
        return seconds(self.times().head_ns)

    @property
    def body(self):
        """When all of it was there, its body included."""
        return seconds(self.times().complete_ns)

    @property
    def queued(self):
        """When it was put into the queue; in the model pool, its connection. None: the model has no queue."""
        return seconds(self.times().queued_ns)

    @property
    def started(self):
        """When it was complete, and had a worker."""
        return seconds(timeline_turn_ns(self.times()))

    @property
    def first_byte(self):
        """When the first bytes of the response were sent."""
        return seconds(self.times().first_sent_ns)

    @property
    def last_byte(self):
        """When the last ones were, so far."""
        return seconds(self.times().last_sent_ns)

    def __repr__(self):
        return f"<halfsync.timeline {' '.join([f'{name}={getattr(self, name)}' for name in NAMES])}>"
