# One line of the access log.
from halfsync.observe.access_format cimport LINE_BYTES, Format
from halfsync.observe.access_value cimport Entry

# A line being built. Its format bounds the length of each value so that it has room for all.
ctypedef struct Line:
    size_t length
    char text[LINE_BYTES]

cdef void line_format(Line *line, const Entry *entry, const Format *format) noexcept nogil
