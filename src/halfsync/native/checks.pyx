"""What only checks builds know, for tests: which native objects are alive, and how requests have ended.

A difference in the counts after a server has closed is a leak.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from halfsync.native.shared cimport map_shared
from halfsync.native.sync cimport add_llong, atomic_llong, load_llong, store_llong

cdef enum:
    ENDINGS = 4096  # that are kept

# How a request ended.
ctypedef struct Ending:
    atomic_llong number       # from 1 on, once the rest is written; 0: nothing is here
    int status
    const char *outcome
    const char *reason
    int64_t times[ENDING_TIMES]

# In memory that all processes share which this one forks.
ctypedef struct Endings:
    atomic_llong count
    Ending kept[ENDINGS]

cdef atomic_llong alive[<int>COUNT_KINDS]
cdef Endings *endings_kept = NULL
if CHECKS:
    endings_kept = <Endings *> map_shared(sizeof(Endings))

NAMES = ("connection", "exchange", "outbox", "segment", "buffer", "spool file", "engine", "queue")


cdef void count_change(int kind, int change) noexcept nogil:
    add_llong(&alive[kind], change)


cdef void keep_ending(int status, const char *outcome, const char *reason, const int64_t *times) noexcept nogil:
    cdef long long number
    cdef Ending *ending
    if endings_kept == NULL:
        return
    number = 1 + add_llong(&endings_kept.count, 1)
    ending = &endings_kept.kept[number % ENDINGS]
    ending.status = status
    ending.outcome = outcome
    ending.reason = reason
    memset(ending.times, 0, sizeof(ending.times))
    if times != NULL:
        memcpy(ending.times, times, sizeof(ending.times))
    store_llong(&ending.number, number)


def enabled():
    """Return whether this is a checks build, in which objects are counted and invariants asserted."""
    return bool(CHECKS)


def counts():
    """Return how many native objects of each kind are alive in this process; all 0 in a release build."""
    return {name: load_llong(&alive[kind]) for kind, name in enumerate(NAMES)}


def endings(long long since):
    """Return how requests have ended after the first `since`, in this process and in those that it has forked.

    As (status, outcome, reason, times). An ending that is still being written, or was overwritten, is None.
    """
    cdef long long number
    cdef Ending *ending
    found = []
    for number in range(since + 1, load_llong(&endings_kept.count) + 1):
        ending = &endings_kept.kept[number % ENDINGS]
        if load_llong(&ending.number) != number:
            found.append(None)
            continue
        found.append((
            ending.status, ending.outcome.decode(), ending.reason.decode() if ending.reason != NULL else "",
            [ending.times[position] for position in range(ENDING_TIMES)]))
    return found


def endings_count():
    """Return how many requests have ended so far, as for `endings`."""
    return load_llong(&endings_kept.count)
