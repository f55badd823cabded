# How fast a client moves bytes, judged over one window of time after another: early speed does not pay for later
# idleness, and one quiet moment does not condemn a client.
from libc.stdint cimport int64_t

cdef enum:
    # of silence, or of an incomplete head: after that a client may be closed for a new connection
    EVICTABLE_AFTER_NS = 1000000000

ctypedef struct Pace:
    int64_t since             # ns: when the window began; 0: none has begun
    int64_t moved             # bytes since then

cdef inline void pace_begin(Pace *pace, int64_t now) noexcept nogil:
    """Begin a window."""
    pace.since = now
    pace.moved = 0

cdef inline bint pace_fails(Pace *pace, int64_t now, int64_t window, int64_t least) noexcept nogil:
    """Return whether a window has ended in which fewer than `least` bytes moved. If enough moved, begin the next."""
    if now - pace.since < window:
        return False
    if pace.moved < least:
        return True
    pace_begin(pace, now)
    return False
