"""The scoreboard: a page of memory that the processes of one server share, with a slot for each.

It keeps the load even. All processes accept from the same listening sockets, and the kernel wakes a sleeping process,
mostly the same one. So a process that has more than its share of the connections (it is over its share) leaves new
connections to the others, and accepts again when it is not. The process with the fewest connections is never over its
share for long: one that goes over its share wakes all, which then check again. No process waits for another,
and one that dies blocks nothing: its supervisor clears its slot.

If a process lives but does not accept, because it is stopped or its application keeps the GIL, new connections would
wait for it. So a process over its share checks its listeners now and then. If connections have waited at each check
for NEGLECT_NS, it accepts in spite of its share.
"""

from libc.string cimport memset, strcmp, strncpy

from cpython.pycapsule cimport PyCapsule_New

from halfsync.native.counting cimport set_count
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport add_llong, init_llong, init_uint, load_llong, load_uint, store_uint
from halfsync.shared.lane_metrics cimport LANE_NAME_BYTES, LANE_OTHERS, LaneNames, lane_names_count
from halfsync.shared.metrics cimport RESTART_CAUSES, Gauges, Metrics, SlotMetrics, restart_name, slot_metrics_at
from halfsync.shared.slots cimport (
    SLOT_BOOTING, SLOT_EMPTY, SLOT_SERVING, SLOT_STATES, scoreboard_serving, slot_at, slot_count, slot_may_accept,
    slot_note_closed, slot_state_name, slot_stop_accepting, wake_all,
)

from halfsync.runtime.originals import os, time

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    const int EFD_CLOEXEC, EFD_NONBLOCK

STATES = tuple([slot_state_name(each).decode("ascii") for each in range(SLOT_STATES)])  # of a process
RESTARTS = tuple([restart_name(each).decode("ascii") for each in range(RESTART_CAUSES)])  # why a process was replaced


cdef class Scoreboard:
    """The slots of one server. Made before its processes are forked, which inherit it. size: the number of slots.

    Raises MemoryError or OSError if memory or descriptors are short.
    """

    def __init__(self, int size):
        self.size = size
        self.record = <ScoreboardRecord *> map_shared(sizeof(ScoreboardRecord) + size * sizeof(SlotRecord))
        if self.record == NULL:
            raise MemoryError
        self.activity = Activity()
        self.record.wakeup_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.record.wakeup_fd < 0:
            raise OSError("no descriptor to wake other processes")

    def measure(self, lanes=()):
        """Make memory for metrics, if there is none yet. Processes forked before have none. Raises MemoryError.

        lanes: the names of the lanes of processes forked from now on. Only one process may give names. Only the memory
        of slots that were used is taken.
        """
        if self.metrics == NULL:
            self.metrics = <Metrics *> map_shared(self.metrics_bytes)
            if self.metrics == NULL:
                raise MemoryError
            self.metrics.started_s = <long long> time()
        for name in lanes:
            self.name_lane(name.encode("ascii"))

    cdef int name_lane(self, bytes name) except -1:
        """Give a lane a row, unless its name has one, or none is left."""
        cdef LaneNames *names = &self.metrics.lanes
        cdef unsigned int count = lane_names_count(names)
        if self.lane_row(name) == LANE_OTHERS and count < LANE_OTHERS:
            strncpy(names.names[count], name, LANE_NAME_BYTES - 1)
            store_uint(&names.count, count + 1)
        return 0

    cdef int lane_row(self, bytes name) except -1:
        """Return the row of a lane's name."""
        cdef LaneNames *names = &self.metrics.lanes
        cdef unsigned int row
        for row in range(lane_names_count(names)):
            if strcmp(names.names[row], name) == 0:
                return row
        return LANE_OTHERS

    @property
    def metrics_bytes(self):
        """The size of the memory for metrics."""
        return sizeof(Metrics) + self.size * sizeof(SlotMetrics)

    def note_restarts(self, counts):
        """Note how many processes were replaced so far. counts: by cause, one of RESTARTS."""
        cdef int cause
        if self.metrics != NULL:
            for cause in range(RESTART_CAUSES):
                set_count(&self.metrics.restarts[cause], counts[RESTARTS[cause]])

    def slot(self, int number, bint measured=False):
        """Return a slot. number: from 0. measured: its process counts for metrics: call `measure` first."""
        cdef Slot slot
        if not 0 <= number < self.size:
            raise ValueError(f"the scoreboard has no slot {number}")
        if measured and self.metrics == NULL:
            raise ValueError("the scoreboard has no memory for metrics")
        slot = Slot.__new__(Slot)
        slot.scoreboard = self
        slot.record = slot_at(self.record, number)
        slot.number = number
        slot.ref.scoreboard = self.record
        slot.ref.slot = slot.record
        slot.ref.metrics = slot_metrics_at(self.metrics, number) if measured else NULL
        slot.capsule = PyCapsule_New(&slot.ref, b"halfsync.slot", NULL)
        if load_uint(&self.record.used) <= <unsigned int> number:
            store_uint(&self.record.used, number + 1)
        return slot

    def __dealloc__(self):
        unmap_shared(self.record, sizeof(ScoreboardRecord) + self.size * sizeof(SlotRecord))
        unmap_shared(self.metrics, self.metrics_bytes)

    @property
    def shutting_down(self):
        """Whether the server is about to end."""
        return load_uint(&self.record.shutting_down) != 0

    @shutting_down.setter
    def shutting_down(self, bint shutting_down):
        store_uint(&self.record.shutting_down, shutting_down)

    @property
    def wakeup_fd(self):
        """A descriptor that becomes readable when all processes must check again; none needs to read from it."""
        return self.record.wakeup_fd

    @property
    def serving(self):
        """The number of processes that serve."""
        return scoreboard_serving(self.record, 0xFFFFFFFF)

    def close(self):
        """Close its descriptor."""
        if self.record.wakeup_fd >= 0:
            os.close(self.record.wakeup_fd)
            self.record.wakeup_fd = -1


