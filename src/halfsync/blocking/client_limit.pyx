"""Who may stay, by how many connections its client has (max_connections_per_client), for the models with a carrier.

Where connections have threads, the counts are a table like the engine's, with a lock: the accepting thread counts
newcomers, and whoever carries a connection its end, or, behind the PROXY protocol, its client.

Where connections have processes, each child has a slot in memory that all share, with one word: the key of its client.
A client's connections are the slots with its key, counted by looking at all of them: microseconds, where the fork that
follows takes a millisecond. No process can leave a lock locked or a count wrong by dying: the parent empties the slot
of a child that it has reaped. Two children that are told of the same client at the same instant both write before they
look, so that they cannot both have its last place; they may both be refused it.
"""

from libc.errno cimport errno

from halfsync.native.checks cimport check
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport (
    load_llong, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock, store_llong,
)
from halfsync.shared.client_counts cimport (
    ENTER_REFUSED, KEY_NOBODY, KEY_UNTOLD, PLACE_NONE, counts_close, counts_enter, counts_leave, counts_open,
)

from halfsync.runtime.originals import os

cdef long long SLOT_FREE = <long long> KEY_NOBODY
cdef long long SLOT_TAKEN = <long long> KEY_UNTOLD  # by a child that counts for nobody


cdef class ClientLimit:
    """A limit on the connections of each client. Whoever has a pointer to its `admission` keeps it alive."""

    def __cinit__(self, unsigned int limit, *, unsigned int connections, bint children):
        """connections: that may be open at one time. children: whether each has a process. Raises OSError."""
        cdef int result
        pthread_mutex_init(&self.admission.lock, NULL)
        self.admission.limit = limit
        if children:
            self.admission.slots = <atomic_llong *> map_shared(connections * sizeof(atomic_llong))
            if self.admission.slots == NULL:
                raise OSError(errno, os.strerror(errno))
            self.admission.slots_count = connections
        else:
            result = counts_open(&self.admission.counts, limit, connections)
            if result < 0:
                raise OSError(-result, os.strerror(-result))

    def __dealloc__(self):
        counts_close(&self.admission.counts)
        unmap_shared(self.admission.slots, self.admission.slots_count * sizeof(atomic_llong))
        pthread_mutex_destroy(&self.admission.lock)


cdef int64_t admission_enter(Admission *admission, uint64_t key) noexcept nogil:
    """Count a newcomer, for whoever accepts. Returns its place, or ENTER_REFUSED where its client has all it may have.

    key: KEY_UNTOLD where its client is not known yet. PLACE_NONE is the place of who is not counted.
    """
    cdef int64_t place
    if admission.slots != NULL:
        return take_slot(admission, key)
    if key == KEY_UNTOLD:
        return PLACE_NONE
    pthread_mutex_lock(&admission.lock)
    place = counts_enter(&admission.counts, key)
    pthread_mutex_unlock(&admission.lock)
    return place


cdef int64_t admission_tell(Admission *admission, uint32_t place, uint64_t key) noexcept nogil:
    """Count a connection that entered as KEY_UNTOLD for the client that it was told. Returns as admission_enter."""
    cdef atomic_llong *slot
    if admission.slots == NULL:
        return admission_enter(admission, key)
    if place == PLACE_NONE or key == KEY_NOBODY:
        return place
    slot = &admission.slots[place - 1]
    store_llong(slot, <long long> key)
    if slots_with(admission, <long long> key) <= admission.limit:
        return place
    store_llong(slot, SLOT_TAKEN)
    return ENTER_REFUSED


cdef void admission_leave(Admission *admission, uint32_t place, bint in_child) noexcept nogil:
    """Count the end of a connection that had this place. in_child: its slot stays taken until the child is reaped."""
    if place == PLACE_NONE:
        return
    if admission.slots != NULL:
        store_llong(&admission.slots[place - 1], SLOT_TAKEN if in_child else SLOT_FREE)
        return
    pthread_mutex_lock(&admission.lock)
    counts_leave(&admission.counts, place)
    pthread_mutex_unlock(&admission.lock)


cdef uint32_t slots_with(Admission *admission, long long word) noexcept nogil:
    """Return how many slots hold this word."""
    cdef uint32_t position
    cdef uint32_t number = 0
    for position in range(admission.slots_count):
        if load_llong(&admission.slots[position]) == word:
            number += 1
    return number


cdef int64_t take_slot(Admission *admission, uint64_t key) noexcept nogil:
    """Take a free slot for a child that will be forked. For the parent, who alone takes and frees them."""
    cdef uint32_t position = 0
    if key == KEY_NOBODY:
        key = KEY_UNTOLD
    elif key != KEY_UNTOLD and slots_with(admission, <long long> key) >= admission.limit:
        return ENTER_REFUSED
    while position < admission.slots_count and load_llong(&admission.slots[position]) != SLOT_FREE:
        position += 1
    check(position < admission.slots_count, "there are more children than slots")
    if position == admission.slots_count:
        return PLACE_NONE
    store_llong(&admission.slots[position], <long long> key)
    return position + 1


cdef ClientLimit client_limit(object settings):
    """Return the limit on each client's connections, for a model with a carrier. None: there is none."""
    cdef bint children = settings.model == "process"
    if settings.max_connections_per_client == 0:
        return None
    return ClientLimit(
        settings.max_connections_per_client, children=children,
        # One more than there are places: a newcomer is let in before another connection is closed for it.
        connections=1 + (settings.max_children if children else settings.max_connections))
