from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.timeline cimport Timeline


cdef class RequestTimeline:
    cdef Exchange *exchange   # NULL: the request has ended
    cdef Timeline kept        # its times then

    cdef const Timeline *times(self) noexcept
    cdef void keep(self) noexcept
