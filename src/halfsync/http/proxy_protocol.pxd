# The header of the PROXY protocol, as native code: no I/O, no allocation, no Python objects.
from libc.stdint cimport uint8_t, uint32_t

from halfsync.http.trust cimport ADDRESS_BYTES

cdef enum:
    PROXY_V1_BYTES = 107      # of a header of version 1 with its CRLF, at most (section 2.1)
    PROXY_V2_BYTES = 4096     # of a header of version 2 that is accepted, its TLVs included

# What a header says of the client.
ctypedef struct ProxyHeader:
    uint8_t address[ADDRESS_BYTES]   # sockaddr
    uint8_t address_length          # 0: nothing, and the peer is the client (LOCAL, UNKNOWN, AF_UNSPEC)


# Read a header from data[0:length], all that a connection has sent so far. Returns its bytes when it is complete, 0
# when more are needed, -1 when the connection does not begin with one.
cdef int proxy_parse(const char *data, uint32_t length, ProxyHeader *header) noexcept nogil
