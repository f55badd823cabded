# How a connection ends with an answer of the server's own, or after the last response.
from halfsync.blocking.records cimport CarrierRecord, ClientRecord

cdef void refuse(CarrierRecord *carrier, ClientRecord *client, int status) noexcept nogil
cdef void linger(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef void note_refusal(CarrierRecord *carrier, ClientRecord *client, int status, const char *reason) noexcept nogil
cdef void log_turn(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef bint shed(CarrierRecord *carrier, ClientRecord *client, const char *reason) noexcept nogil
cdef bint discard(ClientRecord *client) noexcept nogil
