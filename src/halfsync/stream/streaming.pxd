from halfsync.bridging cimport Bridge, Sink
from halfsync.exchange cimport Exchange


cdef class StreamBridge(Bridge):
    cdef object factory

    cdef int send(self, object data, Exchange *exchange, Sink *sink) except -1
