# Times in ns, kept as they were measured, in an array of bounded size; and the random numbers of the load generator.
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # The room of a recorder: three take 24 MiB, and above the 99.9th percentile there are a thousand values. Of more
    # values a random sample of this size is kept: each value of the load is in it with the same probability
    # (Vitter, "Random Sampling with a Reservoir", 1985, algorithm R).
    RECORDER_VALUES = 1 << 20

# The numbers of one seed. Only its low bits need to be random: they order requests, and keep no secret.
ctypedef struct Dice:
    uint64_t state

ctypedef struct Recorder:
    int64_t *values
    int64_t room                  # for so many values
    int64_t count                 # of all that came
    int64_t highest
    double sum
    Dice dice


cdef inline uint64_t roll(Dice *dice) noexcept nogil:
    """Return the next number: a Weyl sequence whose terms are mixed (Steele, Lea, Flood, "Splittable PRNGs", 2014)."""
    cdef uint64_t word
    dice.state += <uint64_t> 0x9E3779B97F4A7C15
    word = (dice.state ^ (dice.state >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    word = (word ^ (word >> 27)) * <uint64_t> 0x94D049BB133111EB
    return word ^ (word >> 31)


cdef inline double roll_share(Dice *dice) noexcept nogil:
    """Return a number from 0 to below 1."""
    return <double> (roll(dice) >> 11) * (1.0 / <double> (<uint64_t> 1 << 53))


cdef inline void record(Recorder *recorder, int64_t ns) noexcept nogil:
    """Take a value."""
    cdef int64_t at = recorder.count
    recorder.count += 1
    recorder.sum += ns
    if ns > recorder.highest:
        recorder.highest = ns
    if at >= recorder.room:
        at = <int64_t> (roll_share(&recorder.dice) * recorder.count)
        if at >= recorder.room:
            return
    recorder.values[at] = ns


cdef inline int64_t kept(const Recorder *recorder) noexcept nogil:
    """Return how many values are in the array."""
    return min(recorder.count, recorder.room)
