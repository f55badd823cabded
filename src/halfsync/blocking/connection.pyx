"""A client's connection from accept to close: its record, and the counts that include it."""

from libc.errno cimport EAGAIN, ENOMEM
from libc.stdint cimport uint8_t
from libc.string cimport memcpy
from posix.unistd cimport close

from halfsync.blocking.client_limit cimport limit_remove
from halfsync.blocking.idle_lists cimport idle_remove
from halfsync.exchange.exchange cimport pool_put
from halfsync.http.trust cimport ADDRESS_BYTES
from halfsync.native.counting cimport count_shared
from halfsync.native.failures cimport checked
from halfsync.native.sync cimport monotonic_ns
from halfsync.shared.accepting cimport accept_next, sockaddr_storage, socklen_t
from halfsync.shared.slots cimport slot_count
from halfsync.transport.profiles cimport Profiles
from halfsync.transport.transport cimport transport_close, transport_open


cdef class ClientConnection:
    """A client's connection. The one thread that has it serves it."""

    def __cinit__(self):
        self.record.transport.fd = -1

    def __dealloc__(self):
        if self.record.transport.fd >= 0:
            transport_close(&self.record.transport)

    @property
    def fd(self):
        """The descriptor of its socket; -1: closed."""
        return self.record.transport.fd

    @property
    def client_index(self):
        """The place of its client in the counts; 0: it is not counted."""
        return self.record.client_index

    @property
    def has_freed_place(self):
        """Whether its place is already free for another connection, since it was closed while no thread had it."""
        return self.record.evicted and self.record.parked

    @property
    def adopted(self):
        """Whether another process has handed it off to this one."""
        return self.record.adopted


cdef bint open_client(BlockingConnection *connection, int fd, const TransportProfile *profile) noexcept nogil:
    """Open the transport of a connected socket. If memory is short, close the socket and return False.

    profile: as for transport_open.
    """
    if transport_open(&connection.transport, fd, profile) < 0:
        close(fd)
        return False
    return True


def accept(int listener, int index, Profiles profiles=None):
    """Return a ClientConnection from a listening, non-blocking socket, or None if none waits.

    index: of the listener, for SERVER_NAME and SERVER_PORT, and for its profile. Raises OSError if descriptors or
    memory are short, or if the system forbids it.
    """
    # made before there is a socket, which would be lost if memory were short
    cdef ClientConnection made = ClientConnection.__new__(ClientConnection)
    cdef BlockingConnection *connection
    cdef sockaddr_storage address
    cdef socklen_t length
    cdef int fd = accept_next(listener, &address, &length)
    if fd == -EAGAIN:
        return None
    checked(fd)
    connection = &made.record
    if not open_client(connection, fd, NULL if profiles is None else profiles.at(index)):
        checked(-ENOMEM)
    connection.address_length = <uint8_t> min(length, <socklen_t> ADDRESS_BYTES)
    memcpy(connection.address, &address, connection.address_length)
    connection.listener = index
    connection.accepted_ns = connection.put_ns = connection.idle_ns = monotonic_ns()
    return made


cdef void count_open(DriverRecord *driver, int change) noexcept nogil:
    """Count a connection that opens (1) or closes (-1)."""
    count_shared(&driver.shared.counters.open, change)
    if driver.slot != NULL:
        slot_count(driver.slot, change)


cdef void drop_exchange(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Return the exchange to the pool, and free the request's body with it, in memory or on disk."""
    if connection.exchange != NULL:
        pool_put(&driver.pool, connection.exchange)
        connection.exchange = NULL


cdef void uncount_client(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Stop counting the connection for its client."""
    if driver.client_limit != NULL:
        limit_remove(driver.client_limit, connection.client_index, driver.is_child)
        connection.client_index = 0


cdef void close_connection(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Close the connection in this process, and stop counting it."""
    drop_exchange(driver, connection)
    if idle_remove(driver, connection):  # from here on no other thread looks at its descriptor
        count_shared(&driver.shared.counters.made_room, 1)
    transport_close(&connection.transport)
    uncount_client(driver, connection)
    if not driver.is_child:
        count_open(driver, -1)
