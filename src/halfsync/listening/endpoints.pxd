# Addresses of listening sockets. With them, a connection that is handed off keeps its SERVER_NAME and SERVER_PORT.
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    ENDPOINT_BYTES = 28       # sizeof(sockaddr_in6), the largest address here
    ENDPOINTS_CHUNK = 256
    ENDPOINT_CHUNKS = 256     # so that an index fits 16 bits
    ENDPOINT_UNKNOWN = -1     # no memory for one more, or not an address

# What the application sees of a listening socket, as a sockaddr: family, host and port. All other bytes are 0. A unix
# socket has only the family, since PEP 3333 has no name for it. So two endpoints are the same if their bytes are.
ctypedef struct Endpoint:
    uint8_t address[ENDPOINT_BYTES]

# The process's own listeners come first, in their order. Behind them are those of other processes, by which adopted
# connections came. One thread adds endpoints. Any thread may read those whose index it has: a thread gets an index only
# after the endpoint was added.
ctypedef struct EndpointTable:
    Endpoint *chunks[ENDPOINT_CHUNKS]
    uint32_t count

cdef inline const Endpoint *endpoint_at(const EndpointTable *table, uint32_t index) noexcept nogil:
    return &table.chunks[index // ENDPOINTS_CHUNK][index % ENDPOINTS_CHUNK]

# Return the index of an endpoint, and add it if it is new; or return ENDPOINT_UNKNOWN.
cdef int endpoint_find(EndpointTable *table, const Endpoint *endpoint) noexcept nogil


cdef class Endpoints:
    cdef EndpointTable table

    cdef void _free(self) noexcept
    cdef tuple server(self, uint32_t index)
