# The wakeup pipes that wake whoever waits for a client, in this process and in its forked children.


cdef class WakeupPipes:
    cdef readonly int drain_fd  # reading ends: readable once it is signalled, for ever
    cdef readonly int stop_fd
    cdef int drain_end        # writing ends; -1: signalled, or another process's to signal
    cdef int stop_end
