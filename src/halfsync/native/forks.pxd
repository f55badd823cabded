# Forks of the application: whether this process is a copy, and how a copy ends. See the .pyx.

cdef unsigned int *copies  # how many of the application's forks led to this process
cdef unsigned int *forks  # how many forks of the application and of the server did

# Tell whether this process is a copy of the one in which `copies[0]` was `began`.
cdef inline bint is_forked_copy(unsigned int began) noexcept nogil:
    return copies[0] != began

# Tell whether this process was forked, by whomever, since `forks[0]` was `began`: it has none of the threads from then.
cdef inline bint is_forked(unsigned int began) noexcept nogil:
    return forks[0] != began

# End this process if it is a copy; else do nothing.
cdef inline void exit_forked_copy(unsigned int began) noexcept:
    if copies[0] != began:
        end_process(None)

cdef void end_process(object error) noexcept
cdef bint is_noted(int number) noexcept nogil
