"""Counts of the native objects that are alive, for tests: a difference after a server has closed is a leak."""
from halfsync.native.sync cimport add_llong, atomic_llong, load_llong

cdef atomic_llong alive[<int>COUNT_KINDS]

NAMES = ("connection", "exchange", "outbox", "segment", "buffer", "spool file", "engine", "queue")


cdef void count_change(int kind, int change) noexcept nogil:
    add_llong(&alive[kind], change)


def enabled():
    """Return whether this is a checks build, in which objects are counted and invariants asserted."""
    return bool(CHECKS)


def counts():
    """Return how many native objects of each kind are alive in this process; all 0 in a release build."""
    return {name: load_llong(&alive[kind]) for kind, name in enumerate(NAMES)}
