# The pipes that wake threads that wait for a client, in this process and in its forked children.


cdef class WakeupPipes:
    cdef readonly int drain_fd  # reading ends: readable for good once signalled
    cdef readonly int stop_fd
    cdef int drain_end        # writing ends; -1: signalled, or owned by another process
    cdef int stop_end
