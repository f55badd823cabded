# The header of the PROXY protocol, as native code: no I/O, no allocation, no Python objects.
from libc.stdint cimport uint8_t, uint32_t

from halfsync.http.trust cimport ADDRESS_BYTES

cdef enum:
    PROXY_V1_BYTES = 107      # the longest header of version 1, with its CRLF (section 2.1)
    PROXY_V2_BYTES = 4096     # the longest header of version 2 that is accepted, with its TLVs

# The client's address from a header.
ctypedef struct ProxyHeader:
    uint8_t address[ADDRESS_BYTES]   # sockaddr
    uint8_t address_length          # 0: none: the peer is the client (LOCAL, UNKNOWN, AF_UNSPEC)


# Read a header from data[0:length], all that a connection has sent so far. Returns its bytes if it is complete, 0 if
# more are needed, and -1 if the connection does not begin with a header.
cdef int proxy_parse(const char *data, uint32_t length, ProxyHeader *header) noexcept nogil
