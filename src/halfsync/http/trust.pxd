# The peers whose reports about a client are believed: a list of networks, compared with a peer's address.
from libc.stdint cimport uint8_t


cdef extern from "sockaddr.h" nogil:
    enum:
        HOST_TEXT "HALFSYNC_HOST_TEXT"
    int host_bytes(const void *address, int length, const uint8_t **host, int *port)
    void host_text(const uint8_t *host, int length, char *text)
    int address_of(void *address, const uint8_t *host, int length, int port)
    int address_of_unix(void *address)
    bint host_read(const char *text, size_t size, int length, uint8_t *host)

cdef enum:
    ADDRESS_BYTES = 28        # of a sockaddr_in6, the largest address that is kept of a client

ctypedef struct Network:
    uint8_t host[16]
    uint8_t length            # bytes of host: 4 or 16
    uint8_t bits              # of host that count

ctypedef struct Trust:
    Network *networks
    int count
    bint everybody
    bint unix_sockets         # every peer that connects by one
    int hops                  # proxies in a row, the peer included, each of which adds an address; 0: not known


cdef bint trust_has(const Trust *trust, const uint8_t *address, int address_length) noexcept nogil
cdef bint trust_has_host(const Trust *trust, const uint8_t *host, int length) noexcept nogil


cdef class TrustedPeers:
    cdef Trust trust
