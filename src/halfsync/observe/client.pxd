# Which client a request is logged for.
from libc.stdint cimport uint8_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.http.forwarded cimport ForwardedInfo, forwarded_read
from halfsync.http.trust cimport HOST_TEXT, Trust, host_bytes, host_text, trust_has


cdef inline void find_client(
    const Exchange *exchange, const Trust *trust, ForwardedInfo *info, const uint8_t **address, int *address_length
) noexcept nogil:
    """Replace the peer's address by its client's, if trusted proxies report one. info: memory for that address."""
    if exchange.client_length > 0:
        address[0] = exchange.client
        address_length[0] = exchange.client_length
    elif (  # it was refused before its fields were read
        not exchange.forwarded_seen and exchange.head.length > 0 and trust != NULL
        and trust_has(trust, address[0], address_length[0])
    ):
        forwarded_read(&exchange.head, exchange.data, trust, info)
        if info.address_length > 0:
            address[0] = info.address
            address_length[0] = info.address_length


cdef inline tuple address_parts(const uint8_t *address, int length):
    """Return host and port of a socket address as text and number. ("", 0): it is not an IP address."""
    cdef const uint8_t *host
    cdef char text[HOST_TEXT]
    cdef int port
    length = host_bytes(address, length, &host, &port)
    if length == 0:
        return "", 0
    host_text(host, length, text)
    return text.decode("ascii"), port


cdef inline str address_text(str host, int port):
    """Return an address as people write it."""
    if not host:
        return "a unix socket"
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
