# What the processes of one server know about each other, in memory that they share, and which of them accepts: see
# scoreboard.pyx.
# All of it is inline, so that no module is loaded if there is only one process.
from posix.unistd cimport write

from halfsync.native.poll cimport POLLIN, poll, pollfd
from halfsync.native.sync cimport (
    add_uint, atomic_llong, atomic_uint, load_uint, store_uint, sub_uint, swap_uint,
)
from halfsync.shared.metrics cimport SlotMetrics

cdef enum:
    SHARE_SLACK = 2           # connections that a process may have beyond its share plus a quarter

cdef enum SlotState:
    SLOT_EMPTY
    SLOT_BOOTING              # it does not accept yet
    SLOT_SERVING
    SLOT_CLOSING              # it must not accept, but its listeners may still be open
    SLOT_CLOSED               # its listeners are closed
    SLOT_STATES

cdef extern from * nogil:
    """
    static inline const char *hs_slot_state_name(unsigned int state) {
        static const char *const names[] = {"empty", "booting", "serving", "closing", "closed"};
        return names[state];
    }
    """
    const char *slot_state_name "hs_slot_state_name" (unsigned int state)

# Written by the process that has the slot. Its supervisor clears it once that process has ended.
ctypedef struct SlotRecord:
    atomic_uint state         # SlotState
    atomic_uint open          # connections
    atomic_uint over_share    # it leaves new connections to other processes, which have fewer
    atomic_uint stuck         # threads that passed the deadline of their turn and are still in the application
    atomic_llong requests     # served
    # What a process over its share found when it checked its listeners; for itself only. Times are in ns, monotonic.
    long long check_ns        # time of the next check
    long long waiting_since   # a connection has waited at each check since; 0: none did at the last one
    unsigned int neglected    # a connection has waited too long: the process that should accept does not
    char apart[80]            # keeps slots apart: two processes should not write to one cache line

# The slots follow this record.
ctypedef struct ScoreboardRecord:
    atomic_uint used          # slots, from the first on, that may be in use
    atomic_uint shutting_down  # the server is about to end, and is no longer ready
    int wakeup_fd             # an eventfd that all processes watch
    char apart[116]

# A slot and its scoreboard: what a slot's capsule ("halfsync.slot") points to.
ctypedef struct SlotRef:
    ScoreboardRecord *scoreboard
    SlotRecord *slot
    SlotMetrics *metrics      # NULL: nothing is counted for metrics


cdef inline SlotRecord *slot_at(ScoreboardRecord *scoreboard, unsigned int index) noexcept nogil:
    return <SlotRecord *> (scoreboard + 1) + index


cdef inline bint exceeds_share(ScoreboardRecord *scoreboard, SlotRecord *slot) noexcept nogil:
    """Return whether one more connection would exceed this process's share, which is measured generously."""
    cdef unsigned int used = load_uint(&scoreboard.used)
    cdef unsigned long long serving = 0, total = 0
    cdef unsigned int index
    cdef SlotRecord *other
    for index in range(used):
        other = slot_at(scoreboard, index)
        if load_uint(&other.state) == SLOT_SERVING:
            serving += 1
            total += load_uint(&other.open)
    # open + 1 > 5/4 total/serving + SHARE_SLACK
    return (<unsigned long long> load_uint(&slot.open) + 1) * serving * 4 > total * 5 + SHARE_SLACK * serving * 4


cdef inline bint others_over_share(ScoreboardRecord *scoreboard, SlotRecord *slot) noexcept nogil:
    cdef unsigned int index
    cdef SlotRecord *other
    for index in range(load_uint(&scoreboard.used)):
        other = slot_at(scoreboard, index)
        if other != slot and load_uint(&other.over_share) and load_uint(&other.state) == SLOT_SERVING:
            return True
    return False


cdef inline void wake_all(ScoreboardRecord *scoreboard) noexcept nogil:
    cdef unsigned long long one = 1
    write(scoreboard.wakeup_fd, &one, sizeof(one))


cdef inline unsigned int scoreboard_serving(ScoreboardRecord *scoreboard, unsigned int max_stuck) noexcept nogil:
    cdef unsigned int index
    cdef unsigned int serving = 0
    cdef SlotRecord *slot
    for index in range(load_uint(&scoreboard.used)):
        slot = slot_at(scoreboard, index)
        if load_uint(&slot.state) == SLOT_SERVING and load_uint(&slot.stuck) <= max_stuck:
            serving += 1
    return serving


cdef inline bint slot_may_accept(ScoreboardRecord *scoreboard, SlotRecord *slot) noexcept nogil:
    """Return whether this process may accept new connections now, and note it for the others.

    A process notes that it is over its share before it checks a last time. A process that counts a connection does so
    before it checks which processes are over their share. So if two check at once, one sees the other.
    """
    if load_uint(&slot.state) != SLOT_SERVING:
        return False
    if not exceeds_share(scoreboard, slot):
        store_uint(&slot.over_share, 0)
        slot.waiting_since = slot.neglected = 0
        return True
    if swap_uint(&slot.over_share, 1) == 0:
        if others_over_share(scoreboard, slot):
            wake_all(scoreboard)
        if not exceeds_share(scoreboard, slot):
            store_uint(&slot.over_share, 0)
            return True
    return False


cdef inline void slot_stop_accepting(SlotRecord *slot) noexcept nogil:
    """Note that this process must not accept. It stays noted if the listeners are already closed."""
    if load_uint(&slot.state) != SLOT_CLOSED:
        store_uint(&slot.state, SLOT_CLOSING)


cdef inline void slot_note_closed(SlotRecord *slot) noexcept nogil:
    """Note that this process has closed its listeners."""
    store_uint(&slot.state, SLOT_CLOSED)


cdef inline void slot_count(SlotRecord *slot, int change) noexcept nogil:
    """Count a connection that begins (1) or has ended (-1)."""
    if change > 0:
        add_uint(&slot.open, 1)
    else:
        sub_uint(&slot.open, 1)
