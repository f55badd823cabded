"""Writing to what may have no reader any more, from Python: no SIGPIPE ends the process. See the .pxd."""
from libc.errno cimport EINTR, errno


cdef class Quiet:
    """A context in which no SIGPIPE reaches the thread that entered it. Keep it short: what it starts inherits that."""
    cdef bint blocked

    def __enter__(self):
        self.blocked = block_pipe()
        return self

    def __exit__(self, *_exc_info):
        if self.blocked:
            unblock_pipe(True)


def write_byte(int fd):
    """Write a byte to a pipe, for whoever waits at its other end. Does nothing if nobody does."""
    while quiet_write(fd, b"e", 1) < 0 and errno == EINTR:
        pass
