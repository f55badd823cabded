# A gate before the GIL, for when more threads exist than should wait for it at the same time, or to measure how long
# they wait.
#
# A thread that waits for the GIL wakes every 5 ms (sys.getswitchinterval) to ask for it. With some thousand such
# threads the machine does nothing else, and the thread that has the GIL gives it up each time. So a thread of ours that
# has waited without the GIL passes a gate on its way back: it enters before it asks for the GIL, and leaves as soon as
# it has it. The gate does not limit how long a thread then keeps the GIL, nor what it waits for in the application.
from libc.stdint cimport int64_t

from halfsync.native.counting cimport Histogram, histogram_add_shared, time_bounds
from halfsync.native.sync cimport monotonic_ns, sem_destroy, sem_init, sem_post, sem_t, sem_wait

ctypedef struct Gate:
    bint limits               # there is a number of permits
    sem_t permits
    Histogram *waits          # in shared memory: from entering to leaving; NULL: it is not measured


cdef inline void gate_open(Gate *gate, unsigned int permits) noexcept nogil:
    """Prepare a gate that lets this many threads in at a time. 0: any number."""
    gate.limits = permits > 0
    gate.waits = NULL
    if gate.limits:
        sem_init(&gate.permits, 0, permits)


cdef inline void gate_close(Gate *gate) noexcept nogil:
    """Free a gate that is no longer used."""
    if gate.limits:
        sem_destroy(&gate.permits)


cdef inline int64_t gate_enter(Gate *gate) noexcept nogil:
    """Wait for a permit, and return what gate_leave needs. Call without the GIL. gate: NULL: do nothing."""
    cdef int64_t since = 0
    if gate != NULL:
        if gate.waits != NULL:
            since = monotonic_ns()
        if gate.limits:
            while sem_wait(&gate.permits) != 0:  # a signal has interrupted it
                pass
    return since


cdef inline void gate_leave(Gate *gate, int64_t since) noexcept nogil:
    """Give the permit back. Call with the GIL. gate: NULL: do nothing. since: what gate_enter has returned."""
    if gate != NULL:
        if gate.limits:
            sem_post(&gate.permits)
        if gate.waits != NULL:
            histogram_add_shared(gate.waits, time_bounds(), monotonic_ns() - since)
