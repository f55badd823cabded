"""A thin Python face of the records of connections that change their process. Built with the checks only."""
from libc.string cimport memcpy

from halfsync.listening.endpoints cimport ENDPOINT_BYTES
from halfsync.shared.handoff_queue cimport HANDOVER_BYTES, HANDOVER_TAKEN, Handover, handover_send, handover_take

SENT = ("sent", "later", "too long", "deserted")
TAKEN = ("taken", "none", "short", "refused", "over")
MOST = <int> HANDOVER_BYTES


def send(
    int queue, int fd, *, bytes endpoint=bytes(28), awaits_proxy=False, requests=0, bytes address=b"", bytes data=b""
):
    cdef Handover handover
    cdef const unsigned char *sockaddr = address
    cdef const unsigned char *listener = endpoint
    handover.fd = fd
    memcpy(handover.endpoint.address, listener, ENDPOINT_BYTES)
    handover.awaits_proxy = awaits_proxy
    handover.requests = requests
    handover.address_length = len(address)
    memcpy(handover.address, sockaddr, len(address))
    handover.data = data
    handover.length = len(data)
    return SENT[handover_send(queue, &handover)]


def take(int queue):
    cdef Handover handover
    cdef char buffer[HANDOVER_BYTES]
    cdef int taken = handover_take(queue, &handover, buffer)
    if taken != HANDOVER_TAKEN:
        return TAKEN[taken]
    return (
        handover.fd, handover.endpoint.address[:ENDPOINT_BYTES], bool(handover.awaits_proxy), handover.requests,
        handover.address[:handover.address_length], handover.data[:handover.length],
    )
