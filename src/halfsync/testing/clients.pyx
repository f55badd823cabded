"""Thin Python wrappers of the code that counts the connections of clients, for unit tests. Only in checks builds.

Addresses are sockaddrs in bytes. `add` returns an index: 0 if the connection is not counted, -1 if it is refused.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

cimport halfsync.shared.client_counts as native
from halfsync.blocking.client_limit cimport ClientLimit, limit_add, limit_identify, limit_remove
from halfsync.native.failures cimport checked


cdef class PyClientCounts:
    """The table of counts."""
    cdef native.ClientCounts counts

    def __cinit__(self, uint32_t limit, uint32_t capacity):
        checked(native.counts_open(&self.counts, limit, capacity))

    def __dealloc__(self):
        native.counts_close(&self.counts)

    def add(self, bytes address):
        return native.counts_add(&self.counts, native.client_key(address, len(address)))

    def remove(self, uint32_t client_index):
        native.counts_remove(&self.counts, client_index)


def client_key(bytes address):
    return native.client_key(address, len(address))


cdef class PyClientLimit:
    """The limit in the blocking models. address: None if the client is not known yet."""
    cdef ClientLimit limit

    def __cinit__(self, uint32_t limit, *, uint32_t connections, bint children):
        self.limit = ClientLimit(limit, connections=connections, children=children)

    def add(self, bytes address):
        return limit_add(
            &self.limit.record,
            native.KEY_UNKNOWN if address is None else native.client_key(address, len(address)))

    def identify(self, uint32_t client_index, bytes address):
        cdef uint64_t key = native.client_key(address, len(address))
        cdef int64_t told
        with nogil:
            told = limit_identify(&self.limit.record, client_index, key)
        return told

    def remove(self, uint32_t client_index, *, bint in_child=False):
        with nogil:
            limit_remove(&self.limit.record, client_index, in_child)
