# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Hand a connection off to another process, and adopt those that other processes hand off."""

from libc.errno cimport EMFILE
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy
from posix.unistd cimport close

from halfsync.blocking.connection cimport close_connection, count_open, open_client
from halfsync.blocking.idle_lists cimport idle_leave
from halfsync.exchange.exchange cimport Exchange, exchange_room, pool_get
from halfsync.listening.endpoints cimport ENDPOINT_UNKNOWN, endpoint_at, endpoint_find
from halfsync.native.sync cimport add_llong, monotonic_ns
from halfsync.shared.command cimport COMMAND_DRAIN, command_give
from halfsync.shared.handoff_queue cimport (
    HANDOFF_BYTES, HANDOFF_INVALID, HANDOFF_NO_DESCRIPTOR, HANDOFF_NO_READER, HANDOFF_NO_WRITER, HANDOFF_SENT,
    HANDOFF_TAKEN, handoff_send, handoff_take,
)
from halfsync.transport.transport cimport transport_may_move

from halfsync.runtime.originals import os


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
    handoff.data = NULL
    handoff.length = 0
    if exchange != NULL:
        handoff.data = exchange.data + exchange.used
        handoff.length = exchange.filled - exchange.used
    if connection.app_state != NULL or handoff.length > HANDOFF_BYTES or not transport_may_move(&connection.transport):
        return False
    handoff.fd = connection.transport.fd
    handoff.endpoint = endpoint_at(driver.endpoints, connection.listener)[0]
    handoff.awaits_proxy = driver.proxies != NULL and not connection.proxy_header_read
    handoff.requests = connection.requests
    handoff.address_length = connection.address_length
    memcpy(handoff.address, connection.address, connection.address_length)
    sent = handoff_send(driver.handoff_fd, &handoff)
    if sent == HANDOFF_NO_READER:
        command_give(&driver.shared.command, COMMAND_DRAIN)
    if sent != HANDOFF_SENT:
        return False
    close_connection(driver, connection)
    add_llong(&driver.shared.handed_over, 1)
    return True


cdef ClientConnection adopt(DriverRecord *driver, int queue):
    """Return a ClientConnection that another process has handed off, or None if none waits.

    queue: the reading end. Raises OSError if descriptors or memory are short, and EOFError if no process is left that
    could hand off. For the thread that accepts.
    """
    cdef char buffer[HANDOFF_BYTES]
    cdef HandoffRecord handoff
    cdef int taken = HANDOFF_INVALID
    while taken == HANDOFF_INVALID:
        taken = handoff_take(queue, &handoff, buffer)
        # The process that accepted it expects a PROXY header; this one must not read any.
        if taken == HANDOFF_TAKEN and handoff.awaits_proxy and driver.proxies == NULL:
            close(handoff.fd)
            taken = HANDOFF_INVALID
    if taken == HANDOFF_NO_DESCRIPTOR:
        raise OSError(EMFILE, os.strerror(EMFILE))
    if taken == HANDOFF_NO_WRITER:
        raise EOFError
    if taken != HANDOFF_TAKEN:
        return None
    return begin(driver, &handoff)


cdef ClientConnection begin(DriverRecord *driver, const HandoffRecord *handoff):
    """Return a ClientConnection made of a record, as if accepted here, its bytes just received; or None."""
    cdef ClientConnection made = ClientConnection.__new__(ClientConnection)
    cdef BlockingConnection *connection = &made.record
    cdef const char *data = handoff.data
    cdef uint32_t left = handoff.length
    cdef int listener = endpoint_find(driver.endpoints, &handoff.endpoint)
    cdef char *to
    cdef size_t room
    if listener == ENDPOINT_UNKNOWN:  # memory is short
        close(handoff.fd)
        return None
    if not open_client(connection, handoff.fd):
        return None
    connection.shook_hands = True
    connection.address_length = handoff.address_length
    memcpy(connection.address, handoff.address, handoff.address_length)
    connection.listener = <uint16_t> listener
    connection.proxy_header_read = not handoff.awaits_proxy
    connection.adopted = True
    connection.requests = handoff.requests
    connection.put_ns = connection.idle_ns = monotonic_ns()
    add_llong(&driver.shared.adopted, 1)
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
