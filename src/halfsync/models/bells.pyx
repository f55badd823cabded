"""Two bells, one for when the server drains or leaves, one for when it stops: pipes that become readable for good.

A forked child inherits the reading ends, so that it hears of the death of its parent as well: a pipe is readable too
when nobody has its writing end open any more.
"""
import os

from posix.unistd cimport close, write


cdef class Bells:
    """The ends of both pipes. The carrier owns them; one thread at a time rings."""

    def __cinit__(self):
        self.drain_fd = self.stop_fd = self.writing[BELL_DRAIN] = self.writing[BELL_STOP] = -1

    def __init__(self):
        """Raises OSError where descriptors are short."""
        self.drain_fd, self.writing[BELL_DRAIN] = os.pipe()
        self.stop_fd, self.writing[BELL_STOP] = os.pipe()

    def __dealloc__(self):
        self.close()

    cdef void ring(self, int which) noexcept:
        """Ring a bell for good. By a byte that nobody takes, since others may hold its writing end open as well."""
        if self.writing[which] >= 0:
            write(self.writing[which], b"!", 1)
            close(self.writing[which])
            self.writing[which] = -1

    def leave_to_parent(self):
        """Close the writing ends in a forked child: they are for the parent to ring, or to drop as it dies."""
        cdef int which
        for which in range(BELLS):
            if self.writing[which] >= 0:
                close(self.writing[which])
                self.writing[which] = -1

    def close(self):
        """Close everything, once nobody listens any more."""
        self.leave_to_parent()
        if self.drain_fd >= 0:
            close(self.drain_fd)
        if self.stop_fd >= 0:
            close(self.stop_fd)
        self.drain_fd = self.stop_fd = -1