cdef class Slot:
    """One process's slot on the scoreboard."""

    def take(self):
        """Take the slot for a process that is about to start, without anything of an earlier process."""
        self.clear()
        store_uint(&self.record.state, SLOT_BOOTING)

    def clear(self):
        """Clear the slot: its process has ended, and others may accept in its place."""
        store_uint(&self.record.state, SLOT_EMPTY)
        init_uint(&self.record.open, 0)
        init_uint(&self.record.over_share, 0)
        init_uint(&self.record.stuck, 0)
        init_llong(&self.record.requests, 0)
        self.scoreboard.activity.end_process(self.number)
        self.clear_gauges()
        wake_all(self.scoreboard.record)

    cdef void clear_gauges(self) noexcept:
        """Clear what metrics say of this moment. An earlier process of the slot may have counted."""
        cdef SlotMetrics *metrics
        if self.scoreboard.metrics != NULL:
            metrics = slot_metrics_at(self.scoreboard.metrics, self.number)
            memset(&metrics.gauges, 0, sizeof(Gauges))
            metrics.counters.open = metrics.counters.running = 0

    def serve(self):
        """Begin to accept."""
        store_uint(&self.record.state, SLOT_SERVING)
        wake_all(self.scoreboard.record)

    def describe(self, name, model, threads, generation=0):
        """Say what the calling process is, for the status. name: of the application. threads: the setting."""
        self.scoreboard.activity.begin_process(self.number, name, model, threads, generation)

    def lane_row(self, name):
        """Return the row in which a lane with this name is counted. The slot must be measured."""
        return self.scoreboard.lane_row(name.encode("ascii"))

    def stop_accepting(self):
        """Stop accepting."""
        slot_stop_accepting(self.record)
        wake_all(self.scoreboard.record)

    def note_closed(self):
        """Note that the listeners are closed: for tests."""
        slot_note_closed(self.record)

    @property
    def state(self):
        """One of STATES."""
        return STATES[load_uint(&self.record.state)]

    @property
    def open(self):
        """The number of connections now."""
        return load_uint(&self.record.open)

    @property
    def requests(self):
        """Requests served."""
        return load_llong(&self.record.requests)

    @property
    def stuck(self):
        """The number of threads that passed the deadline of their turn and are still in the application."""
        return load_uint(&self.record.stuck)

    @stuck.setter
    def stuck(self, unsigned int stuck):
        store_uint(&self.record.stuck, stuck)

    def add(self, int change):
        """Count connections that began (positive) or ended (negative): for tests."""
        slot_count(self.record, change)

    def may_accept(self):
        """Return whether this process may accept new connections now."""
        return slot_may_accept(self.scoreboard.record, self.record)

    def count_request(self):
        """Count a request: for tests."""
        add_llong(&self.record.requests, 1)
