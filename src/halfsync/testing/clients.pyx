"""Thin Python faces of what counts the connections of clients, for unit tests. Built with the checks only.

Addresses are sockaddrs in bytes. What is entered is a place, 0 for what is not counted, -1 for what is refused.
"""
import os

from libc.stdint cimport int64_t, uint32_t, uint64_t

cimport halfsync.shared.client_counts as native
from halfsync.blocking.client_limit cimport ClientLimit, admission_enter, admission_leave, admission_tell


cdef class Counts:
    """The table of counts."""
    cdef native.ClientCounts counts

    def __cinit__(self, uint32_t limit, uint32_t capacity):
        cdef int result = native.counts_open(&self.counts, limit, capacity)
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def __dealloc__(self):
        native.counts_close(&self.counts)

    def enter(self, bytes address):
        return native.counts_enter(&self.counts, native.client_key(address, len(address)))

    def leave(self, uint32_t place):
        native.counts_leave(&self.counts, place)


def client_key(bytes address):
    return native.client_key(address, len(address))


cdef class Limit:
    """The limit as the carriers know it. address: None where the client is not known yet."""
    cdef ClientLimit limit

    def __cinit__(self, uint32_t limit, *, uint32_t connections, bint children):
        self.limit = ClientLimit(limit, connections=connections, children=children)

    def enter(self, bytes address):
        return admission_enter(
            &self.limit.admission,
            native.KEY_UNTOLD if address is None else native.client_key(address, len(address)))

    def tell(self, uint32_t place, bytes address):
        cdef uint64_t key = native.client_key(address, len(address))
        cdef int64_t told
        with nogil:
            told = admission_tell(&self.limit.admission, place, key)
        return told

    def leave(self, uint32_t place, *, bint in_child=False):
        with nogil:
            admission_leave(&self.limit.admission, place, in_child)
