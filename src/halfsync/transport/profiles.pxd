# The transports of listeners, as Python objects: what makes them, and what keeps their settings alive.
from halfsync.transport.transport cimport TransportProfile


cdef class Profile:
    cdef TransportProfile native


cdef class Profiles:
    cdef const TransportProfile *native
    cdef int count
    cdef tuple kept

    cdef const TransportProfile *at(self, int index) noexcept
