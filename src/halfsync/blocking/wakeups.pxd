# The bells that wake whoever waits for a client, in this process and in its forked children.


cdef class Bells:
    cdef readonly int drain_fd  # reading ends: readable once the bell is rung, for ever
    cdef readonly int stop_fd
    cdef int drain_end        # writing ends; -1: rung, or another process's to ring
    cdef int stop_end
