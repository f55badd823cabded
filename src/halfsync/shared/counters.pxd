# What a server counts, under every model, and the names by which `statistics()` reports it. An engine's thread alone
# writes to its own record, with plain additions. In the other models any thread, or any child, adds to one record in
# shared memory.
#
# If metrics are on, the record is in the slot of the process (metrics.pxd), and goes on from what the processes before
# it have counted there. `statistics()` subtracts that.

from halfsync.native.counting cimport counted

ctypedef struct Counters:
    # True at one moment. The proactor counts them elsewhere: see Proactor.statistics.
    long long open            # connections now
    long long running         # requests that are being answered by the application now
    # So far.
    long long accepted        # connections
    long long adopted         # connections handed off by other processes
    long long handed_off      # connections handed off to other processes
    long long requests        # complete requests
    long long files           # requests that were answered with a static file
    long long finished        # requests whose turn has ended, whatever the outcome
    long long refused         # malformed, too large, too late, or by a peer that may not connect
    long long shed            # answered 503: there was no room, or their client had reached its limit
    long long limited         # those of them over max_connections_per_client
    long long timed_out       # turns of the application that passed their deadline
    long long disconnected    # clients that disconnected before their response was complete
    long long dropped         # queued requests that were not run, since their client had disconnected
    long long made_room       # connections closed to make room for a new one
    long long evicted         # connections cut to free the disk, or a worker, for others (engine/spool_eviction.pyx)
    long long close_notices   # closed connections put into the queue, so that a worker tells the bridge
    long long turns           # of the loop that accepts


cdef inline void counters_begin(Counters *before, const Counters *counters) noexcept nogil:
    """Note what was counted before a server begins."""
    before[0] = counters[0]
    before.open = before.running = 0


cdef inline void counters_since(Counters *since, const Counters *counters, const Counters *before) noexcept nogil:
    """Return what was counted since a server has begun."""
    cdef const long long *counts = <const long long *> counters
    cdef size_t position
    for position in range(sizeof(Counters) // sizeof(long long)):
        (<long long *> since)[position] = counted(&counts[position]) - (<const long long *> before)[position]


cdef inline dict statistics_of(const Counters *counters, long long queued, long long spooled, long long stuck):
    """Return the counts by their public names.

    queued: requests, or connections, that wait for a thread. spooled: bytes in temporary files. stuck: threads that
    passed the deadline of their turn.
    """
    return {
        "open": counted(&counters.open), "accepted": counted(&counters.accepted),
        "adopted": counted(&counters.adopted), "handed_off": counted(&counters.handed_off),
        "requests": counted(&counters.requests), "files": counted(&counters.files),
        "running": counted(&counters.running), "finished": counted(&counters.finished),
        "refused": counted(&counters.refused), "shed": counted(&counters.shed), "limited": counted(&counters.limited),
        "timed_out": counted(&counters.timed_out), "disconnected": counted(&counters.disconnected),
        "dropped": counted(&counters.dropped), "made_room": counted(&counters.made_room),
        "evicted": counted(&counters.evicted), "close_notices": counted(&counters.close_notices),
        "turns": counted(&counters.turns), "queued": queued, "spooled": spooled, "stuck": stuck,
    }
