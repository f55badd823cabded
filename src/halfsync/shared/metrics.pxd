# What is counted of a server for its metrics: a record for each slot of the scoreboard, in memory that all processes of
# the server share. decisions/0036 has the rules.
#
# A process counts in its own slot. Counts never go back: when a process ends, they stay, and the next process in its
# slot adds to them. Gauges, which say what is true at one moment, are cleared with the slot. Each field says which
# threads write it: the engine alone, with plain additions, or any thread, or any child, with atomic ones.
from libc.stdint cimport int64_t

from halfsync.http.grammar cimport method_is
from halfsync.native.counting cimport Histogram, count_shared, histogram_add_shared, size_bounds, time_bounds
from halfsync.shared.counters cimport Counters
from halfsync.shared.lane_metrics cimport LANE_ROWS, LaneCounts, LaneGauge, LaneNames

cdef enum:
    OUTCOMES_MOST = 10        # room for the outcomes of a request (exchange/outcome.pxd)
    CAUSES_MOST = 24          # room for the causes of a refusal (observe/causes.pxd)
    STATUS_CLASSES = 6        # of a response; 0: there was none

# The methods that are counted apart (RFC 9110 9.3, RFC 5789).
cdef enum MethodClass:
    METHOD_OTHER
    METHOD_GET
    METHOD_POST
    METHOD_HEAD
    METHOD_PUT
    METHOD_PATCH
    METHOD_DELETE
    METHOD_OPTIONS
    METHOD_CLASSES

# What a connection is doing.
cdef enum ConnectionState:
    STATE_HANDSHAKE           # of the transport
    STATE_NEW                 # accepted, and nothing received yet
    STATE_IDLE                # between two requests
    STATE_RECEIVING           # part of a request was received
    STATE_QUEUED              # its request waits for a worker; model pool: it waits for a thread itself
    STATE_RUNNING             # a thread has its request
    STATE_SENDING             # the engine sends the rest of its response
    STATE_LINGERING           # its last response is sent; the client has not closed yet
    CONNECTION_STATES

# Why a serving process was replaced, or ended before its time. Counted by the supervisor.
cdef enum RestartCause:
    RESTART_CRASH             # it died while it served
    RESTART_FAILED            # it ended, or was killed, before it served
    RESTART_RELOAD            # a process of the new generation took its place
    RESTART_RESIZE            # fewer processes were wanted
    RESTART_REQUESTS          # max_requests
    RESTART_LIFETIME          # max_lifetime
    RESTART_MEMORY            # max_rss
    RESTART_STUCK             # max_stuck
    RESTART_SIGNAL            # it got SIGTERM, not from its supervisor
    RESTART_OVERDUE           # it was killed, since it had not finished in time
    RESTART_CAUSES

# Their names in metrics, in the order of the enums.
cdef extern from * nogil:
    """
    static inline const char *hs_method_name(int method) {
        static const char *const names[] = {"other", "GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"};
        return names[method];
    }
    static inline const char *hs_status_name(int status) {
        static const char *const names[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
        return names[status];
    }
    static inline const char *hs_state_name(int state) {
        static const char *const names[] = {
            "handshake", "new", "idle", "receiving", "queued", "running", "sending", "lingering"};
        return names[state];
    }
    static inline const char *hs_restart_name(int cause) {
        static const char *const names[] = {
            "crash", "failed", "reload", "resize", "max_requests", "max_lifetime", "max_rss", "max_stuck", "signal",
            "overdue"};
        return names[cause];
    }
    """
    const char *method_name "hs_method_name" (int method)
    const char *status_name "hs_status_name" (int status_class)
    const char *state_name "hs_state_name" (int state)
    const char *restart_name "hs_restart_name" (int cause)

# A queue as others see it. Written by whoever changes it, under its lock.
ctypedef struct QueueGauge:
    long long length
    long long oldest_ns       # since when the first item has waited, on the monotonic clock; used if there is one

# What is true at one moment.
ctypedef struct Gauges:
    QueueGauge queue          # of requests; model pool: of connections
    long long threads         # made in advance for turns: proactor and pool
    long long busy            # atomic; turns of the proactor
    long long spooled         # atomic; bytes in temporary files
    long long connections[CONNECTION_STATES]  # by the engine; atomic in the models with blocking threads
    LaneGauge lanes[LANE_ROWS]

ctypedef struct SlotMetrics:
    Gauges gauges
    Counters counters         # `open` and `running` in it are gauges, too
    # Atomic: a worker or the engine ends a request.
    long long requests[METHOD_CLASSES][STATUS_CLASSES][OUTCOMES_MOST]
    long long refusals[CAUSES_MOST]
    LaneCounts lanes[LANE_ROWS]
    Histogram queue_wait      # of requests that a worker took, or that gave up waiting
    Histogram application     # from the begin of the turn to the end of what it gave
    Histogram response        # from the first byte of the request to the last one of its response
    Histogram request_bytes   # of bodies
    Histogram response_bytes
    Histogram gil_wait        # each time that a thread of the server asked for the GIL
    Histogram engine_lag      # by the engine: what a cycle of its loop took, in which nothing else was attended to
    char apart[64]            # keeps slots apart, as in SlotRecord

# The slots' records follow this one.
ctypedef struct Metrics:
    long long started_s       # when the server began, in seconds since 1970
    long long restarts[RESTART_CAUSES]  # by the supervisor
    LaneNames lanes
    char apart[64]

# One ended request. Times in ns, sizes in bytes; -1: it has none.
ctypedef struct RequestFacts:
    int method                # MethodClass
    int status                # of the response; 0: none was sent
    int outcome               # OutcomeKind
    int64_t queue_wait
    int64_t application
    int64_t response
    int64_t request_bytes
    int64_t response_bytes


cdef inline SlotMetrics *slot_metrics_at(Metrics *metrics, unsigned int index) noexcept nogil:
    return <SlotMetrics *> (metrics + 1) + index


cdef inline int method_class(const char *method, size_t length) noexcept nogil:
    """Return the MethodClass of a method. The most common ones come first."""
    cdef int known = METHOD_OTHER + 1
    while known < METHOD_CLASSES and not method_is(method, length, method_name(known)):
        known += 1
    return known if known < METHOD_CLASSES else METHOD_OTHER


cdef inline void add_if_known(Histogram *histogram, const long long *bounds, int64_t value) noexcept nogil:
    if value >= 0:
        histogram_add_shared(histogram, bounds, value)


cdef inline void metrics_add_request(SlotMetrics *metrics, const RequestFacts *facts) noexcept nogil:
    """Count a request that has ended. For any thread."""
    cdef int status = facts.status // 100 if 0 < facts.status < 600 else 0
    count_shared(&metrics.requests[facts.method][status][facts.outcome], 1)
    add_if_known(&metrics.queue_wait, time_bounds(), facts.queue_wait)
    add_if_known(&metrics.application, time_bounds(), facts.application)
    add_if_known(&metrics.response, time_bounds(), facts.response)
    add_if_known(&metrics.request_bytes, size_bounds(), facts.request_bytes)
    add_if_known(&metrics.response_bytes, size_bounds(), facts.response_bytes)
