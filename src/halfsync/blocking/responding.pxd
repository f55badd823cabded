# Answer a complete request.
from halfsync.blocking.records cimport BlockingConnection, DriverRecord
from halfsync.exchange.bridging cimport Bridge

cdef bint respond(DriverRecord *driver, BlockingConnection *connection, Bridge bridge) except -1
