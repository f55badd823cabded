"""The compressed variants beside a file, and which of them a client prefers (RFC 9110 12.5.3)."""
from libc.stdint cimport uint32_t
from libc.string cimport memcpy
from posix.unistd cimport close

from halfsync.http.parser cimport Field
from halfsync.static.conditions cimport Codings, coding_weight, codings_read, codings_reset
from halfsync.static.file_request cimport ASKED_ACCEPT_ENCODING, CODING_BROTLI, CODING_GZIP, next_field
from halfsync.static.files cimport FILE_REGULAR, files_stat, files_open


cdef int open_kind(FileRequest *request, const FileLocation *location) noexcept nogil:
    """Open what a location names, and get its size. Returns a FileKind, with the file open, or -errno."""
    cdef int result
    request.fd = files_open(request.files, location)
    if request.fd < 0:
        return request.fd
    result = files_stat(request.fd, &request.stat)
    if result < 0:
        close(request.fd)
        request.fd = -1
    return result


cdef bint open_variant(FileRequest *request, FileLocation *location, int coding) noexcept nogil:
    """Open the compressed variant that is beside a file. Return False if there is none."""
    cdef int kind
    if coding == CODING_BROTLI:
        memcpy(location.path + location.length, <const char *> b".br", 4)
    else:
        memcpy(location.path + location.length, <const char *> b".gz", 4)
    kind = open_kind(request, location)
    location.path[location.length] = 0
    if kind == FILE_REGULAR:
        request.coding = coding
        return True
    if kind >= 0:
        close(request.fd)
    return False


cdef bint open_best(FileRequest *request, FileLocation *location) noexcept nogil:
    """Open the compressed variant that the client prefers. Return False if there is none that it accepts."""
    cdef Codings codings
    cdef uint32_t position = 0
    cdef const Field *field
    cdef int brotli, gzip
    if not request.type.compresses or not request.seen & ASKED_ACCEPT_ENCODING:
        return False
    codings_reset(&codings)
    while True:
        field = next_field(request, ASKED_ACCEPT_ENCODING, &position)
        if field == NULL:
            break
        codings_read(&codings, request.exchange.data + field.value, field.value_length)
    brotli = coding_weight(&codings, codings.brotli)
    gzip = coding_weight(&codings, codings.gzip)
    if brotli >= gzip:
        return (brotli > 0 and open_variant(request, location, CODING_BROTLI)) or (
            gzip > 0 and open_variant(request, location, CODING_GZIP))
    return open_variant(request, location, CODING_GZIP) or (
        brotli > 0 and open_variant(request, location, CODING_BROTLI))


cdef int variant_open(FileRequest *request, FileLocation *location) noexcept nogil:
    """Open a file in the form that the client prefers. See the .pxd."""
    if open_best(request, location):
        return FILE_REGULAR
    return open_kind(request, location)
