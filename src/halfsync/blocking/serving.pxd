# Serve the requests of one connection, in the thread that has it.
from halfsync.blocking.records cimport BlockingConnection, DriverRecord
from halfsync.exchange.bridging cimport Bridge

cdef int serve_requests(DriverRecord *driver, BlockingConnection *connection, Bridge bridge) except? -1
cdef void refuse_last(DriverRecord *driver, BlockingConnection *connection, int status) noexcept
