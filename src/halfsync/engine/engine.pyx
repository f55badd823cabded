"""Give a request back to the engine, or announce more of a response: what workers may call.

Any thread may call these functions, without the GIL. If the whole response is sent and nothing more was received, the
engine need not look at the request, and giving it back is one atomic instruction. Other requests go into a list that
the engine takes as a whole, and the engine is woken if it sleeps. The engine notes that it sleeps *before* it
looks at the lists for the last time; a worker fills a list *before* it checks whether the engine sleeps. So none is
overlooked.
"""
from libc.stdint cimport int64_t, uint8_t, uint64_t

from halfsync.engine.ownership cimport owner_defer, owner_release, owner_return
from halfsync.native.sync cimport add_uint, cas_pointer, load_pointer, load_uint, sem_post, swap_uint
from halfsync.observe.completion cimport request_ended
from halfsync.observe.refusals cimport refusals_note
from halfsync.shared.command cimport COMMAND_HANDOFF, closes_after_response

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int fd, const void *data, size_t length)


cdef void engine_wake(Engine *engine) noexcept nogil:
    """End the engine's wait, if it waits."""
    cdef uint64_t one = 1
    if load_uint(&engine.sleeping) and swap_uint(&engine.sleeping, 0):
        write(engine.waker.transport.fd, &one, sizeof(one))


cdef void engine_end_request(
    Engine *engine, Exchange *exchange, const uint8_t *address, int address_length, int64_t now
) noexcept nogil:
    """Report the end of a request. See the .pxd."""
    if exchange != NULL:
        request_ended(&engine.observers, exchange, address, address_length, now)


cdef void engine_note_refusal(
    Engine *engine, const Exchange *exchange, const uint8_t *address, int address_length, int status,
    int reason
) noexcept nogil:
    """Note why a request or a connection is refused, for the monitor to log."""
    if refusals_note(engine.refusals, exchange, address, address_length, status, reason):
        sem_post(&engine.monitor_wakeup)


cdef bint engine_is_closing_keepalives(Engine *engine) noexcept nogil:
    """Return whether responses must close their connection, because the server is about to end."""
    return closes_after_response(load_uint(&engine.command), load_uint(&engine.closing_keepalives))


cdef bint engine_is_handing_off(Engine *engine) noexcept nogil:
    """Return whether the engine must look at each connection that comes to rest, to hand it off."""
    return load_uint(&engine.command) == COMMAND_HANDOFF


cdef void engine_release(Engine *engine, Request *request) noexcept nogil:
    """Give back a request for which there is nothing to do. The caller must not touch it afterwards."""
    if not owner_release(&request.owner):
        engine_return(engine, request)


cdef void engine_return(Engine *engine, Request *request) noexcept nogil:
    """Give back a request that the engine must look at. The caller must not touch it afterwards."""
    owner_return(&request.owner)
    link_returned(engine, request)
    engine_wake(engine)


cdef void engine_defer(Engine *engine, Request *request) noexcept nogil:
    """Put a request into the list of returned ones, for the next cycle of the loop. Only on the engine's thread."""
    owner_defer(&request.owner)
    link_returned(engine, request)


cdef inline void link_returned(Engine *engine, Request *request) noexcept nogil:
    """Put a request into the list of returned ones."""
    cdef void *first = load_pointer(&engine.returned)
    while True:
        request.next = <Request *> first
        if cas_pointer(&engine.returned, &first, request):
            return


cdef void engine_announce(Engine *engine, Outbox *outbox) noexcept nogil:
    """Announce that an outbox has more to send, or has ended. The caller holds a reference, and keeps it."""
    cdef void *first
    if swap_uint(&outbox.announced, 1):
        return
    add_uint(&outbox.references, 1)
    first = load_pointer(&engine.announced)
    while True:
        outbox.next_announced = <Outbox *> first
        if cas_pointer(&engine.announced, &first, outbox):
            break
    engine_wake(engine)
