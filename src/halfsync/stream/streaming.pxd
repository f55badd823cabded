from halfsync.exchange.bridging cimport Bridge, Sink
from halfsync.exchange.exchange cimport Exchange


cdef class StreamBridge(Bridge):
    cdef object factory

    cdef int send(self, object data, Exchange *exchange, Sink *sink) except -1
