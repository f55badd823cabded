# Forks by the application: whether this process is a copy, and how a copy ends. See the .pyx.

cdef unsigned int *copies  # how many forks by the application led to this process
cdef unsigned int *forks  # how many forks by the application and by the server did

# Return whether this process is a copy of the one in which `copies[0]` was `began`.
cdef inline bint is_forked_copy(unsigned int began) noexcept nogil:
    return copies[0] != began

# Return whether this process was forked since `forks[0]` was `began`, by application or server: its threads are gone.
cdef inline bint is_forked(unsigned int began) noexcept nogil:
    return forks[0] != began

# End this process if it is a copy; else do nothing.
cdef inline void exit_forked_copy(unsigned int began) noexcept:
    if copies[0] != began:
        end_process(None)

cdef void end_process(object error) noexcept
cdef bint is_noted(int number) noexcept nogil
