"""The request queue, for its unit tests. Only in checks builds. Each method is one native function (exchanges.pyx)."""
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject

from halfsync.native.sync cimport monotonic_ns
from halfsync.pool.lane_records cimport LANES_MOST, Lanes
from halfsync.pool.lanes cimport lanes_have_work, lanes_measure
from halfsync.pool.queue_records cimport Queue, QueueWatch, Taker
from halfsync.pool.queue_slot cimport QueueSlot
from halfsync.pool.request_queue cimport (
    TAKEN_ITEM, queue_check, queue_close, queue_count_in, queue_count_new, queue_count_out,
    queue_destroy, queue_divide, queue_expire, queue_hold, queue_init, queue_lane_counts, queue_overload_s, queue_put,
    queue_put_in_lane, queue_sleep, queue_try_take, queue_unhold, queue_wake, queue_withdraw,
)
from halfsync.shared.client_counts cimport KEY_IPV4, KEY_NONE
from halfsync.shared.lane_metrics cimport LaneCounts, LaneGauge

cdef int64_t LONG_NS = 1 << 62
cdef int64_t LANE_TARGET_NS = 3600000000000  # an hour: no item of a test waits for so long, unless it says so


cdef class PyTaker:
    """One worker's record of its taking."""
    cdef Taker taker

    def __cinit__(self):
        memset(&self.taker, 0, sizeof(self.taker))


cdef class PyRequestQueue:
    """The request queue, holding Python objects."""
    cdef Queue native
    cdef QueueWatch watch

    def __cinit__(self, uint32_t limit, bint patient=False, *_args, uint32_t ticket=0, **_kwargs):
        """ticket: of the first item."""
        if queue_init(&self.native, limit, patient) < 0:
            raise MemoryError
        self.native.ticket = ticket
        memset(&self.watch, 0, sizeof(self.watch))

    def __dealloc__(self):
        queue_destroy(&self.native)

    def put(self, item, int64_t age_ns=0, int64_t elsewhere_ns=0):
        cdef int64_t ticket
        Py_INCREF(item)
        with nogil:
            ticket = queue_put(&self.native, <void *> item, monotonic_ns() - age_ns, elsewhere_ns)
        if ticket < 0:
            Py_DECREF(item)
        return ticket

    def wake(self):
        with nogil:
            queue_wake(&self.native)

    def try_take(self, bint woken=False, PyTaker worker=None):
        cdef QueueSlot slot
        cdef int taken
        if worker is None:
            worker = PyTaker()
            worker.taker.woken = woken
        with nogil:
            taken = queue_try_take(&self.native, &worker.taker, &slot)
        if taken != TAKEN_ITEM:
            return taken, None
        item = <object> <PyObject *> slot.item
        Py_DECREF(item)
        return taken, item

    def sleep(self, PyTaker worker=None):
        if worker is None:
            worker = PyTaker()
        with nogil:
            queue_sleep(&self.native, &worker.taker)

    def check(self, int64_t now):
        """Return how long the owner may rest, in ns, and whether something waits."""
        return queue_check(&self.native, &self.watch, now), bool(self.watch.waits)

    def close(self):
        with nogil:
            queue_close(&self.native)

    def withdraw(self, uint32_t ticket, item):
        """Withdraw this item, as the engine does."""
        cdef bint withdrawn
        with nogil:
            withdrawn = queue_withdraw(&self.native, ticket, <void *> item)
        if withdrawn:
            Py_DECREF(item)
        return withdrawn

    def expire(self, int64_t now):
        """Return the first item of an overloaded queue, if it has waited too long, else None."""
        cdef QueueSlot slot
        cdef bint expired
        with nogil:
            expired = queue_expire(&self.native, now, &slot)
        if not expired:
            return None
        item = <object> <PyObject *> slot.item
        Py_DECREF(item)
        return item

    def hold(self, uint32_t ticket, item):
        cdef bint held
        with nogil:
            held = queue_hold(&self.native, ticket, <void *> item)
        return bool(held)

    def unhold(self):
        queue_unhold(&self.native)

    @property
    def overloaded(self):
        return bool(self.native.overload.overloaded)

    @overloaded.setter
    def overloaded(self, bint overloaded):
        self.native.overload.interval_ns = LONG_NS  # so that it does not judge itself
        self.native.overload.overloaded = overloaded

    @property
    def length(self):
        return self.native.length

    @property
    def sleepers(self):
        return self.native.sleepers

    @property
    def awake(self):
        return self.native.awake

    @property
    def turn_ns(self):
        return self.native.turn_ns

    @turn_ns.setter
    def turn_ns(self, int64_t ns):
        self.native.turn_ns = ns

    @property
    def waking(self):
        return self.native.waking

    @property
    def refused(self):
        return self.native.refused

    @property
    def waited_ns(self):
        return self.native.waited_ns


