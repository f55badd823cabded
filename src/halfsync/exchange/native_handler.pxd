# Who answers a request without the application: what a model knows of it. A model cimports this file and no module, so
# that nothing is loaded where no files are served.
from libc.stdint cimport int64_t

from halfsync.exchange.exchange cimport Exchange

cdef enum:
    # that whoever asks has room for: of a head, and of the whole content where it is small
    NATIVE_RESPONSE_BYTES = 64 * 1024

# An answer that waits to be sent: first what the buffer holds, then a range of a file.
ctypedef struct NativeResponse:
    int64_t ready             # bytes in the buffer
    int fd                    # of the file; the asker's to close, or to give away; -1: nothing comes from a file
    int64_t offset
    int64_t length            # bytes to send from it; 0 where there is none

# It is the first thing in its record. Shared by all threads; read only.
ctypedef struct NativeHandler:
    # Answer a complete request. False: it is the application's. Sets the status and the bytes of the body in the
    # exchange. stays: the connection may serve another request. May wait for the disk, and for nothing else.
    bint (*answer)(const NativeHandler *self, Exchange *exchange, bint stays, char *buffer,
                   NativeResponse *answer) noexcept nogil
