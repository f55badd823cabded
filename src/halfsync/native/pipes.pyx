"""Write, from Python, to a pipe that may have lost its reader, without SIGPIPE. See the .pxd."""
from libc.errno cimport EINTR, errno


cdef class Quiet:
    """A context that blocks SIGPIPE in the calling thread. Keep it short: programs started in it inherit the block."""
    cdef bint blocked

    def __enter__(self):
        self.blocked = block_pipe()
        return self

    def __exit__(self, *_exc_info):
        if self.blocked:
            unblock_pipe(True)


def write_byte(int fd):
    """Write a byte to a pipe, to wake its reader. Does nothing if there is no reader."""
    while quiet_write(fd, b"e", 1) < 0 and errno == EINTR:
        pass
