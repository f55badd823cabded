"""The record by which a connection moves to another process: its wire format, and how it is sent and taken.

A record is one message of an AF_UNIX SOCK_SEQPACKET socket pair (unix(7)), so it arrives whole or not at all, at one
process. It is a fixed header in the machine's own byte order, followed by the bytes that were received and not framed.
The connection's descriptor goes with it (SCM_RIGHTS, cmsg(3)). While a record waits in the kernel's queue, no process
owns it; its descriptor is closed with the last reading end.

A process that takes a record must have a free descriptor: otherwise the kernel drops the record's descriptor, and the
client with it. So handoff_take tries for a free one first; only another thread of the process could take it in between.
"""
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport (
    EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMEM, errno,
)
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

from halfsync.listening.endpoints cimport ENDPOINT_BYTES
from halfsync.native.descriptors cimport move_out_of_low

cdef extern from *:
    """
    #include <string.h>
    #include <sys/socket.h>

    #define HS_HANDOFF_MAGIC 0x4f766148u  /* "HavO" */
    #define HS_HANDOFF_VERSION 2

    typedef struct {
        uint32_t magic;
        uint16_t version;
        uint8_t awaits_proxy;
        uint8_t address_length;
        uint32_t requests;
        uint32_t length;          /* of the data behind it */
        uint8_t address[28];
        uint8_t endpoint[28];
    } hs_handoff_header;

    typedef union { struct cmsghdr head; char space[CMSG_SPACE(sizeof(int))]; } hs_handoff_rights;

    static ssize_t hs_handoff_send(int queue, const void *header, size_t header_length, const void *data,
                                    size_t length, int fd) {
        hs_handoff_rights rights;
        struct iovec parts[2] = {{(void *)header, header_length}, {(void *)data, length}};
        struct msghdr message;
        memset(&message, 0, sizeof(message));
        memset(&rights, 0, sizeof(rights));
        message.msg_iov = parts;
        message.msg_iovlen = length > 0 ? 2 : 1;
        message.msg_control = rights.space;
        message.msg_controllen = CMSG_LEN(sizeof(int));
        rights.head.cmsg_level = SOL_SOCKET;
        rights.head.cmsg_type = SCM_RIGHTS;
        rights.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&rights.head), &fd, sizeof(int));
        return sendmsg(queue, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }

    /* Gives room for only one descriptor, so that a second one cannot be received. *fd: -1 if none came. */
    static ssize_t hs_handoff_take(int queue, void *header, size_t header_length, void *data, size_t room, int *fd,
                                    int *whole) {
        hs_handoff_rights rights;
        struct iovec parts[2] = {{header, header_length}, {data, room}};
        struct msghdr message;
        struct cmsghdr *right;
        ssize_t got;
        memset(&message, 0, sizeof(message));
        message.msg_iov = parts;
        message.msg_iovlen = 2;
        message.msg_control = rights.space;
        message.msg_controllen = CMSG_LEN(sizeof(int));
        *fd = -1;
        got = recvmsg(queue, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0)
            return got;
        *whole = !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
        right = CMSG_FIRSTHDR(&message);
        if (right && right->cmsg_level == SOL_SOCKET && right->cmsg_type == SCM_RIGHTS
                && right->cmsg_len == CMSG_LEN(sizeof(int)))
            memcpy(fd, CMSG_DATA(right), sizeof(int));
        return got;
    }
    """
    ctypedef struct Header "hs_handoff_header":
        uint32_t magic
        uint16_t version
        uint8_t awaits_proxy
        uint8_t address_length
        uint32_t requests
        uint32_t length
        uint8_t *address
        uint8_t *endpoint
    const uint32_t MAGIC "HS_HANDOFF_MAGIC"
    const uint16_t VERSION "HS_HANDOFF_VERSION"
    ssize_t send_record "hs_handoff_send" (
        int queue, const void *header, size_t header_length, const void *data, size_t length, int fd) nogil
    ssize_t take_record "hs_handoff_take" (
        int queue, void *header, size_t header_length, void *data, size_t room, int *fd, int *whole) nogil

cdef extern from "<errno.h>" nogil:
    const int ETOOMANYREFS


cdef int handoff_send(int queue, const HandoffRecord *handoff) noexcept nogil:
    """Send a connection's record and descriptor. Returns a HandoffSent.

    ETOOMANYREFS: the user has as many descriptors in transit as a process may have open; some will arrive.
    """
    cdef Header header
    memset(&header, 0, sizeof(header))
    header.magic = MAGIC
    header.version = VERSION
    header.awaits_proxy = handoff.awaits_proxy
    header.requests = handoff.requests
    header.length = handoff.length
    header.address_length = min(handoff.address_length, <uint8_t> ADDRESS_BYTES)
    memcpy(header.address, handoff.address, header.address_length)
    memcpy(header.endpoint, handoff.endpoint.address, ENDPOINT_BYTES)
    while send_record(queue, &header, sizeof(header), handoff.data, handoff.length, handoff.fd) < 0:
        if errno == EINTR:
            continue
        if errno == EMSGSIZE:
            return HANDOFF_TOO_LONG
        if errno in (EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS):
            return HANDOFF_LATER
        return HANDOFF_NO_READER
    return HANDOFF_SENT


cdef bint is_record(const Header *header, ssize_t got) noexcept nogil:
    """Return whether the received bytes are a whole record of this version."""
    return (
        got >= <ssize_t> sizeof(Header) and header.magic == MAGIC and header.version == VERSION
        and header.address_length <= ADDRESS_BYTES and got == <ssize_t> sizeof(Header) + <ssize_t> header.length
    )


def put_connection(int queue, int fd):
    """Put a connected socket, on which nothing was received yet, into the queue. The descriptor stays open here.

    queue: its writing end. The server that adopts the connection treats its client as one at a unix socket. Raises
    OSError if the queue is full or has no reader.
    """
    cdef HandoffRecord handoff
    memset(&handoff, 0, sizeof(handoff))
    handoff.fd = fd
    if handoff_send(queue, &handoff) != HANDOFF_SENT:
        PyErr_SetFromErrno(OSError)


cdef int handoff_take(int queue, HandoffRecord *handoff, char *buffer) noexcept nogil:
    """Take the next record and its descriptor, if one waits. Returns a HandoffTaken."""
    cdef Header header
    cdef ssize_t got
    cdef int whole = False
    cdef int free_fd = fcntl(queue, F_DUPFD_CLOEXEC, 3)
    if free_fd < 0:
        return HANDOFF_NO_DESCRIPTOR
    close(free_fd)
    while True:
        got = take_record(queue, &header, sizeof(header), buffer, HANDOFF_BYTES, &handoff.fd, &whole)
        if got >= 0:
            break
        if errno == EINTR:
            continue
        if errno in (EAGAIN, ENOBUFS, ENOMEM):
            return HANDOFF_NONE
        return HANDOFF_NO_WRITER
    if got == 0 and handoff.fd < 0:
        return HANDOFF_NO_WRITER
    if handoff.fd < 0 or not whole or not is_record(&header, got):
        if handoff.fd >= 0:
            close(handoff.fd)
            handoff.fd = -1
        return HANDOFF_INVALID
    handoff.fd = move_out_of_low(handoff.fd)
    handoff.awaits_proxy = header.awaits_proxy
    handoff.requests = header.requests
    handoff.address_length = header.address_length
    memcpy(handoff.address, header.address, header.address_length)
    memcpy(handoff.endpoint.address, header.endpoint, ENDPOINT_BYTES)
    handoff.data = buffer
    handoff.length = header.length
    return HANDOFF_TAKEN
