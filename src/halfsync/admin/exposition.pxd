# Writing the text format in which Prometheus reads metrics, version 0.0.4. Pure functions over a buffer, for any
# thread. A line for which there is no room is left out, with all that follow it.
from libc.stdint cimport int64_t

from halfsync.native.counting cimport Histogram

cdef enum:
    LINE_BYTES = 512          # more than any line has
    LABELS_MOST = 3

ctypedef struct Exposition:
    char *at
    char *end

# A sample: the name of its family with a suffix, and labels. The values are constant texts that need no escapes.
ctypedef struct Sample:
    const char *name
    const char *suffix        # NULL: none
    const char *keys[LABELS_MOST]  # NULL: no further label
    const char *values[LABELS_MOST]

# Begin a family: its lines of help and type. kind: as Prometheus names it.
cdef void write_family(Exposition *text, const char *name, const char *kind, const char *about) noexcept nogil

# Begin a sample without labels, and add one.
cdef Sample sample_of(const char *name) noexcept nogil
cdef void add_label(Sample *sample, const char *key, const char *value) noexcept nogil

# Write a sample: a number, or ns as seconds.
cdef void write_count(Exposition *text, const Sample *sample, int64_t count) noexcept nogil
cdef void write_seconds(Exposition *text, const Sample *sample, int64_t ns) noexcept nogil

# Write the samples of a histogram. bounds: `buckets` of them; in_ns: they are times.
cdef void write_histogram(
    Exposition *text, const char *name, const Histogram *histogram, const long long *bounds, int buckets,
    bint in_ns) noexcept nogil
