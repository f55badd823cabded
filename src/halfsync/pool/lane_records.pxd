# The records of the lanes of a request queue, all guarded by its lock. decisions/0039 says what each is for.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from halfsync.pool.overload cimport Overload
from halfsync.pool.queue_slot cimport QueueSlot
from halfsync.shared.client_counts cimport ClientCounts
from halfsync.shared.lane_metrics cimport LaneCounts, LaneGauge

cdef enum:
    LANES_MOST = 17           # with the default one
    LANE_DEFAULT = 0          # of what belongs to no other

# The orders of the lines of a lane.
cdef enum:
    BY_OLDEST                 # the line whose oldest item is the oldest comes first
    BY_NEWEST                 # the line whose newest item is the newest comes first
    LINE_ORDERS

# The lists that an item is in.
cdef enum:
    OF_LINE
    OF_LANE
    ITEM_LISTS

ctypedef struct Lane
ctypedef struct LaneItem
ctypedef struct Line

ctypedef struct ItemLinks:
    LaneItem *older
    LaneItem *newer           # of a free item, OF_LINE: the next free one

# Items in the order in which they were put.
ctypedef struct ItemList:
    LaneItem *oldest
    LaneItem *newest

# An item that waits. Its index is its ticket.
ctypedef struct LaneItem:
    QueueSlot slot            # item NULL: nothing waits here
    uint64_t number           # how many items were put before it, into any lane
    Line *line
    ItemLinks links[ITEM_LISTS]

# What waits in one lane of one client, or of all that count for no client. It exists while something does.
ctypedef struct Line:
    ItemList items
    Lane *lane
    Line *next                # of the same client; or the next free one
    uint32_t client           # index in the counts of clients; CLIENT_NONE: of no client
    uint32_t places[LINE_ORDERS]  # in the heaps of its lane
    uint8_t passed_over       # its client holds its share of the threads

ctypedef struct Lane:
    # Set by the owner before lanes_open.
    uint32_t guaranteed       # threads, 1 or more
    uint32_t most             # threads
    uint32_t limit            # items that may wait
    int32_t priority          # the highest first
    LaneGauge *gauge          # shows others what waits and runs; NULL: none looks
    LaneCounts *counts        # NULL: nothing is counted for metrics
    # The rest is zeroed then.
    uint32_t busy             # turns under way
    uint32_t length           # items that wait
    ItemList items
    uint32_t lines
    Line **heaps[LINE_ORDERS]  # the first line is the first of each
    Overload overload

ctypedef struct LaneClient:
    uint32_t busy             # turns under way
    Line *lines               # at most one in each lane

ctypedef struct Lanes:
    # Set by the owner before lanes_open.
    Lane lanes[LANES_MOST]
    uint32_t count
    int64_t threads           # workers that are not stuck
    uint32_t share            # threads that one client may hold while others wait; 0: all
    # The rest is zeroed then.
    bint closed               # everything may be taken
    int64_t busy              # turns under way
    int64_t reserved          # threads that lanes are guaranteed and do not use
    uint32_t waiting          # lanes in which something waits
    uint64_t puts
    LaneItem *items
    LaneItem *free_item
    Line *lines
    Line *free_line
    Line **heaps
    LaneClient *clients       # by their index in the counts
    ClientCounts counts       # of what each client has waiting and under way

# The lane and the client of a turn. Zeroed at first.
ctypedef struct LaneTurn:
    Lane *lane                # NULL: there is no turn
    uint32_t client
