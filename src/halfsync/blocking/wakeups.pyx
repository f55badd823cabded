"""Two wakeup pipes, one for when the server drains or leaves, one for when it stops: they become readable for good.

A forked child inherits the reading ends, so that it hears of the death of its parent as well: a pipe is readable too
when nobody has its writing end open any more.
"""

from posix.unistd cimport close

from halfsync.native.pipes cimport quiet_write

from halfsync.runtime.originals import os


cdef class WakeupPipes:
    """Both ends of both pipes. The driver owns them; one thread at a time signals."""

    def __cinit__(self):
        self.drain_fd = self.stop_fd = self.drain_end = self.stop_end = -1

    def __init__(self):
        """Make the pipes. Raises OSError where descriptors are short."""
        self.drain_fd, self.drain_end = os.pipe()
        self.stop_fd, self.stop_end = os.pipe()

    def __dealloc__(self):
        close_end(&self.drain_end)
        close_end(&self.stop_end)
        close_end(&self.drain_fd)
        close_end(&self.stop_fd)

    def signal_drain(self):
        """Tell those who idle to look at what they are told."""
        signal_pipe(&self.drain_end)

    def signal_stop(self):
        """Tell everybody who waits that nobody waits for a client any more."""
        signal_pipe(&self.stop_end)

    def close_writers(self):
        """Close the writing ends in a forked child: they are for the parent to signal, or to close as it dies."""
        close_end(&self.drain_end)
        close_end(&self.stop_end)

    def close(self):
        """Close everything, once nobody listens any more."""
        self.close_writers()
        close_end(&self.drain_fd)
        close_end(&self.stop_fd)


cdef void signal_pipe(int *end) noexcept nogil:
    """Make a pipe readable for good: by a byte that nobody takes, since others may hold the writing end open as well.
    """
    if end[0] >= 0:
        quiet_write(end[0], b"!", 1)
        close_end(end)


cdef void close_end(int *end) noexcept nogil:
    if end[0] >= 0:
        close(end[0])
        end[0] = -1
