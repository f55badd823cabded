# The checks build: assertions that abort with their source position, and a count of every native object that is alive.
# In a release build both compile to nothing.

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

# Count one native object more (change = 1) or fewer (-1).
cdef inline void count(int kind, int change) noexcept nogil:
    if CHECKS:
        count_change(kind, change)
