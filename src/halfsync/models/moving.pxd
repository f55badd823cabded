# Connections that change process.
from halfsync.handover cimport Handover
from halfsync.models.carrying cimport CarrierRecord, ClientRecord
from halfsync.models.client cimport Client

cdef bint hand_over(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef Client adopt(CarrierRecord *carrier, int queue)
