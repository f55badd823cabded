from halfsync.shared.activity cimport Activity, ActivityRef
from halfsync.shared.metrics cimport Metrics
from halfsync.shared.slots cimport ScoreboardRecord, SlotRecord, SlotRef

cdef class Scoreboard:
    cdef ScoreboardRecord *record
    cdef readonly int size
    cdef readonly Activity activity   # what the workers of all processes do now
    cdef Metrics *metrics     # NULL: none are wanted yet

    cdef int name_lane(self, bytes name) except -1
    cdef int lane_row(self, bytes name) except -1

cdef class Slot:
    cdef readonly Scoreboard scoreboard
    cdef SlotRecord *record
    cdef SlotRef ref
    cdef readonly int number
    cdef readonly object capsule   # of `ref`, for models; lives as long as the slot

    cdef void clear_gauges(self) noexcept
