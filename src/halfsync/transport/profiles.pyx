"""Which kind of transport the connections of each listener have."""
from libc.stdlib cimport calloc, free

from halfsync.native.checks cimport check


cdef class Profile:
    """A kind of transport with its settings. What uses `native` must keep the object alive."""


cdef class Profiles:
    """The profiles of a server's listeners, in their order. None in place of one: plain sockets.

    Immutable, so any thread may read it. Code that has a pointer into it must keep it alive.
    """

    def __init__(self, profiles):
        """Raises MemoryError."""
        cdef TransportProfile *native
        cdef int position
        check(self.native == NULL, "profiles are made twice")
        self.kept = tuple(profiles)
        native = <TransportProfile *> calloc(len(self.kept) + 1, sizeof(TransportProfile))
        if native == NULL:
            raise MemoryError
        self.native = native
        self.count = <int> len(self.kept)
        for position, profile in enumerate(self.kept):
            if profile is not None:
                native[position] = (<Profile?> profile).native

    def __dealloc__(self):
        free(<void *> self.native)

    cdef const TransportProfile *at(self, int index) noexcept:
        """Return the profile of the listener with this index."""
        check(0 <= index < self.count, "a listener has no profile")
        return &self.native[index]
