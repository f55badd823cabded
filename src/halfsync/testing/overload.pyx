"""A thin Python wrapper of the overload control of a queue, for its unit tests. Only in checks builds."""
from libc.stdint cimport int64_t, uint32_t

cimport halfsync.pool.overload as overload

INTERVAL_MEANS = <int> overload.INTERVAL_MEANS
MEAN_WEIGHT = <int> overload.MEAN_WEIGHT
WAIT_MEANS = <int> overload.WAIT_MEANS
WAIT_SPREADS = <int> overload.WAIT_SPREADS


cdef class PyOverload:
    """The record of one queue. Times in ns."""
    cdef overload.Overload native

    def __cinit__(self, int64_t interval, int64_t target):
        overload.overload_init(&self.native, interval, target)

    def note_turn(self, int64_t length):
        overload.overload_note_turn(&self.native, length)

    def note_wait(self, int64_t now, int64_t wait):
        overload.overload_note_wait(&self.native, now, wait)

    def note_empty(self):
        overload.overload_note_empty(&self.native)

    def look(self, int64_t now, uint32_t length, int64_t oldest_wait):
        overload.overload_look(&self.native, now, length, oldest_wait)

    def limit(self, int64_t now):
        return overload.overload_limit(&self.native, now)

    def limit_of_first(self, int64_t now):
        return overload.overload_limit_of_first(&self.native, now)

    @property
    def overloaded(self):
        return bool(self.native.overloaded)

    @property
    def overloads(self):
        return self.native.overloads
