from halfsync.exchange.bridging cimport Bridge
from halfsync.http.response_head cimport ServerFields
from halfsync.wsgi.environ cimport EnvironFactory
from halfsync.wsgi.response cimport Response


cdef class WsgiBridge(Bridge):
    cdef object application
    cdef EnvironFactory environs
    cdef ServerFields fields

    cdef int call(self, dict environ, Response response) noexcept
