"""The poller over poll(2), for systems without epoll.

What poll does, and what follows. It is level-triggered: a descriptor is reported while something is there, so the
poller must not ask for what the engine does not want yet. It is given every descriptor each time, so the cost of a
cycle is proportional to the number of connections, idle ones included. It reports POLLHUP and POLLERR unasked: once the
engine knows of them, the poller hides the descriptor (as a negative number) until it is removed. POLLRDHUP exists only
on Linux; without it the peer's end shows only when it is received.
"""
from libc.errno cimport EINTR, ENOMEM, errno
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, realloc

from halfsync.engine.poller cimport (
    HANDLE_ADOPTION, HANDLE_CONNECTION, HANDLE_LISTENER, Handle, Poller, RECEIVE_GONE, RECEIVE_MORE, CYCLE_BYTES,
    complete_accept, complete_receive, handle_init, poller_init, ready_add, ready_remove, ready_take,
)
from halfsync.native.poll cimport (
    POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLRDHUP, poll, pollfd,
)
from halfsync.transport.transport cimport transport_pending

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void *data, size_t length)

# For each slot: what poll is given, and the handle that it is for. The last slot moves into one that becomes free.
ctypedef struct Slots:
    pollfd *descriptors
    Handle **handles
    uint32_t length
    uint32_t capacity


cdef void poll_poller(Poller *poller) noexcept nogil:
    """Make this poller a poll(2) poller."""
    poller_init(poller, "poll")
    poller.open = poll_open
    poller.close = poll_close
    poller.add = poll_add
    poller.remove = poll_remove
    poller.detach = poll_remove
    poller.resume = poll_resume
    poller.want_send = poll_want_send
    poller.want_receive = poll_want_receive
    poller.cycle = poll_cycle


cdef int poll_open(Poller *poller) noexcept nogil:
    poller.own = calloc(1, sizeof(Slots))
    return 0 if poller.own != NULL else -ENOMEM


cdef void poll_close(Poller *poller) noexcept nogil:
    cdef Slots *slots = <Slots *> poller.own
    if slots != NULL:
        free(slots.descriptors)
        free(slots.handles)
        free(slots)
        poller.own = NULL


cdef int grow(Slots *slots) noexcept nogil:
    cdef uint32_t capacity = slots.capacity * 2 if slots.capacity > 0 else 64
    cdef void *descriptors = realloc(slots.descriptors, capacity * sizeof(pollfd))
    cdef void *handles
    if descriptors == NULL:
        return -ENOMEM
    slots.descriptors = <pollfd *> descriptors
    handles = realloc(slots.handles, capacity * sizeof(Handle *))
    if handles == NULL:
        return -ENOMEM
    slots.handles = <Handle **> handles
    slots.capacity = capacity
    return 0


cdef short interest(const Handle *handle) noexcept nogil:
    """Return the events to ask for: no bytes while some wait that the engine did not want, no end that it knows of."""
    cdef short events = 0
    if not handle.readable or handle.transport.send_wants_read:
        events |= POLLIN
    if handle.kind == HANDLE_CONNECTION and not handle.transport.ended:
        events |= POLLRDHUP
    if handle.watch_send:
        events |= POLLOUT
    return events


cdef void watch(Poller *poller, Handle *handle) noexcept nogil:
    (<Slots *> poller.own).descriptors[handle.slot].events = interest(handle)


cdef int poll_add(Poller *poller, Handle *handle) noexcept nogil:
    cdef Slots *slots = <Slots *> poller.own
    if slots.length == slots.capacity and grow(slots) < 0:
        return -ENOMEM
    handle_init(handle)
    handle.slot = slots.length
    slots.handles[slots.length] = handle
    slots.descriptors[slots.length].fd = handle.transport.fd
    slots.descriptors[slots.length].revents = 0
    slots.length += 1
    watch(poller, handle)
    return 0


