# Connections that move from one process to another.
from halfsync.blocking.connection cimport ClientConnection
from halfsync.blocking.records cimport BlockingConnection, DriverRecord

cdef bint handoff_connection(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef ClientConnection adopt(DriverRecord *driver, int queue)
