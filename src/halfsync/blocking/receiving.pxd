# From silence to a complete request.
from halfsync.blocking.records cimport CarrierRecord, ClientRecord

cdef int advance(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
