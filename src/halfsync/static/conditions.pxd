# What a request asks for besides a file: only if it has changed, only a part, in which coding.
from libc.stdint cimport int64_t

cdef enum RangeKind:
    RANGE_WHOLE               # no range that is served: the whole is sent
    RANGE_PART
    RANGE_BEYOND              # none of the file's bytes: 416

# The weight of each coding, in thousandths; -1: it was not named.
ctypedef struct Codings:
    int brotli
    int gzip
    int identity
    int others                # named by "*"

# Returns False if it is no HTTP-date. second: since 1970.
cdef bint date_read(const char *at, size_t length, int64_t *second) noexcept nogil
# Returns the date of a second since 1970: DATE_BYTES, owned by the calling thread and valid until its next call.
cdef const char *date_text(int64_t second) noexcept nogil
cdef bint tags_match(const char *at, size_t length, const char *tag, size_t tag_length, bint weak) noexcept nogil
cdef int range_read(const char *at, size_t length, int64_t size, int64_t *first, int64_t *count) noexcept nogil
cdef void codings_reset(Codings *codings) noexcept nogil
cdef void codings_read(Codings *codings, const char *at, size_t length) noexcept nogil
cdef int coding_weight(const Codings *codings, int named) noexcept nogil
