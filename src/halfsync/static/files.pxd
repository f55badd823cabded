# Find and open the file that a request's path names.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from halfsync.exchange.native_handler cimport NativeHandler
from halfsync.http.response_head cimport ServerFields

cdef enum:
    PATH_BYTES = 4096         # of a decoded path: the system's limit (PATH_MAX)
    PATH_SLACK = 32           # after it, for the name of an index and a suffix
    EXTENSION_BYTES = 16      # of a file name's extension, without its dot

# A directory, and the path under which it is served.
ctypedef struct Mount:
    const char *prefix        # begins with a slash and ends without one; empty for the root
    uint32_t prefix_length
    int fd                    # of the directory

# A content type, by extension.
ctypedef struct TypeSlot:
    char extension[EXTENSION_BYTES]  # in lower case, padded with zeros; empty: the slot is free
    const char *line          # the whole field line, with its CRLF; a Content-Encoding may follow
    uint16_t line_length
    uint8_t compresses        # its files may have compressed variants

ctypedef struct Files:
    NativeHandler native_handler  # first: the models see only this
    Mount *mounts             # the longest prefix first
    int mounts_count
    TypeSlot *types           # a hash table
    uint32_t types_mask       # its slots less one: a power of two less one
    TypeSlot unknown          # for every extension not in the table
    bint symlinks             # symbolic links are followed
    bint walks                # paths are walked segment by segment: the kernel has no openat2
    ServerFields fields
    int64_t max_age_s         # 0: no Cache-Control is sent

# Where a path leads.
ctypedef struct FileLocation:
    const Mount *mount
    int status                # 0: to a file; 301: a directory without its slash; else the request is refused with it
    bint index                # the path named a directory: its index was added
    char *path                # below the directory, terminated, with PATH_SLACK after it
    uint32_t length
    char text[PATH_BYTES + PATH_SLACK]

cdef enum FileKind:
    FILE_REGULAR
    FILE_DIRECTORY
    FILE_OTHER

ctypedef struct FileStat:
    int64_t size
    int64_t modified_s
    int64_t modified_ns       # within that second

# Returns False if the path is under no prefix.
cdef bint files_find(const Files *files, const char *raw, uint32_t length, FileLocation *location) noexcept nogil
# Returns a descriptor, which never blocks on a FIFO, or -errno.
cdef int files_open(const Files *files, const FileLocation *location) noexcept nogil
# Returns a FileKind, or -errno.
cdef int files_stat(int fd, FileStat *stat) noexcept nogil
cdef const TypeSlot *files_type(const Files *files, const FileLocation *location) noexcept nogil
cdef uint32_t type_hash(const char *extension) noexcept nogil
