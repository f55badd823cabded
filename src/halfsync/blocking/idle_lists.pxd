# Making room for a newcomer when all places are taken: which connections wait for a request, and since when.
from libc.stdint cimport int64_t, uint32_t

from halfsync.blocking.records cimport CarrierRecord, ClientRecord

# What rests_close did.
cdef enum Closed:
    CLOSED_NONE               # none can make room now
    CLOSED_SOON               # one was told to end, and its thread ends it
    CLOSED_NOW                # the caller must close one that no thread has: its place is free

cdef int rests_open(CarrierRecord *carrier, uint32_t children) except -1
cdef void rests_free(CarrierRecord *carrier) noexcept nogil

# For the thread, or the child, that has the connection.
cdef bint rest(CarrierRecord *carrier, ClientRecord *client, int kind, int64_t since) noexcept nogil
cdef bint stir(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef bint rise(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef bint leave_rests(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef void rests_vacated(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef bint park(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef void unpark(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef bint is_told(CarrierRecord *carrier) noexcept nogil

# For the thread that accepts.
cdef bint rests_any(CarrierRecord *carrier) noexcept nogil
cdef bint rests_closing(CarrierRecord *carrier) noexcept nogil
cdef int rests_close(CarrierRecord *carrier, ClientRecord **parked_one) noexcept nogil
cdef int64_t rests_choose_child(CarrierRecord *carrier) noexcept nogil
