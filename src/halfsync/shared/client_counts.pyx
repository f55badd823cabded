"""Count the connections of each client, in a hash table from addresses to counts.

The table has no lock: only its owner uses it. Its size is the largest number of connections, and it allocates nothing
once it is open. A connection keeps the *index* of its client, and gives it back when it ends: either costs a search
of one bucket. The hash is multiply-shift with a random factor (Dietzfelbinger et al., 1997): two clients share a
bucket with a probability of 2 / (number of buckets), whichever addresses they choose.
"""
from libc.errno cimport ENOMEM, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from halfsync.http.trust cimport host_bytes
from halfsync.native.checks cimport COUNT_BUFFER, check, count

cdef extern from "<unistd.h>" nogil:
    int getentropy(void *buffer, size_t length)

cdef enum:
    NETWORK_BYTES = 8  # of an IPv6 address: its /64, the least that a subscriber has (RFC 6177)


cdef uint64_t client_key(const uint8_t *address, int length) noexcept nogil:
    """Return the key of a peer: of its IPv4 address, mapped into IPv6 or not, or of the /64 of its IPv6 address.

    address: a sockaddr. If it has no IP address, the key is KEY_NONE.
    """
    cdef const uint8_t *host
    cdef uint64_t key = 0
    cdef int port, position
    cdef int host_length = host_bytes(address, length, &host, &port)
    for position in range(min(host_length, <int> NETWORK_BYTES)):
        key = key << 8 | host[position]
    if host_length == 4:
        return KEY_IPV4 | key
    if host_length > 0 and key == 0:
        return KEY_ZEROS
    return key


cdef int counts_open(ClientCounts *counts, uint32_t limit, uint32_t capacity) noexcept nogil:
    """Make an empty table. limit: connections of one client; 0: count nothing. capacity: clients.

    Returns 0 or -errno; after an error there is nothing to close.
    """
    cdef uint32_t bits = 1
    memset(counts, 0, sizeof(ClientCounts))
    if limit == 0:
        return 0
    while <uint64_t> 1 << bits < capacity:
        bits += 1
    if getentropy(&counts.factor, sizeof(counts.factor)) < 0:
        return -errno
    counts.buckets = <uint32_t *> calloc(<size_t> 1 << bits, sizeof(uint32_t))
    counts.clients = <ClientCount *> calloc(<size_t> capacity + 1, sizeof(ClientCount))
    if counts.buckets == NULL or counts.clients == NULL:
        free(counts.buckets)
        free(counts.clients)
        memset(counts, 0, sizeof(ClientCounts))
        return -ENOMEM
    count(COUNT_BUFFER, 1)
    counts.factor |= 1
    counts.shift = 64 - bits
    counts.capacity = capacity
    counts.limit = limit
    counts.unused = 1
    return 0


cdef void counts_close(ClientCounts *counts) noexcept nogil:
    """Free a table, if there is one."""
    if counts.limit > 0:
        free(counts.buckets)
        free(counts.clients)
        count(COUNT_BUFFER, -1)
        memset(counts, 0, sizeof(ClientCounts))


cdef inline uint32_t *bucket_of(ClientCounts *counts, uint64_t key) noexcept nogil:
    """Return the place of the first index in a key's bucket."""
    return &counts.buckets[(key * counts.factor) >> counts.shift]


cdef int64_t counts_add(ClientCounts *counts, uint64_t key) noexcept nogil:
    """Count a connection. Returns its client's index, or CLIENT_OVER_LIMIT if the client is at its limit.

    Returns CLIENT_NONE, and counts nothing, for a peer without an address, and if the table has no room for a client.
    """
    cdef uint32_t *bucket
    cdef uint32_t client_index
    cdef ClientCount *client
    if key == KEY_NONE:
        return CLIENT_NONE
    bucket = bucket_of(counts, key)
    client_index = bucket[0]
    while client_index != CLIENT_NONE:
        client = &counts.clients[client_index]
        if client.key == key:
            if client.count >= counts.limit:
                return CLIENT_OVER_LIMIT
            client.count += 1
            return client_index
        client_index = client.next
    client_index = counts.free
    if client_index != CLIENT_NONE:
        counts.free = counts.clients[client_index].next
    elif counts.unused <= counts.capacity:
        client_index = counts.unused
        counts.unused += 1
    else:
        return CLIENT_NONE
    client = &counts.clients[client_index]
    client.key = key
    client.count = 1
    client.next = bucket[0]
    bucket[0] = client_index
    return client_index


cdef void counts_remove(ClientCounts *counts, uint32_t client_index) noexcept nogil:
    """Count the end of a connection, by its client's index, which may be CLIENT_NONE."""
    cdef ClientCount *client
    cdef uint32_t *link
    if client_index == CLIENT_NONE:
        return
    client = &counts.clients[client_index]
    check(client_index < counts.unused and client.count > 0, "a connection of a client ends that has none")
    client.count -= 1
    if client.count > 0:
        return
    link = bucket_of(counts, client.key)
    while link[0] != client_index:
        check(link[0] != CLIENT_NONE, "a client is not in its bucket")
        link = &counts.clients[link[0]].next
    link[0] = client.next
    client.next = counts.free
    counts.free = client_index
