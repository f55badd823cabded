"""The peers whose reports about a client are believed: a list of networks, compared with a peer's address.

Immutable once made, so any thread may use it, without the GIL.
"""
cimport cython

from libc.stdlib cimport calloc, free
from libc.string cimport memcmp


@cython.final
cdef class TrustedPeers:
    """The peers that a setting names. The holder of a pointer to its `trust` must keep it alive."""

    def __init__(self, networks, int hops=0):
        """networks: in the form of the settings' kind `Addresses`: CIDR blocks, addresses, "unix" and "*".

        hops: how many proxies in a row name the next one or the client, if that is to count and not their addresses.
        Raises ValueError for any other text.
        """
        cdef list texts = list(networks)
        cdef Network *network
        free(self.trust.networks)
        self.trust.count = 0
        self.trust.hops = hops
        self.trust.networks = <Network *> calloc(max(1, len(texts)), sizeof(Network))
        if self.trust.networks == NULL:
            raise MemoryError
        for text in texts:
            if text == "*":
                self.trust.everybody = True
            elif text == "unix":
                self.trust.unix_sockets = True
            else:
                network = &self.trust.networks[self.trust.count]
                host, _, bits = text.partition("/")
                raw = host.encode()
                network.length = 16 if ":" in host else 4
                network.bits = int(bits) if bits else network.length * 8
                if not host_read(raw, len(raw), network.length, network.host) or network.bits > network.length * 8:
                    raise ValueError(f"not a network: {text!r}")
                self.trust.count += 1

    def __dealloc__(self):
        free(self.trust.networks)


cdef bint trust_has(const Trust *trust, const uint8_t *address, int address_length) noexcept nogil:
    """Tell whether a peer is trusted. address: its sockaddr; a peer without an IP address uses a unix socket."""
    cdef const uint8_t *host
    cdef int port
    cdef int length
    if trust.everybody:
        return True
    length = host_bytes(address, address_length, &host, &port)
    return trust_has_host(trust, host, length) if length > 0 else trust.unix_sockets


cdef bint trust_has_host(const Trust *trust, const uint8_t *host, int length) noexcept nogil:
    """Tell whether a host (4 or 16 bytes) is trusted."""
    cdef const Network *network
    cdef int position, whole, rest
    if trust.everybody:
        return True
    for position in range(trust.count):
        network = &trust.networks[position]
        whole = network.bits // 8
        rest = network.bits % 8
        if (
            network.length == length and memcmp(network.host, host, whole) == 0
            and (rest == 0 or (network.host[whole] ^ host[whole]) >> (8 - rest) == 0)
        ):
            return True
    return False
