# From silence to a complete request.
from halfsync.blocking.records cimport BlockingConnection, DriverRecord

cdef int advance(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
