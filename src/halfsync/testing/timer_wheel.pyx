"""A thin Python wrapper of the timer wheel, for its unit tests. Only in checks builds."""
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

cimport halfsync.engine.timers as timers

TICK_NS = 1 << timers.TICK_SHIFT
WHEEL_TICKS = <int> timers.SLOTS


cdef class PyTimer:
    """The timer of one deadline. The wheel keeps it alive."""
    cdef timers.Timer native


cdef class PyWheel:
    """The timer wheel."""
    cdef timers.Wheel *native
    cdef dict timers

    def __cinit__(self, int64_t now):
        self.native = <timers.Wheel *> malloc(sizeof(timers.Wheel))
        timers.wheel_init(self.native, now)
        self.timers = {}

    def __dealloc__(self):
        free(self.native)

    def set(self, PyTimer timer, int64_t deadline):
        self.timers[<size_t> &timer.native] = timer
        timers.wheel_set(self.native, &timer.native, deadline)

    def clear(self, PyTimer timer):
        timers.wheel_clear(self.native, &timer.native)

    def due(self, int64_t now):
        cdef timers.Timer *timer = timers.wheel_due(self.native, now)
        return None if timer == NULL else self.timers[<size_t> timer]

    def next(self, int64_t now):
        return timers.wheel_next(self.native, now)
