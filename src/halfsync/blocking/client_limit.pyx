"""The limit on the connections of each client (max_connections_per_client) in the blocking models.

If connections have threads, the counts are a table like the engine's, with a lock. The accepting thread counts a new
connection. The thread that serves the connection counts its end and, with the PROXY protocol, its client.

If connections have processes, each child has a slot in shared memory, with one word: the key of its client. A client's
connections are the slots with its key. Counting them means reading all slots, which takes microseconds; the fork that
follows takes a millisecond. A process that dies can leave neither a held lock nor a wrong count: the parent empties the
slot of a child that it has reaped. If two children learn of the same client at the same instant, both write before they
look. So they cannot both get its last place, but both may be refused.
"""

from cpython.exc cimport PyErr_SetFromErrno

from halfsync.native.checks cimport check
from halfsync.native.failures cimport checked
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport (
    load_llong, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock, store_llong,
)
from halfsync.shared.client_counts cimport (
    CLIENT_NONE, CLIENT_OVER_LIMIT, KEY_NONE, KEY_UNKNOWN, counts_add, counts_close, counts_open, counts_remove,
)

cdef long long CHILD_FREE = <long long> KEY_NONE
cdef long long CHILD_TAKEN = <long long> KEY_UNKNOWN  # by a child that counts for no client


cdef class ClientLimit:
    """A limit on the connections of each client. The holder of a pointer to its `record` must keep it alive."""

    def __cinit__(self, unsigned int limit, *, unsigned int connections, bint children):
        """connections: the most that are open at once. children: whether each has a process. Raises OSError."""
        pthread_mutex_init(&self.record.lock, NULL)
        self.record.limit = limit
        if children:
            self.record.children_keys = <atomic_llong *> map_shared(connections * sizeof(atomic_llong))
            if self.record.children_keys == NULL:
                PyErr_SetFromErrno(OSError)
            self.record.children_count = connections
        else:
            checked(counts_open(&self.record.counts, limit, connections))

    def __dealloc__(self):
        counts_close(&self.record.counts)
        unmap_shared(self.record.children_keys, self.record.children_count * sizeof(atomic_llong))
        pthread_mutex_destroy(&self.record.lock)


cdef int64_t limit_add(ClientLimitRecord *record, uint64_t key) noexcept nogil:
    """Count a new connection, and return its place, or CLIENT_OVER_LIMIT if its client has reached the limit.

    Called by the thread that accepts. key: KEY_UNKNOWN if the client is not known yet. A connection that is not counted
    gets CLIENT_NONE.
    """
    cdef int64_t client_index
    if record.children_keys != NULL:
        return take_child(record, key)
    if key == KEY_UNKNOWN:
        return CLIENT_NONE
    pthread_mutex_lock(&record.lock)
    client_index = counts_add(&record.counts, key)
    pthread_mutex_unlock(&record.lock)
    return client_index


cdef int64_t limit_identify(ClientLimitRecord *record, uint32_t client_index, uint64_t key) noexcept nogil:
    """Count a connection that was added as KEY_UNKNOWN for its client, now known. Returns as limit_add."""
    cdef atomic_llong *child_key
    if record.children_keys == NULL:
        return limit_add(record, key)
    if client_index == CLIENT_NONE or key == KEY_NONE:
        return client_index
    child_key = &record.children_keys[client_index - 1]
    store_llong(child_key, <long long> key)
    if children_with(record, <long long> key) <= record.limit:
        return client_index
    store_llong(child_key, CHILD_TAKEN)
    return CLIENT_OVER_LIMIT


cdef void limit_remove(ClientLimitRecord *record, uint32_t client_index, bint in_child) noexcept nogil:
    """Count the end of the connection with this place. in_child: its slot stays taken until the child is reaped."""
    if client_index == CLIENT_NONE:
        return
    if record.children_keys != NULL:
        store_llong(&record.children_keys[client_index - 1], CHILD_TAKEN if in_child else CHILD_FREE)
        return
    pthread_mutex_lock(&record.lock)
    counts_remove(&record.counts, client_index)
    pthread_mutex_unlock(&record.lock)


cdef uint32_t children_with(ClientLimitRecord *record, long long word) noexcept nogil:
    """Return the number of slots that hold this word."""
    cdef uint32_t position
    cdef uint32_t number = 0
    for position in range(record.children_count):
        if load_llong(&record.children_keys[position]) == word:
            number += 1
    return number


cdef int64_t take_child(ClientLimitRecord *record, uint64_t key) noexcept nogil:
    """Take a free slot for a child about to be forked. For the parent, which alone takes and frees slots."""
    cdef uint32_t position = 0
    if key == KEY_NONE:
        key = KEY_UNKNOWN
    elif key != KEY_UNKNOWN and children_with(record, <long long> key) >= record.limit:
        return CLIENT_OVER_LIMIT
    while position < record.children_count and load_llong(&record.children_keys[position]) != CHILD_FREE:
        position += 1
    check(position < record.children_count, "there are more children than slots")
    if position == record.children_count:
        return CLIENT_NONE
    store_llong(&record.children_keys[position], <long long> key)
    return position + 1


cdef ClientLimit client_limit(object settings):
    """Return the limit on each client's connections for a blocking model, or None."""
    cdef bint children = settings.model == "process"
    if settings.max_connections_per_client == 0:
        return None
    return ClientLimit(
        settings.max_connections_per_client, children=children,
        # One more than there are places: a new connection is admitted before another is closed for it.
        connections=1 + (settings.max_children if children else settings.max_connections))
