from halfsync.shared.activity cimport Activity, ActivityRef
from halfsync.shared.slots cimport ScoreboardRecord, SlotRecord, SlotRef

cdef class Scoreboard:
    cdef ScoreboardRecord *record
    cdef readonly int size
    cdef readonly Activity activity   # what the workers of all processes do now

cdef class Slot:
    cdef readonly Scoreboard scoreboard
    cdef SlotRecord *record
    cdef SlotRef ref
    cdef readonly int number
    cdef readonly object capsule   # of `ref`, for models; lives as long as the slot
