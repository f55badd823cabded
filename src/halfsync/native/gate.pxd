# A gate before the GIL, where there are more threads than should wait for it at one time.
#
# A thread that waits for the GIL wakes every 5 ms (sys.getswitchinterval) to ask for it. With some thousand of them the
# machine does nothing else, and whoever has the GIL gives it up each time. So a thread passes a gate when it has waited
# without the GIL for something of ours, and comes back: it enters before it asks for the GIL, and leaves as soon as it
# has it. How long it keeps the GIL then, or what it waits for in the application, is not the gate's business.
from halfsync.native.sync cimport sem_destroy, sem_init, sem_post, sem_t, sem_wait

ctypedef struct Gate:
    sem_t permits


cdef inline void gate_open(Gate *gate, unsigned int permits) noexcept nogil:
    """Prepare a gate for so many at a time."""
    sem_init(&gate.permits, 0, permits)


cdef inline void gate_close(Gate *gate) noexcept nogil:
    """Let go of a gate that nobody uses any more."""
    sem_destroy(&gate.permits)


cdef inline void gate_enter(Gate *gate) noexcept nogil:
    """Wait for a permit, without the GIL. gate: NULL: there is none to wait for."""
    if gate != NULL:
        while sem_wait(&gate.permits) != 0:  # a signal has interrupted it
            pass


cdef inline void gate_leave(Gate *gate) noexcept nogil:
    """Give the permit back, with the GIL."""
    if gate != NULL:
        sem_post(&gate.permits)
