# Whether this process accepts new connections, when it looks again, and which listeners it leaves to other processes:
# the rules for every model. The caller waits, and keeps the records. Nothing here blocks, and the clock is an argument.
from libc.errno cimport ECONNABORTED, EINTR, EPROTO, errno
from libc.stdint cimport INT64_MAX, int64_t

from halfsync.native.descriptors cimport move_out_of_low
from halfsync.native.poll cimport POLLIN, poll, pollfd
from halfsync.native.sync cimport (
    atomic_llong, atomic_uint, init_llong, init_uint, load_llong, load_uint, store_llong, store_uint,
)
from halfsync.shared.slots cimport SLOT_SERVING, ScoreboardRecord, SlotRecord, slot_may_accept

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    struct sockaddr_storage:
        pass
    ctypedef unsigned int socklen_t
    const int SOCK_NONBLOCK, SOCK_CLOEXEC
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)

cdef enum:
    ACCEPT_PAUSE_NS = 100000000  # after descriptors or memory were short for a connection, accepted or adopted
    BACKLOG_CHECK_NS = 20000000  # between two checks of the backlog by a process over its share
    NEGLECT_NS = 100000000    # after which a connection in the backlog is accepted by a process over its share
    LISTENER_BITS = 63

# Some of a process's listeners, by position: a bit for each, and one bit for all from LISTENER_BITS - 1 on.
ctypedef long long ListenerMask

# On which listeners other processes accept too. The thread that commands writes it, the thread that accepts reads it.
ctypedef struct SharedListeners:
    atomic_uint others_accept  # on all but `exclusive`: what waits there, and for adoption, is left to them
    atomic_llong exclusive    # ListenerMask; set before others_accept


cdef inline ListenerMask listener_mask(object positions) except -1:
    """Return the mask of these positions, of which none is negative."""
    cdef ListenerMask mask = 0
    for position in positions:
        mask |= <ListenerMask> 1 << min(<int> position, <int> LISTENER_BITS - 1)
    return mask


cdef inline void listeners_init(SharedListeners *listeners) noexcept nogil:
    """Begin with listeners of which none is left to other processes."""
    init_uint(&listeners.others_accept, 0)
    init_llong(&listeners.exclusive, 0)


cdef inline void leave_listeners(SharedListeners *listeners, ListenerMask exclusive) noexcept nogil:
    """Leave all listeners but the exclusive ones to other processes."""
    store_llong(&listeners.exclusive, exclusive)
    store_uint(&listeners.others_accept, 1)


cdef inline bint others_accept(SharedListeners *listeners) noexcept nogil:
    """Return whether other processes accept, and adopt: connections to adopt are left to them."""
    return load_uint(&listeners.others_accept) != 0


cdef inline bint keeps_listener(SharedListeners *listeners, int position) noexcept nogil:
    """Return whether the backlog of this listener is for this process: no other process accepts from it."""
    return (
        not others_accept(listeners)
        or load_llong(&listeners.exclusive) >> min(position, <int> LISTENER_BITS - 1) & 1
    )


cdef inline bint has_pending_accept(int listener) noexcept nogil:
    """Return whether a connection waits in a listener's backlog."""
    cdef pollfd watched
    watched.fd = listener
    watched.events = POLLIN
    watched.revents = 0
    return poll(&watched, 1, 0) == 1


cdef inline bint must_check_backlog(SlotRecord *slot, int64_t now) noexcept nogil:
    """Return whether a process over its share must look at its backlogs now."""
    return load_uint(&slot.state) == SLOT_SERVING and now >= slot.check_ns


cdef inline void note_backlog(SlotRecord *slot, bint waiting, int64_t now) noexcept nogil:
    """Note whether a connection waits that is left to other processes."""
    slot.check_ns = now + BACKLOG_CHECK_NS
    if not waiting:
        slot.waiting_since = 0
    elif slot.waiting_since == 0:
        slot.waiting_since = now
    slot.neglected = waiting and now - slot.waiting_since >= NEGLECT_NS


cdef inline bint may_accept(
    ScoreboardRecord *scoreboard, SlotRecord *slot, bint (*backlog_waits)(void *owner) noexcept nogil, void *owner,
    int64_t now
) noexcept nogil:
    """Return whether to accept here. False: other processes must, and do.

    A process over its share accepts all the same once a connection was neglected: the process that should accept does
    not. backlog_waits: called with `owner` to find out whether a connection waits in any backlog. slot: NULL: there is
    no other process.
    """
    if slot == NULL or slot_may_accept(scoreboard, slot):
        return True
    if must_check_backlog(slot, now):
        note_backlog(slot, backlog_waits(owner), now)
    return slot.neglected != 0


cdef inline int64_t next_accept_check(SlotRecord *slot, bint may, int64_t again, int64_t now) noexcept nogil:
    """Return when to check again whether to accept, in ns. INT64_MAX: only an event can change the answer.

    may: the answer now; True if an event tells of its change. again: the end of a pause; it may have passed.
    """
    cdef int64_t check = again if again > now else INT64_MAX
    if slot != NULL and (not may or load_uint(&slot.over_share)):
        check = min(check, now + BACKLOG_CHECK_NS)
    return check


cdef inline int accept_next(int listener, sockaddr_storage *address, socklen_t *length) noexcept nogil:
    """Accept the next connection from a listening, non-blocking socket. Returns its descriptor, or -errno.

    -EAGAIN: none waits. After every other error accept nothing for ACCEPT_PAUSE_NS: whatever it is, the kernel reports
    the listener again at once.
    """
    cdef int fd
    while True:
        length[0] = sizeof(sockaddr_storage)
        fd = accept4(listener, <sockaddr *> address, length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            return move_out_of_low(fd)
        if errno != EINTR and errno != ECONNABORTED and errno != EPROTO:
            return -errno
