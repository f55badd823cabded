# A thread that has the GIL and is no worker: it reads the stacks of workers. See watcher.pyx.
from libc.stdint cimport int64_t, uint32_t

from halfsync.shared.activity cimport ACTIVITY_ROWS, ActivityRef, ActivityRow, ActivityTurn

# Where a thread is, outermost call first, as triples of file, line and function; empty: it has ended, or memory is
# short. No other thread runs meanwhile (with the GIL).
cdef list stack_entries(unsigned long thread)
# The text of that, with the source lines; "": there is none, or memory is short.
cdef str stack_text(list entries)


cdef enum:
    LATE_MOST = 16            # slow turns that are logged at once; others follow

# A turn that was found to be slow.
ctypedef struct Late:
    uint32_t index            # of its row
    unsigned int version
    ActivityTurn turn


cdef class Watcher:
    cdef ActivityRef activity
    cdef unsigned int pid     # of the process that it watches
    cdef double slow_s
    cdef int64_t slow_ns      # 0: slow turns are not logged
    cdef unsigned int answered  # `wanted` that was answered last
    cdef bint closing
    cdef bint working         # it reads or logs, and may be in the application's logging
    cdef object thread        # None: it does not run
    cdef object pinned        # what `activity` points to
    cdef uint32_t logged[ACTIVITY_ROWS]  # versions of the turns that were found to be slow
    cdef Late late[LATE_MOST]
    cdef uint32_t late_count

    cdef void wait(self) noexcept nogil
    cdef int64_t find_late(self) noexcept nogil
    cdef bint is_over(self, ActivityRow *row, unsigned int version) noexcept nogil
    cdef int write_stacks(self) except -1
    cdef int write_stack(self, ActivityRow *row, const ActivityTurn *turn, unsigned int version) except -1
    cdef int log_slow(self, const Late *late) except -1
