# Addresses of listening sockets: by them a connection that changes its process keeps its SERVER_NAME and SERVER_PORT.
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    ENDPOINT_BYTES = 28       # of a sockaddr_in6, the largest that there is
    ENDPOINTS_CHUNK = 256
    ENDPOINT_CHUNKS = 256     # so that an index fits 16 bits
    ENDPOINT_UNKNOWN = -1     # there is no memory for one more, or its address is none

# What the application sees of a listening socket, as a sockaddr: family, host and port. All else is 0: of a unix socket
# only the family is left, since PEP 3333 has no name for it. So two are the same if their bytes are.
ctypedef struct Endpoint:
    uint8_t address[ENDPOINT_BYTES]

# The process's own listeners come first, in their order; behind them, those that adopted connections came by elsewhere.
# One thread adds to it. Any thread may read what it has an index of: it got that after the endpoint was there.
ctypedef struct EndpointTable:
    Endpoint *chunks[ENDPOINT_CHUNKS]
    uint32_t count

cdef inline const Endpoint *endpoint_at(const EndpointTable *table, uint32_t index) noexcept nogil:
    return &table.chunks[index // ENDPOINTS_CHUNK][index % ENDPOINTS_CHUNK]

# Return the index of an endpoint, which is added if it is new; or ENDPOINT_UNKNOWN.
cdef int endpoint_find(EndpointTable *table, const Endpoint *endpoint) noexcept nogil


cdef class Endpoints:
    cdef EndpointTable table

    cdef void _free(self) noexcept
    cdef tuple server(self, uint32_t index)
