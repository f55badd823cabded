# What the processes of one server know of each other, in memory that they share, and who of them accepts: see
# scoreboard.pyx.
# All of it is inline, so that no module is loaded where there is one process only.
from posix.unistd cimport write

from halfsync.native.sync cimport (
    add_uint, atomic_llong, atomic_uint, load_uint, store_uint, sub_uint, swap_uint,
)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int timeout_ms)
    const short POLLIN

cdef enum:
    SHARE_SLACK = 2           # connections that each process may have beyond a quarter more than its share
    BACKLOG_CHECK_NS = 20000000  # between two looks of a process over its share at who waits
    NEGLECT_NS = 100000000

# Some of the listeners of a process, by their position: a bit each, and one bit for all from LISTENER_BITS - 1 on.
ctypedef long long ListenerMask

cdef enum:
    LISTENER_BITS = 63

cdef inline ListenerMask listener_bit(int position) noexcept nogil:
    return <ListenerMask> 1 << min(position, LISTENER_BITS - 1)

cdef inline bint is_exclusive(ListenerMask exclusive, int position) noexcept nogil:
    return (exclusive & listener_bit(position)) != 0

cdef inline ListenerMask listener_mask(object positions) except -1:
    cdef ListenerMask exclusive = 0
    for position in positions:
        exclusive |= listener_bit(position)
    return exclusive

cdef enum SlotState:
    SLOT_EMPTY
    SLOT_BOOTING              # nobody is accepted yet
    SLOT_SERVING
    SLOT_CLOSING              # nobody shall be accepted any more
    SLOT_CLOSED               # nobody is: the listeners are closed

# Written by the process that has the slot; its supervisor clears it once that process has ended.
ctypedef struct SlotRecord:
    atomic_uint state         # SlotState
    atomic_uint open          # connections
    atomic_uint over_share    # newcomers are left to others, who have fewer connections
    atomic_uint stuck         # threads that met the deadline of their turn and are still in the application
    atomic_llong requests     # served
    # What a process over its share saw when it looked at its listeners; for itself only. Times are in ns, monotonic.
    long long check_ns        # again
    long long waiting_since   # somebody has waited at each look; 0: nobody did at the last one
    unsigned int neglected    # somebody has waited too long: whoever should accept does not
    char apart[80]            # from the next: two processes should not write to one cache line

# The slots follow it.
ctypedef struct ScoreboardRecord:
    atomic_uint used          # slots, from the first on, that may be taken
    atomic_uint shutting_down  # the server is about to end: it is not ready any more
    int wakeup_fd             # an eventfd that all processes watch
    char apart[116]

# A slot and its scoreboard: what a slot's capsule ("halfsync.slot") points to.
ctypedef struct SlotRef:
    ScoreboardRecord *scoreboard
    SlotRecord *slot


cdef inline SlotRecord *slot_at(ScoreboardRecord *scoreboard, unsigned int index) noexcept nogil:
    return <SlotRecord *> (scoreboard + 1) + index


cdef inline bint exceeds_share(ScoreboardRecord *scoreboard, SlotRecord *slot) noexcept nogil:
    """Tell whether one more connection would be more than this process's share, somewhat generously measured."""
    cdef unsigned int used = load_uint(&scoreboard.used)
    cdef unsigned long long serving = 0, total = 0
    cdef unsigned int index
    cdef SlotRecord *other
    for index in range(used):
        other = slot_at(scoreboard, index)
        if load_uint(&other.state) == SLOT_SERVING:
            serving += 1
            total += load_uint(&other.open)
    # open + 1 > 5/4 total/serving + SPARE
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
    """Tell whether this process shall accept newcomers now, and note it for the others.

    One that goes over its share says so before it looks a last time, and those who count a connection do so before they
    look which is over its share: so of two that look at once, one sees the other.
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
    """Say that this process shall accept nobody any more; that it does not remains said."""
    if load_uint(&slot.state) != SLOT_CLOSED:
        store_uint(&slot.state, SLOT_CLOSING)


cdef inline void slot_note_closed(SlotRecord *slot) noexcept nogil:
    """Say that this process has closed its listeners."""
    store_uint(&slot.state, SLOT_CLOSED)


cdef inline bint slot_must_check_backlog(SlotRecord *slot, long long now) noexcept nogil:
    return load_uint(&slot.state) == SLOT_SERVING and now >= slot.check_ns


cdef inline void slot_note_backlog(SlotRecord *slot, bint waiting, long long now) noexcept nogil:
    """Note whether somebody waits who is left to other processes."""
    slot.check_ns = now + BACKLOG_CHECK_NS
    if not waiting:
        slot.waiting_since = 0
    elif slot.waiting_since == 0:
        slot.waiting_since = now
    slot.neglected = waiting and now - slot.waiting_since >= NEGLECT_NS


cdef inline bint has_pending_accept(int listener) noexcept nogil:
    """Tell whether a connection waits in a listener's backlog."""
    cdef pollfd watched
    watched.fd = listener
    watched.events = POLLIN
    watched.revents = 0
    return poll(&watched, 1, 0) == 1


cdef inline void slot_count(SlotRecord *slot, int change) noexcept nogil:
    """Count a connection that begins (1) or has ended (-1)."""
    if change > 0:
        add_uint(&slot.open, 1)
    else:
        sub_uint(&slot.open, 1)
