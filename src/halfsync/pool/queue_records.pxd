# The records of a request queue: its own, and those that its owner and each worker keep of it.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from halfsync.native.sync cimport pthread_mutex_t, sem_t
from halfsync.pool.lane_records cimport LaneTurn, Lanes
from halfsync.pool.overload cimport Overload
from halfsync.pool.queue_slot cimport QueueSlot
from halfsync.shared.metrics cimport QueueGauge

ctypedef struct Queue:
    pthread_mutex_t lock      # guards everything below except the semaphore
    sem_t wake                # one permit for each sleeper chosen to wake
    QueueSlot *slots
    uint32_t mask             # number of slots, minus one; the number is a power of two
    uint32_t limit            # most items that it may hold
    uint32_t first
    uint32_t length
    uint32_t ticket           # of the first slot
    uint32_t sleepers         # workers that wait on the semaphore and were not chosen to wake
    uint32_t waking           # workers chosen to wake that have not looked yet
    uint32_t awake            # workers that are in a turn, or look for one
    int64_t turn_ns           # how long a turn takes: an estimate of the median
    bint patient              # see pool/request_queue.pyx; the owner of a patient queue must call queue_check
    bint closed
    uint64_t puts
    uint64_t refused          # because it was full or closed
    uint64_t withdrawn        # or expired, and no longer counted in `length`
    int64_t waited_ns         # over all items taken
    Overload overload
    Lanes *lanes              # hold the items, and judge overload, in place of the fields above; NULL: there are none
    QueueGauge *gauge         # shows others what waits; NULL: none looks

# What the owner of a patient queue remembers of it. Zeroed at first.
ctypedef struct QueueWatch:
    uint64_t taken            # items taken so far
    int64_t since             # ns; when that number was first seen
    bint waits                # an item waited
    bint overdue              # the queue is overloaded, and the first item has waited for too long

# One worker's own record of its taking. Zeroed before the first take; only that worker touches it, but for the lane.
ctypedef struct Taker:
    bint counted              # it is counted as awake
    bint woken                # it has just been woken
    int64_t took_ns           # when its turn began; 0: it is in none
    LaneTurn turn             # its lane, if the queue has lanes; guarded by the queue's lock
