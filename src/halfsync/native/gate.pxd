# A gate before the GIL, for when more threads exist than should wait for it at the same time.
#
# A thread that waits for the GIL wakes every 5 ms (sys.getswitchinterval) to ask for it. With some thousand such
# threads the machine does nothing else, and the thread that has the GIL gives it up each time. So a thread of ours that
# has waited without the GIL passes a gate on its way back: it enters before it asks for the GIL, and leaves as soon as
# it has it. The gate does not limit how long a thread then keeps the GIL, nor what it waits for in the application.
from halfsync.native.sync cimport sem_destroy, sem_init, sem_post, sem_t, sem_wait

ctypedef struct Gate:
    sem_t permits


cdef inline void gate_open(Gate *gate, unsigned int permits) noexcept nogil:
    """Prepare a gate that lets this many threads in at a time."""
    sem_init(&gate.permits, 0, permits)


cdef inline void gate_close(Gate *gate) noexcept nogil:
    """Free a gate that is no longer used."""
    sem_destroy(&gate.permits)


cdef inline void gate_enter(Gate *gate) noexcept nogil:
    """Wait for a permit. Call without the GIL. gate: NULL: do nothing."""
    if gate != NULL:
        while sem_wait(&gate.permits) != 0:  # a signal has interrupted it
            pass


cdef inline void gate_leave(Gate *gate) noexcept nogil:
    """Give the permit back. Call with the GIL. gate: NULL: do nothing."""
    if gate != NULL:
        sem_post(&gate.permits)