cdef class PyLanedQueue(PyRequestQueue):
    """A request queue with lanes, which are shown in metrics."""
    cdef LaneGauge gauges[LANES_MOST]
    cdef LaneCounts lane_counts[LANES_MOST]

    def __init__(self, uint32_t limit, bint patient=False, *, lanes, int threads, int share=0):
        cdef Lanes native
        memset(&native, 0, sizeof(native))
        native.threads = threads
        native.share = share
        for guaranteed, most, waiting, priority in lanes:
            native.lanes[native.count].guaranteed = guaranteed
            native.lanes[native.count].most = most
            native.lanes[native.count].limit = waiting
            native.lanes[native.count].priority = priority
            native.count += 1
        if queue_divide(&self.native, &native) < 0:
            raise MemoryError
        for lane in range(native.count):
            lanes_measure(self.native.lanes, lane, &self.gauges[<int> lane], &self.lane_counts[<int> lane])

    def put_in(self, item, uint32_t lane, uint32_t client=0, int64_t age_ns=0, int64_t elsewhere_ns=0):
        cdef int64_t ticket
        Py_INCREF(item)
        with nogil:
            ticket = queue_put_in_lane(
                &self.native, <void *> item, monotonic_ns() - age_ns, elsewhere_ns, lane,
                KEY_IPV4 | client if client > 0 else KEY_NONE)
        if ticket < 0:
            Py_DECREF(item)
        return ticket

    def count_out(self, PyTaker worker):
        with nogil:
            queue_count_out(&self.native, &worker.taker)

    def count_in(self):
        with nogil:
            queue_count_in(&self.native)

    def count_new(self):
        with nogil:
            queue_count_new(&self.native)

    def counts_of(self, uint32_t lane):
        cdef uint32_t waiting, busy
        queue_lane_counts(&self.native, lane, &waiting, &busy)
        return waiting, busy

    def shown(self, uint32_t lane):
        cdef const LaneGauge *gauge = &self.gauges[lane]
        assert gauge.exists == 1
        return gauge.length, gauge.busy, gauge.oldest_ns if gauge.length > 0 else 0, self.lane_counts[lane].taken

    def retry_after_s(self, uint32_t lane, int64_t now):
        return queue_overload_s(&self.native, lane, now)

    def overload(self, uint32_t lane, bint overloaded):
        self.native.lanes.lanes[lane].overload.interval_ns = LONG_NS  # so that it does not judge itself
        self.native.lanes.lanes[lane].overload.target_ns = LANE_TARGET_NS
        self.native.lanes.lanes[lane].overload.overloaded = overloaded

    def is_overloaded(self, uint32_t lane):
        return bool(self.native.lanes.lanes[lane].overload.overloaded)

    @property
    def has_work(self):
        return bool(lanes_have_work(self.native.lanes))

    @property
    def clients(self):
        """How many clients have something that waits, or a turn."""
        cdef uint32_t index = self.native.lanes.counts.free
        free = 0
        while index != 0:
            free += 1
            index = self.native.lanes.counts.clients[index].next
        return self.native.lanes.counts.unused - 1 - free if self.native.lanes.share > 0 else 0
