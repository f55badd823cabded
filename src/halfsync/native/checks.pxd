# The checks build: assertions that abort with their source position, a count of every native object that is alive, and
# a record of the ends of requests. In a release build all compile to nothing.
from libc.stdint cimport int64_t

cdef enum:
    ENDING_TIMES = 8          # points on the monotonic clock of one ending

cdef enum Counted:
    COUNT_CONNECTION
    COUNT_EXCHANGE
    COUNT_OUTBOX
    COUNT_SEGMENT
    COUNT_BUFFER
    COUNT_SPOOL_FILE
    COUNT_ENGINE
    COUNT_QUEUE
    COUNT_KINDS

cdef extern from *:
    """
    #include <stdio.h>
    #include <stdlib.h>
    #ifdef HALFSYNC_CHECKS
    #define HS_CHECKS 1
    #define hs_check(condition, what) do { if (!(condition)) { \\
        fprintf(stderr, "halfsync: broken invariant: %s (%s:%d)\\n", (what), __FILE__, __LINE__); abort(); } } while (0)
    #else
    #define HS_CHECKS 0
    #define hs_check(condition, what) ((void)sizeof(condition))
    #endif
    """
    const int CHECKS "HS_CHECKS"
    void check "hs_check" (bint condition, const char *what) noexcept nogil

cdef void count_change(int kind, int change) noexcept nogil
cdef void keep_ending(int status, const char *outcome, const char *reason, const int64_t *times) noexcept nogil

# Count one native object more (change = 1) or fewer (-1).
cdef inline void count(int kind, int change) noexcept nogil:
    if CHECKS:
        count_change(kind, change)


# Keep the end of a request for tests. outcome, reason: constant texts, or NULL. times: ENDING_TIMES ns, or NULL.
cdef inline void note_ending(int status, const char *outcome, const char *reason, const int64_t *times) noexcept nogil:
    if CHECKS:
        keep_ending(status, outcome, reason, times)
