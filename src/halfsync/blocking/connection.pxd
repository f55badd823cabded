# A client's connection: make its record, count it, close it.
from halfsync.blocking.records cimport BlockingConnection, DriverRecord
from halfsync.transport.transport cimport TransportProfile


cdef class ClientConnection:
    cdef BlockingConnection record

cdef bint open_client(BlockingConnection *connection, int fd, const TransportProfile *profile) noexcept nogil
cdef void count_open(DriverRecord *driver, int change) noexcept nogil
cdef void drop_exchange(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef void uncount_client(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef void close_connection(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
