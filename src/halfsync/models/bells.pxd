# The bells that wake whoever waits for a client, in this process and in its forked children.

cdef enum:
    BELL_DRAIN                # to leave as well
    BELL_STOP
    BELLS


cdef class Bells:
    cdef readonly int drain_fd  # reading ends: readable once the bell is rung, for ever
    cdef readonly int stop_fd
    cdef int writing[BELLS]   # -1: rung, or another process's to ring

    cdef void ring(self, int which) noexcept
