# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""The text format of Prometheus. Seconds are written exactly, from nanoseconds, and without the system's locale."""
from libc.string cimport memset

from halfsync.http.grammar cimport write_decimal
from halfsync.http.response_head cimport write_text

cdef enum:
    NUMBER_BYTES = 32  # of a bound, terminated

cdef int64_t SECOND = 1000000000


cdef inline bint has_room(const Exposition *text) noexcept nogil:
    return text.end - text.at >= LINE_BYTES


cdef char *write_signed(char *at, int64_t number) noexcept nogil:
    if number < 0:
        return write_decimal(write_text(at, b"-"), <unsigned long long> -number)
    return write_decimal(at, <unsigned long long> number)


cdef char *write_ns(char *at, int64_t ns) noexcept nogil:
    """Write ns as seconds, with as many digits as they have."""
    cdef int64_t fraction = ns % SECOND
    cdef int64_t unit = SECOND // 10
    at = write_signed(at, ns // SECOND)
    if fraction == 0:
        return at
    at = write_text(at, b".")
    while fraction > 0:
        at[0] = <char> (c'0' + fraction // unit)
        at += 1
        fraction %= unit
        unit //= 10
    return at


cdef void write_family(Exposition *text, const char *name, const char *kind, const char *about) noexcept nogil:
    """Begin a family. See the .pxd."""
    if has_room(text):
        text.at = write_text(write_text(text.at, b"# HELP "), name)
        text.at = write_text(write_text(text.at, b" "), about)
        text.at = write_text(write_text(text.at, b"\n# TYPE "), name)
        text.at = write_text(write_text(write_text(text.at, b" "), kind), b"\n")


cdef Sample sample_of(const char *name) noexcept nogil:
    """Begin a sample without labels."""
    cdef Sample sample
    memset(&sample, 0, sizeof(sample))
    sample.name = name
    return sample


cdef void add_label(Sample *sample, const char *key, const char *value) noexcept nogil:
    """Add a label to a sample that has fewer than LABELS_MOST."""
    cdef int position = 0
    while sample.keys[position] != NULL:
        position += 1
    sample.keys[position] = key
    sample.values[position] = value


cdef char *write_name(char *at, const Sample *sample) noexcept nogil:
    """Write what comes before a value."""
    cdef int position
    at = write_text(at, sample.name)
    if sample.suffix != NULL:
        at = write_text(at, sample.suffix)
    if sample.keys[0] == NULL:
        return write_text(at, b" ")
    for position in range(LABELS_MOST):
        if sample.keys[position] != NULL:
            at = write_text(at, b"," if position > 0 else b"{")
            at = write_text(write_text(at, sample.keys[position]), b"=\"")
            at = write_text(write_text(at, sample.values[position]), b"\"")
    return write_text(at, b"} ")


cdef void write_count(Exposition *text, const Sample *sample, int64_t count) noexcept nogil:
    """Write a sample that is a number."""
    if has_room(text):
        text.at = write_text(write_signed(write_name(text.at, sample), count), b"\n")


cdef void write_seconds(Exposition *text, const Sample *sample, int64_t ns) noexcept nogil:
    """Write a sample that is a time."""
    if has_room(text):
        text.at = write_text(write_ns(write_name(text.at, sample), ns), b"\n")


cdef void write_histogram(
    Exposition *text, const char *name, const Histogram *histogram, const long long *bounds, int buckets, bint in_ns
) noexcept nogil:
    """Write the samples of a histogram. See the .pxd.

    The count is made from the buckets, so that it agrees with them although others add at the same time.
    """
    cdef char[NUMBER_BYTES] bound
    cdef Sample sample = sample_of(name)
    cdef int64_t so_far = 0
    cdef int position
    cdef char *end
    sample.suffix = b"_bucket"
    add_label(&sample, b"le", bound)
    for position in range(buckets):
        so_far += histogram.counts[position]
        end = write_ns(bound, bounds[position]) if in_ns else write_signed(bound, bounds[position])
        end[0] = 0
        write_count(text, &sample, so_far)
    so_far += histogram.counts[buckets]
    sample.values[0] = b"+Inf"
    write_count(text, &sample, so_far)
    sample.keys[0] = NULL
    sample.suffix = b"_sum"
    if in_ns:
        write_seconds(text, &sample, histogram.sum)
    else:
        write_count(text, &sample, histogram.sum)
    sample.suffix = b"_count"
    write_count(text, &sample, so_far)
