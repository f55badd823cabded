# What is counted of lanes, for metrics and the status. A lane is known by its name: a reload may add, drop, rename and
# reorder lanes, and processes of two generations serve at the same time. So each name has one row for as long as the
# server lives, the same one in the slots of all processes (decisions/0039).
#
# The names are written by the supervisor alone, before it forks the processes that have these lanes. They are never
# changed, so any process reads them.
from halfsync.native.sync cimport atomic_uint, load_uint

cdef enum:
    LANE_ROWS = 64            # the last one is of all lanes whose names came when no other row was left
    LANE_OTHERS = LANE_ROWS - 1
    LANE_NAME_BYTES = 40      # of a name, terminated: the settings allow 32

cdef extern from *:
    """
    #define HS_LANE_OTHERS_NAME "(other)"  /* no lane can have this name */
    """
    const char *OTHERS_NAME "HS_LANE_OTHERS_NAME"

ctypedef struct LaneNames:
    atomic_uint count         # written last
    char names[LANE_OTHERS][LANE_NAME_BYTES]

# A lane of a process at one moment. Written under the lock of its queue. Those without a row of their own show nothing.
ctypedef struct LaneGauge:
    long long exists          # 1: the process has such a lane
    long long length          # requests that wait
    long long oldest_ns       # since when the first one has waited, on the monotonic clock; used if there is one
    long long busy            # turns under way

# What a lane has counted. Never goes back: a slot keeps it when its process ends.
ctypedef struct LaneCounts:
    long long taken           # requests that a worker took; under the lock of the queue
    long long shed            # answered 503 since there was no room; by the engine
    long long expired         # answered 503 since they had waited too long; by the engine


cdef inline unsigned int lane_names_count(LaneNames *names) noexcept nogil:
    return load_uint(&names.count)


cdef inline const char *lane_row_name(LaneNames *names, int row) noexcept nogil:
    """Return the name of a row that is in use."""
    return OTHERS_NAME if row == LANE_OTHERS else names.names[row]