cdef void poll_remove(Poller *poller, Handle *handle) noexcept nogil:
    cdef Slots *slots = <Slots *> poller.own
    if handle.slot >= slots.length or slots.handles[handle.slot] != handle:
        return  # it could not be added
    ready_remove(poller, handle)
    slots.length -= 1
    slots.handles[handle.slot] = slots.handles[slots.length]
    slots.descriptors[handle.slot] = slots.descriptors[slots.length]
    slots.handles[handle.slot].slot = handle.slot


cdef void poll_resume(Poller *poller, Handle *handle) noexcept nogil:
    """Ask for bytes again. An end that was reported before comes again as a receive of nothing."""
    handle.readable = False
    watch(poller, handle)
    visit_pending(poller, handle)


cdef void poll_want_send(Poller *poller, Handle *handle) noexcept nogil:
    handle.watch_send = True
    watch(poller, handle)


cdef void poll_want_receive(Poller *poller, Handle *handle) noexcept nogil:
    watch(poller, handle)


cdef void visit_pending(Poller *poller, Handle *handle) noexcept nogil:
    """Visit a connection in the next cycle if it has bytes that poll(2) will not report."""
    if handle.kind == HANDLE_CONNECTION and transport_pending(&handle.transport) > 0:
        ready_add(poller, handle)


cdef void visit(Poller *poller, Handle *handle, short happened) noexcept nogil:
    """Report to the engine what happened on a connection."""
    cdef uint32_t index = handle.index
    cdef uint32_t generation = handle.generation
    cdef int result = RECEIVE_MORE
    if happened & (POLLHUP | POLLERR | POLLNVAL):
        (<Slots *> poller.own).descriptors[handle.slot].fd = -1
        poller.user.hangup(poller.user.engine, handle, True)
        return
    if happened & POLLOUT and handle.transport.receive_wants_write:
        happened |= POLLIN
    if happened & POLLOUT or (happened & POLLIN and handle.transport.send_wants_read):
        if happened & POLLOUT:
            handle.watch_send = False
        handle.transport.send_wants_read = False
        watch(poller, handle)
        poller.user.sendable(poller.user.engine, handle)
        handle = poller.user.find(poller.user.engine, index, generation)
        if handle == NULL:
            return
    if happened & POLLIN:
        handle.readable = True
        handle.transport.receive_wants_write = False
        result = complete_receive(poller, handle)
        if result == RECEIVE_GONE:
            return
        if result == RECEIVE_MORE:
            handle.readable = False  # what is left is reported again
            visit_pending(poller, handle)
    if happened & POLLRDHUP:
        handle.transport.ended = True
    watch(poller, handle)
    if (
        handle.transport.ended and not handle.transport.receive_wants_write
        and (result != RECEIVE_MORE or not happened & POLLIN)
    ):
        poller.user.hangup(poller.user.engine, handle, False)


cdef int poll_cycle(Poller *poller, int timeout_ms) noexcept nogil:
    """Wait for something to happen, at most timeout_ms, and report everything to the engine."""
    cdef Slots *slots = <Slots *> poller.own
    cdef Handle *handle
    cdef short events
    cdef uint32_t position
    cdef char drained[8]
    cdef uint32_t left_over = poller.ready_length
    cdef int happened = poll(slots.descriptors, slots.length, 0 if left_over > 0 else timeout_ms)
    poller.user.awake(poller.user.engine)
    if happened < 0:
        return 0 if errno == EINTR else -errno
    poller.received = 0
    while left_over > 0 and poller.received <= CYCLE_BYTES:
        handle = ready_take(poller)
        if handle == NULL:
            break
        visit(poller, handle, POLLIN)
        left_over -= 1
    position = slots.length
    while position > 0:  # from the end: a free slot is filled by the last one, already visited
        position -= 1
        if position >= slots.length or slots.descriptors[position].revents == 0:
            continue
        events = slots.descriptors[position].revents
        slots.descriptors[position].revents = 0
        handle = slots.handles[position]
        if handle.kind == HANDLE_LISTENER:
            complete_accept(poller, handle)
        elif handle.kind == HANDLE_CONNECTION:
            visit(poller, handle, events)
        elif handle.kind == HANDLE_ADOPTION:
            poller.user.adoptable(poller.user.engine)
        else:
            read(handle.transport.fd, drained, sizeof(drained))
    return happened
