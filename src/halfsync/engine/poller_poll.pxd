from halfsync.engine.poller cimport Poller

cdef void poll_poller(Poller *poller) noexcept nogil
