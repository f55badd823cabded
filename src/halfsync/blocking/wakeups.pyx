"""Two wakeup pipes: one is signalled when the server drains or hands off, one when it stops.

Once signalled, a pipe stays readable. A forked child inherits the reading ends. So it notices the death of its parent
too: a pipe is also readable when no process has its writing end open.
"""

from posix.unistd cimport close

from halfsync.native.pipes cimport quiet_write

from halfsync.runtime.originals import os


cdef class WakeupPipes:
    """Both ends of both pipes. The driver owns them; one thread at a time signals."""

    def __cinit__(self):
        self.drain_fd = self.stop_fd = self.drain_end = self.stop_end = -1

    def __init__(self):
        """Make the pipes. Raises OSError if descriptors are short."""
        self.drain_fd, self.drain_end = os.pipe()
        self.stop_fd, self.stop_end = os.pipe()

    def __dealloc__(self):
        close_end(&self.drain_end)
        close_end(&self.stop_end)
        close_end(&self.drain_fd)
        close_end(&self.stop_fd)

    def signal_drain(self):
        """Wake the threads of idle connections, to look at the command."""
        signal_pipe(&self.drain_end)

    def signal_stop(self):
        """Wake every thread that waits for a client: none may wait for one from now on."""
        signal_pipe(&self.stop_end)

    def close_writers(self):
        """Close the writing ends in a forked child: only the parent may signal them; its death closes them."""
        close_end(&self.drain_end)
        close_end(&self.stop_end)

    def close(self):
        """Close all ends, once no thread watches them."""
        self.close_writers()
        close_end(&self.drain_fd)
        close_end(&self.stop_fd)


cdef void signal_pipe(int *end) noexcept nogil:
    """Make a pipe readable for good, by a byte that stays in it: others may have the writing end open too."""
    if end[0] >= 0:
        quiet_write(end[0], b"!", 1)
        close_end(end)


cdef void close_end(int *end) noexcept nogil:
    if end[0] >= 0:
        close(end[0])
        end[0] = -1
