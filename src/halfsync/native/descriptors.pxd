# The numbers of descriptors. An application that calls select(2) can only use those below FD_SETSIZE, 1024, and a new
# descriptor gets the lowest number that is free. So the server leaves most of them to the application: whatever it has
# for each client (a connection, a temporary file, a static file that is sent) stays where the system put it up to
# LOW_OURS, and past that it is moved out of the range (decisions/0033).
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

cdef enum:
    LOW_OURS = 256  # below it nothing is moved: most servers never have so many, and pay nothing
    LOW_END = 1024

# Move a descriptor that was just opened, close-on-exec, out of the low numbers. Returns the descriptor to use from now
# on: the same one if it is not low, if the limit on open files leaves no others, or for an error.
cdef inline int move_out_of_low(int fd) noexcept nogil:
    cdef int moved
    if fd < LOW_OURS or fd >= LOW_END:
        return fd
    moved = fcntl(fd, F_DUPFD_CLOEXEC, LOW_END)
    if moved < 0:
        return fd
    close(fd)
    return moved
