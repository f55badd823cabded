"""A thin Python wrapper of one request's owner word and its worker's lease, for tests. Only in checks builds."""
from libc.stdlib cimport calloc, free

cimport halfsync.engine.engine as engines
cimport halfsync.engine.lease as leases
cimport halfsync.engine.ownership as ownership
from halfsync.exchange.exchange cimport Exchange
from halfsync.native.sync cimport load_pointer, load_uint, store_uint, swap_pointer

OWNER_ENGINE = <int> ownership.OWNER_ENGINE
OWNER_QUEUE = <int> ownership.OWNER_QUEUE
OWNER_WORKER = <int> ownership.OWNER_WORKER
OWNER_RETURNED = <int> ownership.OWNER_RETURNED
HOLD_OVER = <int> leases.HOLD_OVER
HOLD_BUSY = <int> leases.HOLD_BUSY
HOLD_TAKEN = <int> leases.HOLD_TAKEN
CONNECTION_BYTES = sizeof(engines.Connection)


cdef class Turn:
    """One request, one lease, and an engine, of which only the list of returned requests is used."""
    cdef engines.Engine *engine
    cdef engines.Request *request
    cdef leases.Lease *lease
    cdef Exchange *exchange

    def __cinit__(self):
        self.engine = <engines.Engine *> calloc(1, sizeof(engines.Engine))
        self.request = <engines.Request *> calloc(1, sizeof(engines.Request))
        self.lease = <leases.Lease *> calloc(1, sizeof(leases.Lease))
        self.exchange = <Exchange *> calloc(1, sizeof(Exchange))
        if self.engine == NULL or self.request == NULL or self.lease == NULL or self.exchange == NULL:
            raise MemoryError
        self.lease.exchange = self.exchange

    def __dealloc__(self):
        free(self.engine)
        free(self.request)
        free(self.lease)
        free(self.exchange)

    def save(self):
        """Return the whole state, as a tuple."""
        return (
            load_uint(&self.request.owner), load_uint(&self.lease.word), self.lease.serial,
            self.request.lease_serial, load_pointer(&self.engine.returned) != NULL,
        )

    def restore(self, tuple state):
        """Restore a state that `save` returned."""
        store_uint(&self.request.owner, state[0])
        store_uint(&self.lease.word, state[1])
        self.lease.serial = state[2]
        self.request.lease_serial = state[3]
        swap_pointer(&self.engine.returned, <void *> self.request if state[4] else NULL)

    @property
    def owner(self):
        return load_uint(&self.request.owner) & ownership.OWNER_MASK

    @property
    def is_linked(self):
        return load_pointer(&self.engine.returned) != NULL

    # The engine's side.

    def open_record(self):
        store_uint(&self.request.owner, ownership.OWNER_ENGINE)

    def note_event(self):
        return ownership.owner_note_event(&self.request.owner)

    def submit(self):
        ownership.owner_submit(&self.request.owner, False)

    def withdraw(self):
        ownership.owner_withdraw(&self.request.owner)

    def unlink(self):
        """Take the whole list, as the engine does once a cycle of its loop."""
        swap_pointer(&self.engine.returned, NULL)

    def take_back(self):
        ownership.owner_take_back(&self.request.owner)

    def defer(self):
        engines.engine_defer(self.engine, self.request)

    def hold(self, serial):
        return leases.lease_hold(self.lease, serial)

    def seize(self):
        return ownership.owner_seize(&self.request.owner)

    def release_lease(self):
        leases.lease_release(self.lease)

    def revoke(self):
        leases.lease_revoke(self.lease)

    # The worker's side.

    def begin(self):
        leases.lease_begin(self.lease, 0, self.exchange)
        return self.lease.serial

    def note_serial(self):
        self.request.lease_serial = self.lease.serial

    def take(self):
        ownership.owner_take(&self.request.owner)

    def acquire(self):
        return leases.lease_acquire(self.lease)

    def end(self):
        return leases.lease_end(self.lease)

    def release(self):
        engines.engine_release(self.engine, self.request)

    def give_back(self):
        engines.engine_return(self.engine, self.request)

    # For tests of the protocol without one of its rules.

    def link(self, owner):
        """Put the request into the list, with this owner, whichever it had before."""
        store_uint(&self.request.owner, owner)
        swap_pointer(&self.engine.returned, <void *> self.request)

    def force(self, owner):
        store_uint(&self.request.owner, owner)
