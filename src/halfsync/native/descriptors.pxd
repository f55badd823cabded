# Where the server keeps its descriptors. An application that calls select(2) can only use descriptors below FD_SETSIZE,
# 1024, and a new descriptor gets the lowest free number. So the server leaves most of these to the application: what it
# has for each client (a connection, a temporary file, a static file that is sent) keeps its number below LOW_OURS, and
# is moved out of the range from there on (decisions/0033).
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

cdef enum:
    LOW_OURS = 256  # below it nothing is moved: most servers never have so many, and pay nothing
    LOW_END = 1024

# Move a descriptor that was just opened, close-on-exec, out of the low numbers. Returns the descriptor to use from now
# on. That is the same one if it is not low, if the limit on open files leaves no others, or if it is an error.
cdef inline int move_out_of_low(int fd) noexcept nogil:
    cdef int moved
    if fd < LOW_OURS or fd >= LOW_END:
        return fd
    moved = fcntl(fd, F_DUPFD_CLOEXEC, LOW_END)
    if moved < 0:
        return fd
    close(fd)
    return moved
