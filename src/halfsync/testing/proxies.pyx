"""Thin Python wrappers of the code that reads what proxies send, for unit tests. Only in checks builds."""
from libc.stdint cimport int64_t
from libc.string cimport memset

from halfsync.http.parser cimport Field, Head
from halfsync.http.proxy_protocol cimport ProxyHeader, proxy_parse
from halfsync.http.request_start cimport (
    CLOCK_WINDOW_NS, ProxyClock, proxy_clock_init, proxy_clock_note, request_start_age,
)
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


WINDOW_NS = <long long> CLOCK_WINDOW_NS


def request_age(bytes value, int64_t now):
    """Return how long before `now`, in ns since 1970, a request with this X-Request-Start came; None: it is no time."""
    cdef Head head
    cdef int64_t age_ns
    cdef bytes data = b"X-Request-Start" + value
    memset(&head, 0, sizeof(head))
    head.fields_count = 1
    head.fields[0] = Field(name=0, value=15, name_length=15, value_length=<int> len(value))
    return age_ns if request_start_age(&head, data, now, &age_ns) else None


cdef class PyProxyClock:
    """How far the clocks of proxies are behind. Times in ns."""
    cdef ProxyClock native

    def __cinit__(self):
        proxy_clock_init(&self.native)

    def note(self, int64_t now, int64_t age):
        return proxy_clock_note(&self.native, now, age)
