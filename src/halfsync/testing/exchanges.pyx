"""Exchanges, outboxes and what they keep on disk, for their unit tests. Only in checks builds.

Each method is one call of the native function of its name. The caller must follow the rules of that function: these
classes check nothing.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from libc.stdlib cimport free, malloc
from posix.uio cimport iovec
from posix.unistd cimport pread

from halfsync.exchange.bridging cimport Origin
from halfsync.exchange.exchange cimport (
    EXCHANGE_READY, Exchange, ExchangePool, Limits, exchange_follow, exchange_has_more, exchange_received,
    exchange_room, pool_destroy, pool_get, pool_init, pool_put,
)
from halfsync.exchange.outbox cimport (
    NEXT_FILE, NEXT_MEMORY, PIECE_BYTES, SPOOL_TURN_BYTES as TURN_BYTES, VECTORS_MAX, Outbox, Segment, outbox_abandon,
    outbox_append, outbox_append_file, outbox_finish, outbox_next, outbox_open, outbox_release, outbox_sent,
    outbox_wait,
)
from halfsync.exchange.spool cimport SpoolFile, Store, spool_append, spool_close, spool_init, spool_reserve, store_init
from halfsync.http.parser cimport HeadLimits
from halfsync.native.sync cimport load_llong, load_uint
from halfsync.wsgi.body cimport INPUT_ENDED, Input, input_for
from halfsync.wsgi.body_blocks cimport BodyBlocks, grow
from halfsync.wsgi.environ cimport EnvironFactory

# A sanitizer knows the sizes of blocks, but not how much of a buffer has been received.
cdef extern from *:
    """
    #if defined(__has_feature)
    #if __has_feature(address_sanitizer)
    #define HS_FENCES
    #endif
    #endif
    #if defined(HS_FENCES) || defined(__SANITIZE_ADDRESS__)
    #include <sanitizer/asan_interface.h>
    #else
    #define ASAN_POISON_MEMORY_REGION(data, length) ((void) (data), (void) (length))
    #define ASAN_UNPOISON_MEMORY_REGION(data, length) ((void) (data), (void) (length))
    #endif
    """
    void fence "ASAN_POISON_MEMORY_REGION" (const void *data, size_t length) noexcept nogil
    void unfence "ASAN_UNPOISON_MEMORY_REGION" (const void *data, size_t length) noexcept nogil

cdef enum:
    SCRATCH_BYTES = 256 * 1024

SEGMENT_BYTES = <int> sizeof(Segment)
SPOOL_TURN_BYTES = <int> TURN_BYTES


cdef class PyStore:
    """The budget of spool files."""
    cdef Store native

    def __cinit__(self, bytes directory, int64_t limit):
        if store_init(&self.native, directory, limit) < 0:
            raise ValueError("the path is too long")

    @property
    def used(self):
        return load_llong(&self.native.used)


cdef class PySpool:
    """One spool file."""
    cdef SpoolFile native
    cdef PyStore store

    def __cinit__(self, PyStore store):
        self.store = store
        spool_init(&self.native, &store.native)

    def reserve(self, int64_t length):
        return spool_reserve(&self.native, length)

    def append(self, bytes data):
        return spool_append(&self.native, data, len(data))

    def close(self):
        spool_close(&self.native)

    @property
    def fd(self):
        return self.native.fd

    @property
    def end(self):
        return self.native.end


def count_blocks(BodyBlocks blocks):
    """Return (blocks that wait to be used, blocks that there are)."""
    return blocks.pool.length, blocks.pool.made


def make_blocks(int length):
    """Return a pool that has this many blocks, as after as many bodies."""
    cdef BodyBlocks blocks = BodyBlocks()
    for _ in range(length):
        grow(&blocks.pool)
    return blocks


cdef class PyExchange:
    """One exchange and the pool that it came from. Do not use its inputs after the next follow or close."""
    cdef ExchangePool pool
    cdef Limits limits
    cdef Exchange *native
    cdef PyStore store
    cdef list inputs
    cdef char *scratch
    cdef BodyBlocks blocks

    def __cinit__(self, PyStore store, *, int64_t max_body, int64_t body_memory, BodyBlocks blocks=None,
                  tuple head=(8192, 8192, 100, 32768)):
        self.store = store
        self.limits.store = &store.native
        self.limits.max_body = max_body
        self.limits.body_memory = body_memory
        if blocks is not None:
            self.blocks = blocks
            self.limits.blocks = &blocks.pool
        self.limits.head = HeadLimits(head[0], head[1], head[2], head[3])
        self.inputs = []
        pool_init(&self.pool)
        self.native = pool_get(&self.pool)
        self.scratch = <char *> malloc(SCRATCH_BYTES)

    def close(self):
        self.detach()
        pool_put(&self.pool, self.native)
        pool_destroy(&self.pool)
        self.native = NULL
        free(self.scratch)

    def detach(self):
        cdef Input body
        for body in self.inputs:
            body.shut(INPUT_ENDED)
        self.inputs.clear()

    def receive(self, bytes data, bint anywhere=False):
        """Receive what there is room for, as the engine does. anywhere: into a buffer of our own.

        Under AddressSanitizer, touching the buffer behind what was received is an error.
        """
        cdef size_t room = SCRATCH_BYTES
        cdef char *target = NULL if anywhere else exchange_room(self.native, &self.limits, &room)
        if target == NULL:
            target = self.scratch
            room = SCRATCH_BYTES
        cdef size_t length = min(room, <size_t> len(data))
        memcpy(target, <const char *> data, length)
        fence(target + length, room - length)
        result = exchange_received(self.native, &self.limits, target, length)
        unfence(target + length, room - length)
        return length, result

    def has_more(self):
        return bool(exchange_has_more(self.native))

    def follow(self):
        """Begin with what came behind a complete request, as the engine does."""
        self.detach()
        exchange_follow(self.native)
        return exchange_received(self.native, &self.limits, self.native.data + self.native.filled, 0)

    def renew(self):
        """Give the exchange back to its pool, and take another."""
        self.detach()
        pool_put(&self.pool, self.native)
        self.native = pool_get(&self.pool)

    @property
    def ready(self):
        return self.native.phase == EXCHANGE_READY

    @property
    def want_continue(self):
        return bool(self.native.want_continue)

    @property
    def line(self):
        """(method, target)"""
        head = &self.native.head
        return (
            self.native.data[head.method:head.method + head.method_length],
            self.native.data[head.target:head.target + head.target_length],
        )

    @property
    def fields(self):
        data = self.native.data
        return [
            (data[f.name:f.name + f.name_length], data[f.value:f.value + f.value_length])
            for f in self.native.head.fields[:self.native.head.fields_count]
        ]

    @property
    def place(self):
        """Where the body is: "", "data" (behind the head), "memory", "block" or "disk"."""
        if self.native.spool.fd >= 0:
            return "disk"
        if self.native.block.owner != NULL:
            return "block"
        return "" if self.native.body == NULL else "data" if self.native.body_is_data else "memory"

    @property
    def body(self):
        length = self.native.body_length
        if self.native.spool.fd < 0:
            return self.native.body[:length] if self.native.body != NULL else b""
        data = bytearray(length)
        cdef char *target = data
        cdef ssize_t got = pread(self.native.spool.fd, target, length, 0)
        return bytes(data[:max(0, got)])

    @property
    def leftover(self):
        return self.native.data[self.native.used:self.native.filled]

    def input(self):
        body = input_for(self.native)
        self.inputs.append(body)
        return body

    def environ(self, EnvironFactory factory, bytes address, int listener, double waited_s, body):
        cdef Origin origin
        cdef bint lent
        origin.address = address
        origin.address_length = len(address)
        origin.listener = listener
        return factory.make(self.native, &origin, waited_s, body, &lent)


cdef class PyOutbox:
    """One outbox. It must not be used after two releases."""
    cdef Outbox *native
    cdef PyStore store

    def __cinit__(self, int64_t memory_limit, PyStore store):
        self.store = store
        self.native = outbox_open(NULL, memory_limit, &store.native)

    def append(self, bytes data):
        cdef const char *start = data
        cdef int64_t length = len(data)
        cdef int64_t piece
        cdef int result = 0
        cdef int told = 0
        with nogil:
            while length > 0 and result >= 0:  # one piece at a time, as its users must
                piece = min(length, <int64_t> PIECE_BYTES)
                result = outbox_append(self.native, start, piece, True)
                told |= result
                start += piece
                length -= piece
            result = -1 if result < 0 else told
        return result

    def wait(self, int64_t length, int64_t most):
        cdef int result
        with nogil:
            result = outbox_wait(self.native, length, most)
        return result

    def append_file(self, int fd, int64_t offset, int64_t length):
        return outbox_append_file(self.native, fd, offset, length)

    def finish(self, int end, bint keep_alive):
        """Finish with a stand-in for an exchange, which is never read. `abandon` returns whether it was taken."""
        return outbox_finish(self.native, end, keep_alive, <Exchange *> <void *> self)

    def next(self):
        """Return the OutboxNext and what it offers: bytes, or (descriptor, offset, length) of a file."""
        cdef iovec vectors[VECTORS_MAX]
        cdef Segment *segment
        cdef int filled
        cdef int turn = outbox_next(self.native, vectors, &filled, &segment)
        if turn == NEXT_MEMORY:
            pieces = [(<char *> vectors[i].iov_base)[:vectors[i].iov_len] for i in range(filled)]
            return turn, b"".join(pieces)
        if turn == NEXT_FILE:
            return turn, (segment.fd, segment.offset, segment.length)
        return turn, None

    def sent(self, int64_t length):
        outbox_sent(self.native, length)

    def abandon(self):
        return outbox_abandon(self.native) != NULL

    def release(self):
        outbox_release(self.native)

    @property
    def references(self):
        return load_uint(&self.native.references)

    @property
    def memory(self):
        return self.native.memory

    @property
    def spooled(self):
        return self.native.spooled

    @property
    def ending(self):
        return self.native.end, bool(self.native.keep_alive)
