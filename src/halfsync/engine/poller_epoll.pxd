from halfsync.engine.poller cimport Poller

cdef void epoll_poller(Poller *poller) noexcept nogil
