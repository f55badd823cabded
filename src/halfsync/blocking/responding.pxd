# The answer to a complete request.
from halfsync.blocking.records cimport CarrierRecord, ClientRecord
from halfsync.exchange.bridging cimport Bridge

cdef bint turn(CarrierRecord *carrier, ClientRecord *client, Bridge bridge) except -1
