# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Hand a connection off to another process, and adopt those that other processes hand off."""

from libc.errno cimport EMFILE
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy

from halfsync.blocking.connection cimport close_connection, count_open, open_client
from halfsync.blocking.idle_lists cimport idle_leave
from halfsync.exchange.exchange cimport Exchange, exchange_room, pool_get
from halfsync.listening.endpoints cimport endpoint_at
from halfsync.native.counting cimport count_shared
from halfsync.native.failures cimport checked
from halfsync.native.sync cimport monotonic_ns
from halfsync.shared.handoff cimport handoff_adopt, handoff_describe, handoff_offer
from halfsync.shared.handoff_queue cimport (
    HANDOFF_BYTES, HANDOFF_INVALID, HANDOFF_NO_DESCRIPTOR, HANDOFF_NO_WRITER, HANDOFF_SENT, HANDOFF_TAKEN,
    HandoffRecord,
)


cdef bint handoff_connection(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Hand an idle connection off to another process: between two requests, or with a part of a head.

    Return True once it is closed here. False: it must stay, or the queue is full, or no process is left that could
    adopt it; in that last case the server drains from now on.
    """
    cdef Exchange *exchange = connection.exchange
    cdef HandoffRecord handoff
    cdef int sent
    if not idle_leave(driver, connection):
        return False
    handoff_describe(
        &handoff, endpoint_at(driver.endpoints, connection.listener),
        driver.proxies != NULL and not connection.proxy_header_read, connection.requests, connection.address,
        connection.address_length)
    if exchange != NULL:
        handoff.data = exchange.data + exchange.used
        handoff.length = exchange.filled - exchange.used
    sent = handoff_offer(
        driver.handoff_fd, &driver.shared.command, &handoff, &connection.transport, connection.app_state != NULL)
    if sent != HANDOFF_SENT:
        return False
    close_connection(driver, connection)
    count_shared(&driver.shared.counters.handed_off, 1)
    return True


cdef ClientConnection adopt(DriverRecord *driver, int queue):
    """Return a ClientConnection that another process has handed off, or None if none waits.

    queue: the reading end. Raises OSError if descriptors or memory are short, and EOFError if no process is left that
    could hand off. For the thread that accepts.
    """
    cdef char buffer[HANDOFF_BYTES]
    cdef HandoffRecord handoff
    cdef int taken = HANDOFF_INVALID
    cdef int listener
    while taken == HANDOFF_INVALID:
        taken = handoff_adopt(queue, driver.endpoints, driver.proxies != NULL, &handoff, buffer, &listener)
    if taken == HANDOFF_NO_DESCRIPTOR:
        checked(-EMFILE)
    if taken == HANDOFF_NO_WRITER:
        raise EOFError
    if taken != HANDOFF_TAKEN:
        return None
    return begin(driver, &handoff, listener)


cdef ClientConnection begin(DriverRecord *driver, const HandoffRecord *handoff, int listener):
    """Return a ClientConnection made of a record, as if accepted here, its bytes just received; or None."""
    cdef ClientConnection made = ClientConnection.__new__(ClientConnection)
    cdef BlockingConnection *connection = &made.record
    cdef const char *data = handoff.data
    cdef uint32_t left = handoff.length
    cdef char *to
    cdef size_t room
    if not open_client(connection, handoff.fd, NULL):
        return None
    connection.shook_hands = True
    connection.address_length = handoff.address_length
    memcpy(connection.address, handoff.address, handoff.address_length)
    connection.listener = <uint16_t> listener
    connection.proxy_header_read = not handoff.awaits_proxy
    connection.adopted = True
    connection.requests = handoff.requests
    connection.accepted_ns = connection.put_ns = connection.idle_ns = monotonic_ns()
    count_shared(&driver.shared.counters.adopted, 1)
    count_open(driver, 1)
    if left > 0:
        connection.exchange = pool_get(&driver.pool)
        connection.unframed = True
    while left > 0 and connection.exchange != NULL:
        to = exchange_room(connection.exchange, &driver.limits, &room)
        if to == NULL:
            break
        room = min(room, <size_t> left)
        memcpy(to, data, room)
        connection.exchange.filled += <uint32_t> room
        data += room
        left -= <uint32_t> room
    if left > 0:  # memory is short
        close_connection(driver, connection)
        return None
    return made
