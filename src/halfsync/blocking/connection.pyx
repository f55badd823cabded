"""A connected client, from its acceptance to its end: its record, and what counts it."""

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EPROTO, errno
from libc.stdint cimport uint8_t
from libc.string cimport memcpy
from posix.unistd cimport close

from halfsync.blocking.client_limit cimport admission_leave
from halfsync.blocking.idle_lists cimport leave_rests
from halfsync.exchange.exchange cimport pool_put
from halfsync.http.trust cimport ADDRESS_BYTES
from halfsync.native.descriptors cimport leave_low
from halfsync.native.sync cimport add_llong, monotonic_ns
from halfsync.shared.slots cimport seat_count
from halfsync.transport.transport cimport transport_close, transport_open

from halfsync.runtime.originals import os

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    struct sockaddr_storage:
        pass
    ctypedef unsigned int socklen_t
    const int SOCK_NONBLOCK, SOCK_CLOEXEC
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)


cdef class Client:
    """A connected client. Whoever has it converses with it; only one thread at a time."""

    def __cinit__(self):
        self.record.transport.fd = -1

    def __dealloc__(self):
        if self.record.transport.fd >= 0:
            transport_close(&self.record.transport)

    @property
    def fd(self):
        """Its socket; -1: closed."""
        return self.record.transport.fd

    @property
    def place(self):
        """Its place among the connections of its client; 0: it is not counted."""
        return self.record.place

    @property
    def has_vacated(self):
        """Whether its place is already free for another: it was closed while no thread had it."""
        return self.record.closed and self.record.parked

    @property
    def adopted(self):
        """Whether it came from a process that has left."""
        return self.record.adopted


cdef bint open_client(ClientRecord *client, int fd) noexcept nogil:
    """Begin with a connected socket. Returns False, and closes it, when memory is short."""
    if transport_open(&client.transport, fd) < 0:
        close(fd)
        return False
    return True


def accept(int listener, int index):
    """Accept from a listening, non-blocking socket. Returns a Client, or None when nobody waits.

    index: of the listener, for SERVER_NAME and SERVER_PORT. Raises OSError when descriptors or memory are short, or the
    system forbids it.
    """
    cdef Client made = Client.__new__(Client)  # before there is a socket, which would be lost if memory were short
    cdef ClientRecord *client
    cdef sockaddr_storage address
    cdef socklen_t length
    cdef int fd
    while True:
        length = sizeof(address)
        fd = accept4(listener, <sockaddr *> &address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            break
        if errno == EAGAIN:
            return None
        if errno not in (EINTR, ECONNABORTED, EPROTO):
            raise OSError(errno, os.strerror(errno))
    client = &made.record
    if not open_client(client, leave_low(fd)):
        raise MemoryError
    client.address_length = <uint8_t> min(length, <socklen_t> ADDRESS_BYTES)
    memcpy(client.address, &address, client.address_length)
    client.listener = index
    client.put_ns = client.idle_ns = monotonic_ns()
    return made


cdef void count_open(CarrierRecord *carrier, int change) noexcept nogil:
    """Count a connection that is open from now on (1), or no more (-1)."""
    add_llong(&carrier.tally.open, change)
    if carrier.seat != NULL:
        seat_count(carrier.seat, change)


cdef void drop_exchange(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Give the exchange back, and with it the request's body, wherever that lies."""
    if client.exchange != NULL:
        pool_put(&carrier.pool, client.exchange)
        client.exchange = NULL


cdef void leave_client(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Count a connection for its client no more."""
    if carrier.admission != NULL:
        admission_leave(carrier.admission, client.place, carrier.is_child)
        client.place = 0


cdef void close_client(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Close the connection here, and count it no more."""
    drop_exchange(carrier, client)
    if leave_rests(carrier, client):  # from here on no other thread looks at its descriptor
        add_llong(&carrier.tally.made_room, 1)
    transport_close(&client.transport)
    leave_client(carrier, client)
    if not carrier.is_child:
        count_open(carrier, -1)
