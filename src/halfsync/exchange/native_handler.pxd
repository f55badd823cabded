# A handler that answers requests without the application, as a model knows it. A model cimports this file and no
# module, so that nothing is loaded if no files are served.
from libc.stdint cimport int64_t

from halfsync.exchange.exchange cimport Exchange

cdef enum:
    # of the caller's buffer: room for a head, and for the whole content if it is small
    NATIVE_RESPONSE_BYTES = 64 * 1024

# An answer to send: first the contents of the buffer, then a range of a file.
ctypedef struct NativeResponse:
    int64_t ready             # bytes in the buffer
    int fd                    # of the file; the caller must close it or give it away; -1: there is no file
    int64_t offset
    int64_t length            # bytes to send from the file; 0: there is no file
    bint goes_on              # it does not end with this: `feed` has more. There is no file, and the connection ends

# The first member of the handler's record. Shared by all threads; read only.
ctypedef struct NativeHandler:
    # Answer a complete request. Returns False if it is for the application. Sets the status and the bytes of the body
    # in the exchange. stays: the connection may serve another request. May wait for the disk, and for nothing else.
    bint (*answer)(const NativeHandler *self, Exchange *exchange, bint stays, char *buffer,
                   NativeResponse *answer) noexcept nogil
    # Write more of all responses that go on, at most `room` bytes. Returns the length, above 0. For an engine's thread;
    # NULL: none goes on.
    int64_t (*feed)(const NativeHandler *self, char *buffer, int64_t room) noexcept nogil
