# The answer to a complete request.
from halfsync.bridging cimport Bridge
from halfsync.models.carrying cimport CarrierRecord, ClientRecord

cdef bint turn(CarrierRecord *carrier, ClientRecord *client, Bridge bridge) except -1
