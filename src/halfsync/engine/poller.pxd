# What the engine asks of a poller, and what a poller reports to the engine.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from posix.uio cimport iovec

from halfsync.transport.transport cimport Transport

cdef enum HandleKind:
    HANDLE_LISTENER
    HANDLE_CONNECTION
    HANDLE_WAKER
    HANDLE_ADOPTION           # where connections wait that other processes have handed off

cdef enum:
    # Bytes received in one cycle of the loop before the rest waits for the next. The workers should find what was
    # received for them in the processor's cache, and the upload of one client must not hold up the others for long.
    CYCLE_BYTES = 256 * 1024

cdef enum:
    POLLER_LATER = -1000      # of send: nothing could be sent now; `sendable` will be called
    RECEIVE_GONE = -1         # of received: the handle was removed during the call
    RECEIVE_HOLD = 0          # of received: the engine wants nothing more of this handle until it calls resume
    RECEIVE_MORE = 1

# A file descriptor that a poller watches. The engine embeds it in the record that the descriptor belongs to.
ctypedef struct Handle:
    Transport transport       # of a connection; else only its descriptor is used
    uint32_t index            # the engine's index of it
    uint32_t generation       # of the record at that index: an event with another one is stale
    uint32_t slot             # the poller's own
    uint8_t kind              # HandleKind
    uint8_t readable          # there may be bytes (or an end) that were not received yet
    uint8_t watch_send        # the poller reports when the socket can take more
    uint8_t in_ready          # it is in the poller's ready list
    Handle *ready_next
    Handle *ready_previous

# The engine, as a poller sees it. All functions are called on the engine's thread.
ctypedef struct PollerUser:
    void *engine
    # The wait is over: everything reported from here on has already happened.
    void (*awake)(void *engine) noexcept nogil
    # Returns where to receive to. NULL: not now; report nothing more until resume.
    char *(*room)(void *engine, Handle *handle, size_t *room) noexcept nogil
    # length > 0: bytes at data; 0: the peer's end; -EAGAIN: there was nothing; -errno. Returns RECEIVE_*.
    int (*received)(void *engine, Handle *handle, char *data, ssize_t length) noexcept nogil
    # The peer will send no more (broken False), or the connection is dead (True).
    void (*hangup)(void *engine, Handle *handle, bint broken) noexcept nogil
    void (*sendable)(void *engine, Handle *handle) noexcept nogil
    # A connection waits in the backlog, unless another process takes it. Returns False if it must stay there.
    bint (*acceptable)(void *engine, Handle *listener) noexcept nogil
    # Returns False if the engine wants no more connections in this cycle.
    bint (*accepted)(void *engine, Handle *listener, int fd, const void *address, uint32_t length) noexcept nogil
    # accept failed for want of descriptors or memory.
    void (*accept_failed)(void *engine, Handle *listener, int error) noexcept nogil
    # There may be a connection to adopt.
    void (*adoptable)(void *engine) noexcept nogil
    # Returns the handle that an event is for, or NULL if the event is stale.
    Handle *(*find)(void *engine, uint32_t index, uint32_t generation) noexcept nogil

# A poller: its functions and their state. One engine owns it, and only that engine's thread calls it.
ctypedef struct Poller:
    PollerUser user
    const char *name
    int fd                    # of the kernel's poller, if there is one
    Handle *ready             # first of the handles with something left to receive, for the next cycle
    Handle *ready_last
    uint32_t ready_length
    int64_t received          # bytes in this cycle
    void *own                 # the implementation's own state
    int (*open)(Poller *poller) noexcept nogil
    void (*close)(Poller *poller) noexcept nogil
    int (*add)(Poller *poller, Handle *handle) noexcept nogil
    void (*remove)(Poller *poller, Handle *handle) noexcept nogil
    # Remove a connection whose socket stays open elsewhere once its descriptor here is closed.
    void (*detach)(Poller *poller, Handle *handle) noexcept nogil
    void (*resume)(Poller *poller, Handle *handle) noexcept nogil
    # Report when the socket can take more, or report again if it can be read from now.
    void (*want_send)(Poller *poller, Handle *handle) noexcept nogil
    void (*want_receive)(Poller *poller, Handle *handle) noexcept nogil
    int (*cycle)(Poller *poller, int timeout_ms) noexcept nogil


cdef inline void poller_init(Poller *poller, const char *name) noexcept nogil:
    """Set up a poller without a handle. Its functions are still to be set."""
    poller.name = name
    poller.fd = -1
    poller.ready = poller.ready_last = NULL
    poller.ready_length = 0
    poller.own = NULL


cdef inline void handle_init(Handle *handle) noexcept nogil:
    """Forget what happened on a handle that a poller begins to watch."""
    handle.readable = handle.watch_send = handle.in_ready = False
    handle.transport.ended = handle.transport.receive_wants_write = handle.transport.send_wants_read = False


# What every poller over readiness shares: the system calls that complete what the kernel reports as ready.
cdef void ready_add(Poller *poller, Handle *handle) noexcept nogil
cdef void ready_remove(Poller *poller, Handle *handle) noexcept nogil
cdef Handle *ready_take(Poller *poller) noexcept nogil
cdef int complete_receive(Poller *poller, Handle *handle) noexcept nogil
cdef void complete_accept(Poller *poller, Handle *handle) noexcept nogil
cdef void poller_note_want(Poller *poller, Handle *handle, int want) noexcept nogil
cdef int64_t poller_send(Poller *poller, Handle *handle, iovec *vectors, int count, bint more) noexcept nogil
cdef int64_t poller_send_file(Poller *poller, Handle *handle, int fd, int64_t offset, int64_t length) noexcept nogil
