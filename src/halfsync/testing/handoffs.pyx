"""A thin Python wrapper of the records of connections that move to another process. Only in checks builds."""
from libc.string cimport memcpy

from halfsync.listening.endpoints cimport ENDPOINT_BYTES
from halfsync.shared.handoff_queue cimport HANDOFF_BYTES, HANDOFF_TAKEN, HandoffRecord, handoff_send, handoff_take

SENT = ("sent", "later", "too long", "deserted")
TAKEN = ("taken", "none", "short", "refused", "over")
MOST = <int> HANDOFF_BYTES


def send(
    int queue, int fd, *, bytes endpoint=bytes(28), awaits_proxy=False, requests=0, bytes address=b"", bytes data=b""
):
    cdef HandoffRecord handoff
    cdef const unsigned char *sockaddr = address
    cdef const unsigned char *listener = endpoint
    handoff.fd = fd
    memcpy(handoff.endpoint.address, listener, ENDPOINT_BYTES)
    handoff.awaits_proxy = awaits_proxy
    handoff.requests = requests
    handoff.address_length = len(address)
    memcpy(handoff.address, sockaddr, len(address))
    handoff.data = data
    handoff.length = len(data)
    return SENT[handoff_send(queue, &handoff)]


def take(int queue):
    cdef HandoffRecord handoff
    cdef char buffer[HANDOFF_BYTES]
    cdef int taken = handoff_take(queue, &handoff, buffer)
    if taken != HANDOFF_TAKEN:
        return TAKEN[taken]
    return (
        handoff.fd, handoff.endpoint.address[:ENDPOINT_BYTES], bool(handoff.awaits_proxy), handoff.requests,
        handoff.address[:handoff.address_length], handoff.data[:handoff.length],
    )
