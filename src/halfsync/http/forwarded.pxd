# Read what trusted proxies report about a request's client: Forwarded (RFC 7239) and the X-Forwarded- fields.
from libc.stdint cimport uint8_t

from halfsync.http.parser cimport Head
from halfsync.http.trust cimport ADDRESS_BYTES, Trust

cdef enum:
    FORWARDED_HOST_BYTES = 262  # of a host of 255 bytes (the longest name), a colon and a port

cdef enum Scheme:
    SCHEME_UNKNOWN
    SCHEME_HTTP
    SCHEME_HTTPS

# What the proxies report, as far as it is believed.
ctypedef struct ForwardedInfo:
    uint8_t address[ADDRESS_BYTES]  # sockaddr of the client
    uint8_t address_length    # 0: not reported: the peer is the client
    uint8_t has_port          # the client's port was reported; else it is 0 in address
    uint8_t scheme            # Scheme
    int port                  # to which the client connected; -1: not reported
    int host_length           # 0: not reported
    char host[FORWARDED_HOST_BYTES]  # host[:port] that the client requested


# Read what proxies report. The peer must be trusted. data: the start of the head, from which its offsets count.
cdef void forwarded_read(const Head *head, const char *data, const Trust *trust, ForwardedInfo *info) noexcept nogil
