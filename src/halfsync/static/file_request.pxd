# A request for a file, and the file that was found.
from libc.stdint cimport int64_t, uint32_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.native_handler cimport NativeResponse
from halfsync.http.parser cimport Field
from halfsync.static.files cimport FileStat, Files, TypeSlot

cdef enum:
    TAG_BYTES = 64

# The fields that matter, each with its bit in `seen`.
cdef enum Asked:
    ASKED_RANGE = 1
    ASKED_IF_MATCH = 2
    ASKED_IF_RANGE = 4
    ASKED_IF_NONE_MATCH = 8
    ASKED_ACCEPT_ENCODING = 16
    ASKED_IF_MODIFIED_SINCE = 32
    ASKED_IF_UNMODIFIED_SINCE = 64

cdef enum Coding:
    CODING_NONE
    CODING_BROTLI
    CODING_GZIP

ctypedef struct FileRequest:
    const Files *files
    Exchange *exchange
    NativeResponse *answer
    char *begin               # the buffer, with room for a whole head: each part but a Location is bounded
    char *at                  # the end of what is written
    bint stays
    bint is_head              # the method is HEAD
    int seen                  # ASKED_ bits
    int fd
    int coding                # Coding
    const TypeSlot *type
    FileStat stat
    char tag[TAG_BYTES]
    size_t tag_length

# Find the fields in its head.
cdef void read_asked(FileRequest *request) noexcept nogil
cdef const Field *next_field(const FileRequest *request, int asked, uint32_t *position) noexcept nogil
# Decide what follows from its conditions.
cdef int precondition(const FileRequest *request) noexcept nogil
cdef int wanted_range(const FileRequest *request, int64_t *first, int64_t *length) noexcept nogil
