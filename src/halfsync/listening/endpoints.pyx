"""The addresses of listening sockets, and what the application sees of each: SERVER_NAME and SERVER_PORT.

A connection has the index of the listener that it came by. The index means nothing to another process: a reload may
have changed the order of the listeners, or dropped some. So the record of a connection that is handed off has the
address of its listener (shared/handoff_queue.pyx), and the process that adopts it looks that address up here
(decisions/0028).
"""
from cpython.exc cimport PyErr_SetFromErrno
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <string.h>
    #include <sys/socket.h>

    /* Write a socket's own address into 28 zero bytes. Returns -1, with errno, if it has none. */
    static int hs_endpoint_of(int fd, unsigned char *to) {
        struct sockaddr_storage found;
        struct sockaddr_in four = {.sin_family = AF_INET};
        struct sockaddr_in6 six = {.sin6_family = AF_INET6};
        socklen_t length = sizeof(found);
        if (getsockname(fd, (struct sockaddr *)&found, &length) < 0)
            return -1;
        if (found.ss_family == AF_INET) {
            four.sin_addr = ((struct sockaddr_in *)&found)->sin_addr;
            four.sin_port = ((struct sockaddr_in *)&found)->sin_port;
            memcpy(to, &four, sizeof(four));
        } else if (found.ss_family == AF_INET6) {
            six.sin6_addr = ((struct sockaddr_in6 *)&found)->sin6_addr;
            six.sin6_port = ((struct sockaddr_in6 *)&found)->sin6_port;
            memcpy(to, &six, sizeof(six));
        } else {
            memcpy(to, &found.ss_family, sizeof(found.ss_family));
        }
        return 0;
    }

    /* Return the family of an endpoint. Write its host as text, in brackets if it is IPv6, and its port. */
    static int hs_endpoint_read(const unsigned char *from, char *host, int *port) {
        struct sockaddr_in four;
        struct sockaddr_in6 six;
        size_t length;
        memcpy(&four, from, sizeof(four));
        memcpy(&six, from, sizeof(six));
        if (four.sin_family == AF_INET) {
            inet_ntop(AF_INET, &four.sin_addr, host, INET6_ADDRSTRLEN);
            *port = ntohs(four.sin_port);
        } else if (four.sin_family == AF_INET6) {
            inet_ntop(AF_INET6, &six.sin6_addr, host + 1, INET6_ADDRSTRLEN);
            length = strlen(host + 1);
            host[0] = '[';
            host[length + 1] = ']';
            host[length + 2] = 0;
            *port = ntohs(six.sin6_port);
        }
        return four.sin_family;
    }
    """
    int endpoint_of "hs_endpoint_of" (int fd, uint8_t *to) nogil
    int endpoint_read "hs_endpoint_read" (const uint8_t *address, char *host, int *port) nogil
    const int AF_INET, AF_INET6

cdef enum:
    HOST_BYTES = 64  # room for an IPv6 address in brackets

# A unix socket has no host and no port, and PEP 3333 forbids empty strings. Applications behind a proxy take both from
# Host. For an HTTP/1.0 request without Host, these values give at least a valid URL.
cdef tuple UNIX_SERVER = ("localhost", "80")


cdef tuple server_of(const Endpoint *endpoint):
    """Return SERVER_NAME and SERVER_PORT; an IPv6 address is in brackets, as in RFC 3875."""
    cdef char host[HOST_BYTES]
    cdef int port = 0
    if endpoint_read(endpoint.address, host, &port) in (AF_INET, AF_INET6):
        return (<bytes> host).decode("ascii"), str(port)
    return UNIX_SERVER


cdef int read_endpoint(int fd, Endpoint *endpoint) except -1:
    memset(endpoint, 0, sizeof(Endpoint))
    if endpoint_of(fd, endpoint.address) < 0:
        PyErr_SetFromErrno(OSError)
    return 0


def name_server(int fd):
    """Return SERVER_NAME and SERVER_PORT of requests that come by this listening socket. Raises OSError."""
    cdef Endpoint endpoint
    read_endpoint(fd, &endpoint)
    return server_of(&endpoint)


cdef int add(EndpointTable *table, const Endpoint *endpoint) noexcept nogil:
    """Add an endpoint, and return its index, or ENDPOINT_UNKNOWN."""
    cdef uint32_t chunk = table.count // ENDPOINTS_CHUNK
    if chunk == ENDPOINT_CHUNKS:
        return ENDPOINT_UNKNOWN
    if table.chunks[chunk] == NULL:
        table.chunks[chunk] = <Endpoint *> calloc(ENDPOINTS_CHUNK, sizeof(Endpoint))
        if table.chunks[chunk] == NULL:
            return ENDPOINT_UNKNOWN
    table.chunks[chunk][table.count % ENDPOINTS_CHUNK] = endpoint[0]
    table.count += 1
    return <int> table.count - 1


cdef int endpoint_find(EndpointTable *table, const Endpoint *endpoint) noexcept nogil:
    """Return the index of an endpoint, and add it if it is new; or return ENDPOINT_UNKNOWN."""
    cdef uint32_t index
    for index in range(table.count):
        if memcmp(endpoint_at(table, index), endpoint, sizeof(Endpoint)) == 0:
            return <int> index
    return add(table, endpoint)


cdef class Endpoints:
    """The table of one server. Code that has a pointer to its `table` must keep it alive."""

    def __init__(self, listeners):
        """listeners: descriptors of the server's own listening sockets, in their order. Raises OSError, MemoryError."""
        cdef Endpoint endpoint
        self._free()
        for fd in listeners:
            read_endpoint(fd, &endpoint)
            if add(&self.table, &endpoint) < 0:  # each has its own index, even two with one address
                raise MemoryError

    def __dealloc__(self):
        self._free()

    cdef void _free(self) noexcept:
        cdef int chunk
        for chunk in range(ENDPOINT_CHUNKS):
            free(self.table.chunks[chunk])
            self.table.chunks[chunk] = NULL
        self.table.count = 0

    cdef tuple server(self, uint32_t index):
        """Return SERVER_NAME and SERVER_PORT of requests that came by the endpoint with this index."""
        return server_of(endpoint_at(&self.table, index))
