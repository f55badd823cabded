# Receive a complete request on an idle or a new connection.
from halfsync.blocking.records cimport BlockingConnection, DriverRecord

cdef int advance(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
