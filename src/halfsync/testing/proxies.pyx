"""Thin Python wrappers of the code that reads what proxies send, for unit tests. Only in checks builds."""
from halfsync.http.proxy_protocol cimport ProxyHeader, proxy_parse
from halfsync.http.trust cimport HOST_TEXT, TrustedPeers, host_bytes, host_text, trust_has


cdef tuple text_of(const unsigned char *address, int address_length):
    cdef char text[HOST_TEXT]
    cdef const unsigned char *host
    cdef int port = 0
    cdef int length
    if address_length == 0:
        return None
    length = host_bytes(address, address_length, &host, &port)
    if length == 0:
        return "", 0
    host_text(host, length, text)
    return text.decode("ascii"), port


def proxy_header(bytes data):
    """Return (bytes of the header, 0: more needed, -1: none; (host, port), ("", 0) of a unix socket, or None)."""
    cdef ProxyHeader header
    cdef int result = proxy_parse(data, len(data), &header)
    return result, text_of(header.address, header.address_length)


def trusts(TrustedPeers peers, bytes address):
    return bool(trust_has(&peers.trust, address, len(address)))
