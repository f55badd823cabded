from halfsync.static.file_request cimport FileRequest
from halfsync.static.files cimport FileLocation

# Open the file that a location names, in the coding that the client prefers, and get its size. Returns a FileKind, with
# the file open, or -errno.
cdef int variant_open(FileRequest *request, FileLocation *location) noexcept nogil
