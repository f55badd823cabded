"""The native load generator as Python has it: a load goes in, what became of it comes out. `load_loop` is the loop."""
from libc.errno cimport EINTR
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort
from posix.unistd cimport close

from cpython.exc cimport PyErr_CheckSignals

from halfsync.lab.load_clients cimport client_close
from halfsync.lab.load_loop cimport load_begin, load_drive
from halfsync.lab.load_records cimport (
    CLIENT_IDLE, CLIENT_SLOW, FAILED_CLOSED, FAILED_MALFORMED, FAILED_NO_ANSWER, FAILED_NOT_OPENED, FAILED_STATUS,
    FAILURES, INADDR_LOOPBACK, LoadClient, LoadRun, PHASE_OPENING, RECEIVE_BYTES, client_enter, htonl, htons, load_now,
)
from halfsync.lab.recorder cimport RECORDER_VALUES, Recorder, kept
from halfsync.lab.response_reader cimport response_free

cdef extern from "<sys/socket.h>" nogil:
    const int AF_INET

cdef double NS_PER_S = 1e9


cdef int64_t ns_of(seconds) except? -1:
    return 0 if seconds is None else <int64_t> (seconds * NS_PER_S)


cdef int open_recorder(Recorder *recorder, int64_t room, uint64_t seed) except -1:
    recorder.values = <int64_t *> malloc(room * sizeof(int64_t))
    if recorder.values == NULL:
        raise MemoryError
    recorder.room = room
    recorder.dice.state = seed
    return 0


cdef int compare(const void *one, const void *other) noexcept nogil:
    cdef int64_t first = (<int64_t *> one)[0]
    cdef int64_t second = (<int64_t *> other)[0]
    return (first > second) - (first < second)


cdef int64_t rounded(int64_t value) noexcept nogil:
    """Return a value without the bits that three significant digits do not need."""
    cdef int shift = 0
    while (value >> shift) >= 4096:
        shift += 1
    return (value >> shift) << shift


cdef list counts_of(Recorder *recorder):
    """Return pairs of a value, in ns, and how many were like it to three significant digits, from the lowest."""
    cdef int64_t number = kept(recorder)
    cdef int64_t at, value
    cdef list pairs = []
    cdef list pair = None
    qsort(recorder.values, number, sizeof(int64_t), compare)
    for at in range(number):
        value = rounded(recorder.values[at])
        if pair is None or pair[0] != value:
            pair = [value, 0]
            pairs.append(pair)
        pair[1] += 1
    return pairs


cdef dict recorded(Recorder *recorder):
    return {
        "count": recorder.count,
        "mean_ns": recorder.sum / recorder.count if recorder.count else 0.0,
        "max_ns": recorder.highest,
        "counts": counts_of(recorder),
    }


FAILURE_NAMES = {
    <int> FAILED_CLOSED: "closed before the response was complete",
    <int> FAILED_MALFORMED: "malformed response",
    <int> FAILED_NO_ANSWER: "no response by the end",
    <int> FAILED_STATUS: "error status",
    <int> FAILED_NOT_OPENED: "not opened in time",
}


