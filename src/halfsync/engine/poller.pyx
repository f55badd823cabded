"""What pollers share: they report to the engine what *happened* (bytes received, a connection accepted, room to send),
not what could be done. A poller over readiness, such as epoll and poll(2), makes the system call itself. A poller over
completion would only pass on what the kernel reports, and the engine would not see the difference.

All functions run on the engine's thread. The engine may remove a handle during any callback, so nothing touches a
handle after a callback unless its return value allows it.
"""
from libc.errno cimport EAGAIN

from halfsync.shared.accepting cimport accept_next, sockaddr_storage, socklen_t
from halfsync.transport.transport cimport (
    WANT_READ, WANT_WRITE, is_want, transport_receive, transport_send, transport_send_file,
)

cdef enum:
    RECEIVES_PER_VISIT = 4  # of one handle before the others are visited
    ACCEPTS_PER_VISIT = 64


cdef void ready_add(Poller *poller, Handle *handle) noexcept nogil:
    """Visit the handle again in the next cycle, without a report by the kernel."""
    if handle.in_ready:
        return
    handle.in_ready = True
    handle.ready_next = NULL
    handle.ready_previous = poller.ready_last
    if poller.ready_last != NULL:
        poller.ready_last.ready_next = handle
    else:
        poller.ready = handle
    poller.ready_last = handle
    poller.ready_length += 1


cdef void ready_remove(Poller *poller, Handle *handle) noexcept nogil:
    """Remove the handle from the ready list, if it is there."""
    if not handle.in_ready:
        return
    handle.in_ready = False
    if handle.ready_previous != NULL:
        handle.ready_previous.ready_next = handle.ready_next
    else:
        poller.ready = handle.ready_next
    if handle.ready_next != NULL:
        handle.ready_next.ready_previous = handle.ready_previous
    else:
        poller.ready_last = handle.ready_previous
    poller.ready_length -= 1


cdef Handle *ready_take(Poller *poller) noexcept nogil:
    """Take the first handle off the ready list. Returns NULL if the list is empty."""
    cdef Handle *handle = poller.ready
    if handle != NULL:
        ready_remove(poller, handle)
    return handle


cdef int complete_receive(Poller *poller, Handle *handle) noexcept nogil:
    """Receive what is there and report it to the engine. Returns the engine's last answer, RECEIVE_*.

    Afterwards `readable` says whether something may be left.
    """
    cdef char *data
    cdef size_t room
    cdef ssize_t length
    cdef int result
    cdef int _visits
    for _visits in range(RECEIVES_PER_VISIT):
        data = poller.user.room(poller.user.engine, handle, &room)
        if data == NULL:
            return RECEIVE_HOLD
        length = transport_receive(&handle.transport, data, room)
        if length < 0:
            handle.readable = False
            if is_want(length):
                handle.transport.receive_wants_write = length == WANT_WRITE
                if handle.transport.receive_wants_write:
                    poller.want_send(poller, handle)
                length = -EAGAIN
            return poller.user.received(poller.user.engine, handle, data, length)
        poller.received += length
        if handle.transport.drained:
            handle.readable = False
        result = poller.user.received(poller.user.engine, handle, data, length)
        if result != RECEIVE_MORE or not handle.readable or poller.received > CYCLE_BYTES:
            return result
    return RECEIVE_MORE


cdef void complete_accept(Poller *poller, Handle *handle) noexcept nogil:
    """Accept what waits, up to a bound, and report it to the engine."""
    cdef sockaddr_storage address
    cdef socklen_t length
    cdef int _visits, fd
    if not poller.user.acceptable(poller.user.engine, handle):
        return
    for _visits in range(ACCEPTS_PER_VISIT):
        fd = accept_next(handle.transport.fd, &address, &length)
        if fd < 0:
            if fd != -EAGAIN:  # whatever the error, the kernel would report the listener again at once
                poller.user.accept_failed(poller.user.engine, handle, -fd)
            return
        if not poller.user.accepted(poller.user.engine, handle, fd, &address, length):
            return


cdef void poller_note_want(Poller *poller, Handle *handle, int want) noexcept nogil:
    """Note what a send waits for, WANT_READ or WANT_WRITE: `sendable` will be called."""
    handle.transport.send_wants_read = want == WANT_READ
    if handle.transport.send_wants_read:
        poller.want_receive(poller, handle)
    else:
        poller.want_send(poller, handle)


cdef int64_t sent_or_later(Poller *poller, Handle *handle, int64_t sent) noexcept nogil:
    """Convert the result of a send to bytes, POLLER_LATER or -errno."""
    if not is_want(sent):
        return sent
    poller_note_want(poller, handle, <int> sent)
    return POLLER_LATER


cdef int64_t poller_send(Poller *poller, Handle *handle, iovec *vectors, int count, bint more) noexcept nogil:
    """Send from memory. more: further bytes follow at once. Returns bytes sent, POLLER_LATER or -errno."""
    return sent_or_later(poller, handle, transport_send(&handle.transport, vectors, count, more))


cdef int64_t poller_send_file(Poller *poller, Handle *handle, int fd, int64_t offset, int64_t length) noexcept nogil:
    """Send from a file. Returns bytes sent (0: the file is now shorter), POLLER_LATER or -errno."""
    return sent_or_later(poller, handle, transport_send_file(&handle.transport, fd, offset, length))
