# How fast a client moves bytes, judged over one window of time after the other: what it moved early buys it no idleness
# later, and one quiet moment does not condemn it.
from libc.stdint cimport int64_t

cdef enum:
    # of silence, or of a head that is not whole: then a client may be closed for a newcomer
    EVICTABLE_AFTER_NS = 1000000000

ctypedef struct Pace:
    int64_t since             # ns: when the window began; 0: none has
    int64_t moved             # bytes since then

cdef inline void pace_begin(Pace *pace, int64_t now) noexcept nogil:
    """Begin a window."""
    pace.since = now
    pace.moved = 0

cdef inline bint pace_fails(Pace *pace, int64_t now, int64_t window, int64_t least) noexcept nogil:
    """Tell whether a window has ended in which less than `least` bytes moved. The next begins with its end."""
    if now - pace.since < window:
        return False
    if pace.moved < least:
        return True
    pace_begin(pace, now)
    return False
