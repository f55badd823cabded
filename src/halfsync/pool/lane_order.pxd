# The order of the lines of a lane: two binary heaps over the same lines.
from halfsync.pool.lane_records cimport Lane, Line

cdef void line_enter(Lane *lane, Line *line) noexcept nogil
cdef void line_leave(Lane *lane, Line *line) noexcept nogil
cdef void line_moved(Lane *lane, int order, Line *line) noexcept nogil
