# The record of a connected client: made, counted, and let go.
from halfsync.blocking.records cimport CarrierRecord, ClientRecord


cdef class Client:
    cdef ClientRecord record

cdef bint open_client(ClientRecord *client, int fd) noexcept nogil
cdef void count_open(CarrierRecord *carrier, int change) noexcept nogil
cdef void drop_exchange(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef void leave_client(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef void close_client(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