cdef class Generator:
    """One load. The thread that makes it runs it."""

    cdef LoadRun run
    cdef list texts               # that run.requests point into

    def __cinit__(self, load, list texts, int64_t room=RECORDER_VALUES):
        """Make ready for a load: a `load.Load`, and the text of the request for each of its paths.

        room: how many values are kept of each of the times that are measured; of more, a random sample.
        """
        cdef LoadRun *run = &self.run
        run.epoll = -1
        self.texts = texts
        run.address.sin_family = AF_INET
        run.address.sin_port = htons(load.port)
        run.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
        run.open_loop, run.even, run.fresh = load.rate is not None, load.even, load.fresh
        run.gap_ns = NS_PER_S / load.rate if run.open_loop else 0.0
        run.warm_up_ns, run.duration_ns = ns_of(load.warm_up_s), ns_of(load.duration_s)
        run.patience_ns, run.grace_ns = ns_of(load.patience_s), ns_of(load.grace_s)
        run.cool_down_ns = ns_of(load.cool_down_s)
        run.opening_ns = ns_of(load.opening_s)
        run.connections, run.idle, run.slow = load.connections, load.idle, load.slow
        run.ordinary = run.connections + (<uint32_t> load.more if run.open_loop else 0)
        run.slow_gap_ns = ns_of(load.slow_s / max(load.slow, 1))
        run.arrivals.state = load.seed
        open_recorder(&run.corrected, room, load.seed)
        open_recorder(&run.uncorrected, room, load.seed)
        open_recorder(&run.lateness, room, load.seed)
        self.take_paths([share for _, share in load.paths])
        self.make_clients()

    cdef take_paths(self, list shares):
        cdef LoadRun *run = &self.run
        cdef double total = sum(shares), added = 0
        cdef int at
        run.paths = len(shares)
        run.requests = <const char **> calloc(run.paths, sizeof(char *))
        run.request_bytes = <size_t *> calloc(run.paths, sizeof(size_t))
        run.shares = <double *> calloc(run.paths, sizeof(double))
        if run.requests == NULL or run.request_bytes == NULL or run.shares == NULL:
            raise MemoryError
        for at in range(run.paths):
            added += shares[at]
            run.shares[at] = added / total
            run.requests[at] = <bytes> self.texts[at]
            run.request_bytes[at] = len(<bytes> self.texts[at])

    cdef make_clients(self):
        cdef LoadRun *run = &self.run
        cdef LoadClient *client
        cdef uint32_t at
        run.size = run.ordinary + run.idle + run.slow
        run.clients = <LoadClient *> calloc(run.size, sizeof(LoadClient))
        run.received = <char *> malloc(RECEIVE_BYTES)
        if run.clients == NULL or run.received == NULL:
            raise MemoryError
        for at in range(run.size):
            client = &run.clients[at]
            client.fd = -1
            if at < run.ordinary:
                client_enter(client, &run.vacant)
            else:
                client.kind = CLIENT_IDLE if at < run.ordinary + run.idle else CLIENT_SLOW

    def __dealloc__(self):
        cdef LoadRun *run = &self.run
        cdef uint32_t at
        for at in range(run.size if run.clients != NULL else 0):
            client_close(&run.clients[at])
            response_free(&run.clients[at].reader)
        free(run.clients)
        free(run.received)
        free(run.requests)
        free(run.request_bytes)
        free(run.shares)
        free(run.corrected.values)
        free(run.uncorrected.values)
        free(run.lateness.values)
        if run.epoll >= 0:
            close(run.epoll)

    def play(self):
        """Send it, wait until it is over, and return what became of it. OSError if there can be no epoll.

        Signal handlers of Python run in between.
        """
        cdef int result = EINTR
        cdef int begun = load_begin(&self.run)
        if begun != 0:
            raise OSError(begun, "the load generator has no epoll")
        while result == EINTR:
            PyErr_CheckSignals()
            with nogil:
                result = load_drive(&self.run)
        if result != 0:
            raise OSError(result, "the load generator cannot wait for events")
        return self.found()

    def end(self):
        """End the load now: what is under way has no answer. For handlers of signals, in the thread that plays."""
        cdef LoadRun *run = &self.run
        cdef int64_t now = load_now()
        if run.phase == PHASE_OPENING:
            run.opening_ns = run.warm_up_ns = run.cool_down_ns = run.patience_ns = run.grace_ns = 0
            run.duration_ns = 1
            return
        run.counts_from_ns = min(run.counts_from_ns, now - 1)
        run.ends_ns = min(run.ends_ns, now)
        run.duration_ns = run.ends_ns - run.counts_from_ns
        run.stops_ns = run.over_ns = now
        if not run.open_loop:
            run.due_ns = now

    cdef dict found(self):
        """Return what became of the load."""
        cdef LoadRun *run = &self.run
        failed = {number: run.tally.failed[number] for number in range(<int> FAILURES) if run.tally.failed[number]}
        return {
            "elapsed_ns": run.duration_ns, "due": run.tally.due, "answered": run.tally.answered,
            "refused": run.tally.refused, "errors": run.tally.errors, "left": run.tally.left,
            "unsent": run.tally.unsent, "failed": failed, "unopened": run.tally.unopened,
            "came_again": run.tally.came_again, "idle_closed": run.tally.idle_closed,
            "sent_again": run.tally.sent_again,
            "received_bytes": run.bytes_counted, "corrected": recorded(&run.corrected),
            "uncorrected": recorded(&run.uncorrected), "lateness": recorded(&run.lateness), "cpu_ns": run.cpu_ns,
            "opened_ns": run.opened_ns, "open": run.open,
        }
