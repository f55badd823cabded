# From silence to a complete request.
from halfsync.models.carrying cimport CarrierRecord, ClientRecord

cdef int advance(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
