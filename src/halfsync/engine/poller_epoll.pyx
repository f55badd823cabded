"""The poller over epoll(7), edge-triggered.

What epoll does, and what follows. With EPOLLET an event comes when something new arrived, not while something is
there. So the poller remembers (`readable`) what the engine did not want yet, and a connection needs no call to
epoll_ctl between its first byte and its last. New events of a descriptor are merged into its pending one. Data and the
peer's end may come as one event: EPOLLRDHUP reports the end without a receive of nothing. EPOLLOUT is watched only from
the first send that was refused: before that, an event would come with the registration of every connection. A closed
descriptor leaves the set by itself, but events fetched before may still name it. Each event carries a generation, and
the engine finds no handle for an old one. Writing to an eventfd makes a new edge each time, so the waker is never read.
"""
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from posix.unistd cimport close

from halfsync.engine.poller cimport (
    HANDLE_ADOPTION, HANDLE_CONNECTION, HANDLE_LISTENER, Handle, Poller, RECEIVE_GONE, RECEIVE_MORE, CYCLE_BYTES,
    complete_accept, complete_receive, handle_init, poller_init, ready_add, ready_remove, ready_take,
)
from halfsync.native.epoll cimport (
    EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CLOEXEC, EPOLL_CTL_ADD,
    EPOLL_CTL_DEL, EPOLL_CTL_MOD, epoll_create1, epoll_ctl, epoll_event, epoll_wait,
)

cdef enum:
    EVENTS_PER_CYCLE = 256


cdef void epoll_poller(Poller *poller) noexcept nogil:
    """Make this poller an epoll poller."""
    poller_init(poller, "epoll")
    poller.open = epoll_open
    poller.close = epoll_close
    poller.add = epoll_add
    poller.remove = epoll_remove
    poller.detach = epoll_detach
    poller.resume = epoll_resume
    poller.want_send = epoll_want_send
    poller.want_receive = epoll_want_receive
    poller.cycle = epoll_cycle


cdef int epoll_open(Poller *poller) noexcept nogil:
    poller.fd = epoll_create1(EPOLL_CLOEXEC)
    return 0 if poller.fd >= 0 else -errno


cdef void epoll_close(Poller *poller) noexcept nogil:
    if poller.fd >= 0:
        close(poller.fd)
        poller.fd = -1


cdef int control(Poller *poller, int operation, Handle *handle) noexcept nogil:
    cdef epoll_event event
    event.data.u64 = (<uint64_t> handle.generation << 32) | handle.index
    if handle.kind == HANDLE_LISTENER:
        event.events = EPOLLIN | EPOLLEXCLUSIVE  # wakes one of the processes that share it, not all
    elif handle.kind == HANDLE_ADOPTION:
        event.events = EPOLLIN
    elif handle.kind == HANDLE_CONNECTION:
        event.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (EPOLLOUT if handle.watch_send else 0)
    else:
        event.events = EPOLLIN | EPOLLET
    return 0 if epoll_ctl(poller.fd, operation, handle.transport.fd, &event) == 0 else -errno


cdef int epoll_add(Poller *poller, Handle *handle) noexcept nogil:
    handle_init(handle)
    return control(poller, EPOLL_CTL_ADD, handle)


cdef void epoll_remove(Poller *poller, Handle *handle) noexcept nogil:
    """Stop watching. A connection's descriptor is about to be closed, which removes it from the set at less cost."""
    ready_remove(poller, handle)
    if handle.kind in (HANDLE_LISTENER, HANDLE_ADOPTION):
        control(poller, EPOLL_CTL_DEL, handle)


cdef void epoll_detach(Poller *poller, Handle *handle) noexcept nogil:
    """Stop watching a socket that stays open elsewhere: closing its descriptor here does not remove it from the set."""
    ready_remove(poller, handle)
    control(poller, EPOLL_CTL_DEL, handle)


cdef void epoll_resume(Poller *poller, Handle *handle) noexcept nogil:
    """Continue to receive: what arrived before is visited in the next cycle."""
    if handle.readable or handle.transport.ended:
        ready_add(poller, handle)


cdef void epoll_want_send(Poller *poller, Handle *handle) noexcept nogil:
    """Ask for EPOLLOUT. If the transport is not a plain socket, ask again even if it is already watched."""
    if not handle.watch_send or handle.transport.state != NULL:
        handle.watch_send = True
        control(poller, EPOLL_CTL_MOD, handle)


cdef void epoll_want_receive(Poller *poller, Handle *handle) noexcept nogil:
    """Ask for EPOLLIN again: the event for what came before has passed."""
    control(poller, EPOLL_CTL_MOD, handle)


cdef void visit(Poller *poller, Handle *handle) noexcept nogil:
    """Receive from a handle that may have something, and report the peer's end once nothing is left before it."""
    cdef int result = RECEIVE_MORE
    if handle.readable:
        result = complete_receive(poller, handle)
        if result == RECEIVE_GONE:
            return
        if result == RECEIVE_MORE and handle.readable:
            ready_add(poller, handle)
            return
    if handle.transport.ended and not handle.transport.receive_wants_write:
        poller.user.hangup(poller.user.engine, handle, False)


cdef void dispatch(Poller *poller, epoll_event *event) noexcept nogil:
    cdef uint32_t generation = <uint32_t> (event.data.u64 >> 32)
    cdef Handle *handle = poller.user.find(poller.user.engine, <uint32_t> event.data.u64, generation)
    if handle == NULL:
        return
    if handle.kind == HANDLE_LISTENER:
        complete_accept(poller, handle)
        return
    if handle.kind == HANDLE_ADOPTION:
        poller.user.adoptable(poller.user.engine)
        return
    if handle.kind != HANDLE_CONNECTION:
        return
    if event.events & (EPOLLHUP | EPOLLERR):
        poller.user.hangup(poller.user.engine, handle, True)
        return
    if event.events & EPOLLRDHUP:
        handle.transport.ended = True
    if event.events & EPOLLIN or (event.events & EPOLLOUT and handle.transport.receive_wants_write):
        handle.readable = True
        handle.transport.receive_wants_write = False
    if (event.events & EPOLLOUT and handle.watch_send) or (event.events & EPOLLIN and handle.transport.send_wants_read):
        handle.transport.send_wants_read = False
        poller.user.sendable(poller.user.engine, handle)
        handle = poller.user.find(poller.user.engine, <uint32_t> event.data.u64, generation)
        if handle == NULL:
            return
    if event.events & (EPOLLIN | EPOLLRDHUP) or handle.readable:
        if poller.received <= CYCLE_BYTES:
            visit(poller, handle)
        else:
            ready_add(poller, handle)


cdef int epoll_cycle(Poller *poller, int timeout_ms) noexcept nogil:
    """Wait for something to happen, at most timeout_ms, and report everything to the engine."""
    cdef epoll_event events[EVENTS_PER_CYCLE]
    cdef uint32_t left_over = poller.ready_length
    cdef Handle *handle
    cdef int happened, position
    happened = epoll_wait(poller.fd, events, EVENTS_PER_CYCLE, 0 if left_over > 0 else timeout_ms)
    poller.user.awake(poller.user.engine)
    if happened < 0:
        return 0 if errno == EINTR else -errno
    poller.received = 0
    while left_over > 0 and poller.received <= CYCLE_BYTES:  # first what was left over, or new events would starve it
        handle = ready_take(poller)
        if handle == NULL:
            break
        visit(poller, handle)
        left_over -= 1
    for position in range(happened):
        dispatch(poller, &events[position])
    return happened
