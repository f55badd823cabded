"""A thin Python wrapper of the metrics of a server, for unit tests. Only in checks builds."""
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from halfsync.admin.answer cimport AdminAnswer, AdminView
from halfsync.admin.metrics cimport answer_metrics
from halfsync.exchange.outcome cimport OUTCOME_KINDS, outcome_name
from halfsync.native.counting cimport SIZE_BUCKETS, TIME_BUCKETS, bucket_of, size_bounds, time_bounds
from halfsync.shared.lane_metrics cimport LANE_OTHERS, LaneCounts, LaneGauge
from halfsync.shared.metrics cimport (
    CONNECTION_STATES, METHOD_CLASSES, OUTCOMES_MOST, STATUS_CLASSES, RequestFacts, metrics_add_request, method_class,
    method_name, state_name, status_name,
)
from halfsync.shared.scoreboard cimport Scoreboard, Slot

TIMES = tuple([time_bounds()[each] for each in range(TIME_BUCKETS)])
SIZES = tuple([size_bounds()[each] for each in range(SIZE_BUCKETS)])
METHODS = tuple([method_name(each).decode() for each in range(METHOD_CLASSES)])
STATUSES = tuple([status_name(each).decode() for each in range(STATUS_CLASSES)])
OUTCOMES = tuple([outcome_name(each).decode() for each in range(OUTCOME_KINDS)])
OUTCOMES_ROOM = <int> OUTCOMES_MOST
LANES = <int> LANE_OTHERS  # that have names of their own
STATES = tuple([state_name(each).decode() for each in range(CONNECTION_STATES)])


def time_bucket(int64_t value):
    return bucket_of(time_bounds(), value)


def size_bucket(int64_t value):
    return bucket_of(size_bounds(), value)


def class_of_method(bytes method):
    return method_name(method_class(method, len(method))).decode()


def add_request(
    Slot slot, str method, int status, str outcome, *, int64_t queue_wait=-1, int64_t application=-1,
    int64_t response=-1, int64_t request_bytes=-1, int64_t response_bytes=-1
):
    """Count a request in the slot of a process. Times in ns."""
    cdef RequestFacts facts
    facts.method, facts.status, facts.outcome = METHODS.index(method), status, OUTCOMES.index(outcome)
    facts.queue_wait, facts.application, facts.response = queue_wait, application, response
    facts.request_bytes, facts.response_bytes = request_bytes, response_bytes
    metrics_add_request(slot.ref.metrics, &facts)


def set_gauges(
    Slot slot, *, dict connections=None, int64_t queued=0, int64_t oldest=0, int64_t busy=0, int64_t spooled=0
):
    """Set what is true of a process of the proactor. oldest: ns, of the monotonic clock."""
    for name, number in (connections or {}).items():
        slot.ref.metrics.gauges.connections[<int> STATES.index(name)] = number
    slot.ref.metrics.gauges.queue.length = queued
    slot.ref.metrics.gauges.queue.oldest_ns = oldest
    slot.ref.metrics.gauges.busy = busy
    slot.ref.metrics.gauges.spooled = spooled


def set_blocking(Slot slot, *, int64_t open=0, int64_t running=0, int64_t queued=0, int64_t idle=0):
    """Set what is true of a process whose connections have threads."""
    slot.ref.metrics.counters.open = open
    slot.ref.metrics.counters.running = running
    slot.ref.metrics.gauges.queue.length = queued
    slot.ref.metrics.gauges.connections[<int> STATES.index("idle")] = idle


def set_lane(Slot slot, str lane, *, int64_t length=0, int64_t oldest=0, int64_t busy=0):
    """Set what is true of a lane of a process. oldest: ns, of the monotonic clock."""
    cdef LaneGauge *gauge = &slot.ref.metrics.gauges.lanes[<int> slot.lane_row(lane)]
    gauge.exists, gauge.length, gauge.oldest_ns, gauge.busy = 1, length, oldest, busy


def count_lane(Slot slot, str lane, *, int64_t taken=0, int64_t shed=0, int64_t expired=0):
    """Add to what a lane of a process has counted."""
    cdef LaneCounts *counts = &slot.ref.metrics.lanes[<int> slot.lane_row(lane)]
    counts.taken += taken
    counts.shed += shed
    counts.expired += expired


def count(Slot slot, **changes):
    """Add to the counters of a process."""
    for name, change in changes.items():
        if name == "accepted":
            slot.ref.metrics.counters.accepted += <long long> change
        elif name == "made_room":
            slot.ref.metrics.counters.made_room += <long long> change
        else:
            slot.ref.metrics.counters.evicted += <long long> change


def fill(Slot slot):
    """Set each number of a slot to the largest that it could have. The lanes need names."""
    cdef long long *numbers = <long long *> slot.ref.metrics
    for position in range(sizeof(slot.ref.metrics[0]) // sizeof(long long)):
        numbers[position] = (1 << 62) // 100


def metrics_text(Scoreboard scoreboard, size_t room=255 * 1024):
    """Return what the admin engine answers, if it has room for so many bytes."""
    cdef AdminView view
    cdef AdminAnswer answer
    view.scoreboard, view.metrics, view.max_stuck = scoreboard.record, scoreboard.metrics, 0
    answer.room = <char *> malloc(room)
    answer.room_bytes = room
    answer_metrics(&view, NULL, &answer)
    text = answer.body[:answer.length]
    free(answer.room)
    return text.decode()
