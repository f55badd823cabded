# Connections that change process.
from halfsync.blocking.connection cimport Client
from halfsync.blocking.records cimport CarrierRecord, ClientRecord
from halfsync.shared.handoff_queue cimport Handover

cdef bint hand_over(CarrierRecord *carrier, ClientRecord *client) noexcept nogil
cdef Client adopt(CarrierRecord *carrier, int queue)
