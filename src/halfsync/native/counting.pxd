# Counts in memory that threads and processes share, and histograms over them. A count has either one writer, which adds
# with a plain addition, or any number, all of which add atomically. Any reader reads it without a lock, and may see a
# value that is slightly old.
from libc.stdint cimport int64_t

cdef enum:
    TIME_BUCKETS = 18         # of a histogram of times, that have an upper bound; one more has the rest
    SIZE_BUCKETS = 14         # of one of sizes
    BUCKETS_MOST = TIME_BUCKETS

cdef extern from * nogil:
    """
    #include <stdint.h>
    #define hs_count_shared(counter, change) __atomic_fetch_add(counter, (long long)(change), __ATOMIC_SEQ_CST)
    #define hs_counted(counter) __atomic_load_n(counter, __ATOMIC_RELAXED)
    #define hs_set_count(counter, value) __atomic_store_n(counter, (long long)(value), __ATOMIC_RELAXED)

    /* Times, in ns: decimal, as the objectives are to which people compare them. From a hello by a warm thread to what
       proxies wait for an answer by default. Two bounds are within 3 times of each other, and a quantile that is
       interpolated between them is wrong by less than that. */
    static inline const long long *hs_time_bounds(void) {
        static const long long bounds[] = {
            100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 25000000, 50000000, 100000000, 250000000,
            500000000, 1000000000, 2500000000, 5000000000, 10000000000, 30000000000, 60000000000, INT64_MAX};
        return bounds;
    }
    /* Sizes, in bytes: powers of 4, since bodies spread over nine powers of ten; and those that are empty. Among them
       are a request that fits one segment, a body that stays in memory, and the default of max_body. */
    static inline const long long *hs_size_bounds(void) {
        static const long long bounds[] = {
            0, 1 << 6, 1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26,
            1 << 28, 1 << 30, INT64_MAX};
        return bounds;
    }
    """
    long long count_shared "hs_count_shared" (long long *counter, long long change)  # returns the value before
    long long counted "hs_counted" (const long long *counter)
    void set_count "hs_set_count" (long long *counter, long long value)  # by its only writer
    const long long *time_bounds "hs_time_bounds" ()  # TIME_BUCKETS, and one above all values
    const long long *size_bounds "hs_size_bounds" ()

# How many values are at most as large as each bound and above the one before, and how many are above all.
ctypedef struct Histogram:
    long long sum
    long long counts[BUCKETS_MOST + 1]


cdef inline int bucket_of(const long long *bounds, int64_t value) noexcept nogil:
    """Return the bucket of a value. Most values are in one of the first, so it looks at one after another."""
    cdef int bucket = 0
    while value > bounds[bucket]:
        bucket += 1
    return bucket


cdef inline void histogram_add_shared(Histogram *histogram, const long long *bounds, int64_t value) noexcept nogil:
    """Add a value. For any thread of any process."""
    count_shared(&histogram.counts[bucket_of(bounds, value)], 1)
    count_shared(&histogram.sum, value)


cdef inline void histogram_add(Histogram *histogram, const long long *bounds, int64_t value) noexcept nogil:
    """Add a value. For the only writer of the histogram."""
    histogram.counts[bucket_of(bounds, value)] += 1
    histogram.sum += value
