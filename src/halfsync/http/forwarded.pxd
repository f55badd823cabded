# What trusted proxies say of a request's client: Forwarded (RFC 7239) and the X-Forwarded- fields. Native code.
from libc.stdint cimport uint8_t

from halfsync.http.parser cimport Head
from halfsync.http.trust cimport ADDRESS_BYTES, Trust

cdef enum:
    FORWARDED_HOST_BYTES = 262  # of a host of 255 bytes, the most that a name may have, a colon and a port

cdef enum Scheme:
    SCHEME_UNKNOWN
    SCHEME_HTTP
    SCHEME_HTTPS

# What was said, as far as it is believed.
ctypedef struct ForwardedInfo:
    uint8_t address[ADDRESS_BYTES]  # sockaddr of the client
    uint8_t address_length    # 0: nothing, and the peer is the client
    uint8_t has_port          # the client's port was told; else it is 0 in address
    uint8_t scheme            # Scheme
    int port                  # that the client connected to; -1: untold
    int host_length           # 0: untold
    char host[FORWARDED_HOST_BYTES]  # host[:port] that the client asked for


# Read what proxies say. The peer must be trusted. data: what the head's offsets count from.
cdef void forwarded_read(const Head *head, const char *data, const Trust *trust, ForwardedInfo *info) noexcept nogil
