"""A thin Python wrapper of the pollers, for their unit tests. Only in checks builds.

A Python object takes the part of the engine's callbacks: see `PyPollerUser` in the stub.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from posix.uio cimport iovec

from halfsync.engine.poller cimport (
    HANDLE_CONNECTION, HANDLE_LISTENER, HANDLE_WAKER, Handle, Poller, poller_send, poller_send_file,
)
from halfsync.engine.poller_epoll cimport epoll_poller
from halfsync.engine.poller_poll cimport poll_poller

LISTENER = <int> HANDLE_LISTENER
CONNECTION = <int> HANDLE_CONNECTION
WAKER = <int> HANDLE_WAKER
ROOM_BYTES = 64 * 1024


cdef class PyHandle:
    """One watched descriptor. The poller keeps it alive from add to remove."""
    cdef Handle native
    cdef char *buffer

    def __cinit__(self, int fd, uint8_t kind, uint32_t index, uint32_t generation=0):
        self.native.transport.fd = fd
        self.native.kind = kind
        self.native.index = index
        self.native.generation = generation
        self.buffer = <char *> malloc(ROOM_BYTES)

    def __dealloc__(self):
        free(self.buffer)

    @property
    def fd(self):
        return self.native.transport.fd

    @property
    def index(self):
        return self.native.index

    @property
    def generation(self):
        return self.native.generation


cdef class PyPoller:
    """A poller and its handles, by index. One thread uses it."""
    cdef Poller native
    cdef object user
    cdef dict handles
    cdef object error

    def __cinit__(self, str name, user):
        if name == "epoll":
            epoll_poller(&self.native)
        else:
            poll_poller(&self.native)
        self.user = user
        self.handles = {}
        self.native.user.engine = <void *> self
        self.native.user.awake = on_awake
        self.native.user.room = on_room
        self.native.user.received = on_received
        self.native.user.hangup = on_hangup
        self.native.user.sendable = on_sendable
        self.native.user.acceptable = on_acceptable
        self.native.user.accepted = on_accepted
        self.native.user.accept_failed = on_accept_failed
        self.native.user.find = on_find
        if self.native.open(&self.native) < 0:
            raise MemoryError

    def close(self):
        self.native.close(&self.native)

    def add(self, PyHandle handle):
        cdef int result = self.native.add(&self.native, &handle.native)
        if result == 0:
            self.handles[handle.native.index] = handle
        return result

    def remove(self, PyHandle handle):
        self.native.remove(&self.native, &handle.native)
        self.handles.pop(handle.native.index)

    def resume(self, PyHandle handle):
        self.native.resume(&self.native, &handle.native)

    def want_send(self, PyHandle handle):
        self.native.want_send(&self.native, &handle.native)

    def cycle(self, int timeout_ms):
        cdef int result
        with nogil:
            result = self.native.cycle(&self.native, timeout_ms)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return result

    def send(self, PyHandle handle, bytes data, bint more=False):
        cdef iovec vector
        vector.iov_base = <char *> data
        vector.iov_len = len(data)
        return poller_send(&self.native, &handle.native, &vector, 1, more)

    def send_file(self, PyHandle handle, int fd, int64_t offset, int64_t length):
        return poller_send_file(&self.native, &handle.native, fd, offset, length)


cdef PyHandle face(void *poller, Handle *handle):
    return (<PyPoller> poller).handles[handle.index]


cdef object ask(void *poller, str name, tuple arguments, object otherwise):
    """Call the user's method. An exception is kept until the end of the cycle."""
    cdef PyPoller self = <PyPoller> poller
    try:
        return getattr(self.user, name)(*arguments)
    except BaseException as error:  # noqa: BLE001 - cycle raises it
        self.error = error
        return otherwise


cdef void on_awake(void *poller) noexcept with gil:
    ask(poller, "awake", (), None)


cdef char *on_room(void *poller, Handle *handle, size_t *room) noexcept with gil:
    cdef PyHandle known
    known = face(poller, handle)
    room[0] = ask(poller, "room", (known,), 0)
    return known.buffer if room[0] > 0 else NULL


cdef int on_received(void *poller, Handle *handle, char *data, ssize_t length) noexcept with gil:
    return ask(poller, "received", (face(poller, handle), data[:length] if length >= 0 else length), 0)


cdef void on_hangup(void *poller, Handle *handle, bint broken) noexcept with gil:
    ask(poller, "hangup", (face(poller, handle), bool(broken)), None)


cdef void on_sendable(void *poller, Handle *handle) noexcept with gil:
    ask(poller, "sendable", (face(poller, handle),), None)


cdef bint on_acceptable(void *_poller, Handle *_listener) noexcept nogil:
    return True


cdef bint on_accepted(
    void *poller, Handle *listener, int fd, const void *_address, uint32_t _length
) noexcept with gil:
    return ask(poller, "accepted", (face(poller, listener), fd), False)


cdef void on_accept_failed(void *poller, Handle *listener, int error) noexcept with gil:
    ask(poller, "accept_failed", (face(poller, listener), error), None)


cdef Handle *on_find(void *poller, uint32_t index, uint32_t generation) noexcept with gil:
    cdef PyHandle handle
    handle = (<PyPoller> poller).handles.get(index)
    if handle is None or handle.native.generation != generation:
        return NULL
    return &handle.native
