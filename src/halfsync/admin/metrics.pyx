# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""The families of metrics: their names, their types, what they mean, and the function that writes each.

Every value is a sum over the processes (admin/totals). The table in docs/metrics.md is written from the table
here (tools/write_metrics_page.py).
"""
from halfsync.admin.exposition cimport (
    Exposition, Sample, add_label, sample_of, write_count, write_family, write_histogram, write_seconds,
)
from halfsync.admin.totals cimport (
    Totals, connections_in, lane_age, lane_exists, lane_is_known, lane_name, queue_age, totals_take,
)
from halfsync.exchange.outcome cimport OUTCOME_EXPIRED, OUTCOME_SHED, outcome_name
from halfsync.native.counting cimport SIZE_BUCKETS, TIME_BUCKETS, Histogram, counted, size_bounds, time_bounds
from halfsync.native.sync cimport load_uint
from halfsync.observe.causes cimport REFUSAL_CAUSES, cause_name
from halfsync.shared.lane_metrics cimport LANE_ROWS, LaneCounts, LaneGauge
from halfsync.shared.metrics cimport (
    CONNECTION_STATES, METHOD_CLASSES, OUTCOMES_MOST, RESTART_CAUSES, STATUS_CLASSES, SlotMetrics, method_name,
    restart_name, state_name, status_name,
)
from halfsync.shared.slots cimport SLOT_BOOTING, SLOT_STATES, slot_at, slot_state_name

ctypedef struct Family:
    const char *name
    const char *kind          # as Prometheus names it
    const char *labels        # their keys, as the documentation shows them; of one label: its key
    const char *about
    void (*write)(Exposition *text, const Family *family, const Totals *totals) noexcept nogil
    size_t offset             # of what it reports, in the sum


cdef SlotMetrics LAYOUT  # of which only the addresses are used


cdef size_t offset_of(const void *field) noexcept:
    """Return where a field of LAYOUT is in its record."""
    return <const char *> field - <const char *> &LAYOUT


cdef inline const void *field_of(const Family *family, const Totals *totals) noexcept nogil:
    return <const char *> &totals.sum + family.offset


cdef void write_one(Exposition *text, const Family *family, long long number) noexcept nogil:
    """Write the only sample of a family."""
    cdef Sample sample = sample_of(family.name)
    write_count(text, &sample, number)


cdef void write_labelled(Exposition *text, const Family *family, const char *value, long long number) noexcept nogil:
    """Write the sample of a family that has one label, for one value of it."""
    cdef Sample sample = sample_of(family.name)
    add_label(&sample, family.labels, value)
    write_count(text, &sample, number)


cdef void write_number(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    # A child in the model `process` may count its end after its parent was killed, and the slot cleared.
    write_one(text, family, max((<const long long *> field_of(family, totals))[0], 0))


cdef void write_times(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    write_histogram(
        text, family.name, <const Histogram *> field_of(family, totals), time_bounds(), TIME_BUCKETS, True)


cdef void write_sizes(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    write_histogram(
        text, family.name, <const Histogram *> field_of(family, totals), size_bounds(), SIZE_BUCKETS, False)


cdef void write_start(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    write_one(text, family, totals.view.metrics.started_s)


cdef void write_processes(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    cdef long long number
    cdef unsigned int index, state
    for state in range(SLOT_BOOTING, SLOT_STATES):
        number = 0
        for index in range(load_uint(&totals.view.scoreboard.used)):
            number += load_uint(&slot_at(totals.view.scoreboard, index).state) == state
        write_labelled(text, family, slot_state_name(state), number)


cdef void write_restarts(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    cdef int cause
    for cause in range(RESTART_CAUSES):
        write_labelled(text, family, restart_name(cause), counted(&totals.view.metrics.restarts[cause]))


cdef void write_requests(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    """Write the combinations that there were."""
    cdef Sample sample
    cdef int method, status, outcome
    cdef long long number
    for method in range(METHOD_CLASSES):
        for status in range(STATUS_CLASSES):
            for outcome in range(OUTCOMES_MOST):
                number = totals.sum.requests[method][status][outcome]
                if number > 0:
                    sample = sample_of(family.name)
                    add_label(&sample, b"method", method_name(method))
                    add_label(&sample, b"status", status_name(status))
                    add_label(&sample, b"outcome", outcome_name(outcome))
                    write_count(text, &sample, number)


cdef void write_refusals(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    cdef int cause
    for cause in range(REFUSAL_CAUSES):
        write_labelled(text, family, cause_name(cause), totals.sum.refusals[cause])


cdef void write_connections(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    cdef int state
    for state in range(CONNECTION_STATES):
        write_labelled(text, family, state_name(state), connections_in(totals, state))


cdef void write_evicted(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    write_one(text, family, totals.sum.counters.made_room + totals.sum.counters.evicted)


cdef void write_queue_age(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    cdef Sample sample = sample_of(family.name)
    write_seconds(text, &sample, queue_age(totals))


cdef Sample lane_sample(const Family *family, const Totals *totals, int row) noexcept nogil:
    """Begin the sample of a lane."""
    cdef Sample sample = sample_of(family.name)
    add_label(&sample, b"lane", lane_name(totals, row))
    return sample


cdef void write_lane_numbers(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    """Write a field of the gauge of each lane that a process has now."""
    cdef Sample sample
    cdef int row
    for row in range(LANE_ROWS):
        if lane_exists(totals, row):
            sample = lane_sample(family, totals, row)
            write_count(text, &sample, (<const long long *> (
                <const char *> field_of(family, totals) + row * sizeof(LaneGauge)))[0])


cdef void write_lane_ages(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    cdef Sample sample
    cdef int row
    for row in range(LANE_ROWS):
        if lane_exists(totals, row):
            sample = lane_sample(family, totals, row)
            write_seconds(text, &sample, lane_age(totals, row))


cdef void write_lane_taken(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    cdef Sample sample
    cdef int row
    for row in range(LANE_ROWS):
        if lane_is_known(totals, row):
            sample = lane_sample(family, totals, row)
            write_count(text, &sample, totals.sum.lanes[row].taken)


cdef void write_lane_refused(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    cdef const LaneCounts *counts
    cdef Sample shed, expired
    cdef int row
    for row in range(LANE_ROWS):
        if lane_is_known(totals, row):
            counts = &totals.sum.lanes[row]
            shed = expired = lane_sample(family, totals, row)
            add_label(&shed, b"outcome", outcome_name(OUTCOME_SHED))
            add_label(&expired, b"outcome", outcome_name(OUTCOME_EXPIRED))
            write_count(text, &shed, counts.shed)
            write_count(text, &expired, counts.expired)


cdef void write_busy(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    write_one(text, family, max(totals.sum.gauges.busy + totals.sum.counters.running, 0))


cdef void write_stuck(Exposition *text, const Family *family, const Totals *totals) noexcept nogil:
    cdef long long stuck = 0
    cdef unsigned int index
    for index in range(load_uint(&totals.view.scoreboard.used)):
        stuck += load_uint(&slot_at(totals.view.scoreboard, index).stuck)
    write_one(text, family, stuck)


cdef enum:
    FAMILIES_LENGTH = 28

cdef Family[FAMILIES_LENGTH] FAMILIES
FAMILIES[:] = [
    Family(
        b"halfsync_start_time_seconds", b"gauge", b"",
        b"When the server began, in seconds since 1970.",
        write_start, 0),
    Family(
        b"halfsync_processes", b"gauge", b"state",
        b"Serving processes.",
        write_processes, 0),
    Family(
        b"halfsync_process_restarts_total", b"counter", b"cause",
        b"Serving processes that were replaced, or ended before their time.",
        write_restarts, 0),
    Family(
        b"halfsync_connections", b"gauge", b"state",
        b"Open connections.",
        write_connections, 0),
    Family(
        b"halfsync_connections_accepted_total", b"counter", b"",
        b"Connections accepted.",
        write_number, offset_of(&LAYOUT.counters.accepted)),
    Family(
        b"halfsync_connections_handed_off_total", b"counter", b"",
        b"Connections that a process gave to another as it left.",
        write_number, offset_of(&LAYOUT.counters.handed_off)),
    Family(
        b"halfsync_connections_adopted_total", b"counter", b"",
        b"Connections that a process took over from another.",
        write_number, offset_of(&LAYOUT.counters.adopted)),
    Family(
        b"halfsync_connections_evicted_total", b"counter", b"",
        b"Connections closed to make room for others.",
        write_evicted, 0),
    Family(
        b"halfsync_queue_length", b"gauge", b"",
        b"Requests that wait for a worker (model pool: connections that wait for a thread).",
        write_number, offset_of(&LAYOUT.gauges.queue.length)),
    Family(
        b"halfsync_queue_age_seconds", b"gauge", b"",
        b"How long the one that waits longest has waited.",
        write_queue_age, 0),
    Family(
        b"halfsync_lane_queue_length", b"gauge", b"lane",
        b"Requests of a lane that wait for a worker.",
        write_lane_numbers, offset_of(&LAYOUT.gauges.lanes[0].length)),
    Family(
        b"halfsync_lane_queue_age_seconds", b"gauge", b"lane",
        b"How long the one that waits longest has waited.",
        write_lane_ages, 0),
    Family(
        b"halfsync_lane_threads_busy", b"gauge", b"lane",
        b"Threads in a turn of a lane.",
        write_lane_numbers, offset_of(&LAYOUT.gauges.lanes[0].busy)),
    Family(
        b"halfsync_lane_requests_taken_total", b"counter", b"lane",
        b"Requests of a lane that a worker took.",
        write_lane_taken, 0),
    Family(
        b"halfsync_lane_requests_refused_total", b"counter", b"lane, outcome",
        b"Requests of a lane that were answered 503 before a worker took them: shed or expired.",
        write_lane_refused, 0),
    Family(
        b"halfsync_threads", b"gauge", b"",
        b"Threads made in advance to run the application (proactor, pool).",
        write_number, offset_of(&LAYOUT.gauges.threads)),
    Family(
        b"halfsync_threads_busy", b"gauge", b"",
        b"Threads, or child processes, in a turn of the application.",
        write_busy, 0),
    Family(
        b"halfsync_threads_stuck", b"gauge", b"",
        b"Threads in a turn that has passed request_timeout.",
        write_stuck, 0),
    Family(
        b"halfsync_spool_bytes", b"gauge", b"",
        b"Bytes of requests and responses in temporary files.",
        write_number, offset_of(&LAYOUT.gauges.spooled)),
    Family(
        b"halfsync_requests_total", b"counter", b"method, status, outcome",
        b"Requests that have ended.",
        write_requests, offset_of(&LAYOUT.requests)),
    Family(
        b"halfsync_refusals_total", b"counter", b"cause",
        b"Requests and connections that were refused, shed or expired.",
        write_refusals, 0),
    Family(
        b"halfsync_queue_wait_seconds", b"histogram", b"",
        b"How long a request waited for a worker.",
        write_times, offset_of(&LAYOUT.queue_wait)),
    Family(
        b"halfsync_application_seconds", b"histogram", b"",
        b"How long a turn of the application took.",
        write_times, offset_of(&LAYOUT.application)),
    Family(
        b"halfsync_response_seconds", b"histogram", b"",
        b"From the first byte of a request to the last one of its response.",
        write_times, offset_of(&LAYOUT.response)),
    Family(
        b"halfsync_request_bytes", b"histogram", b"",
        b"Sizes of the bodies of requests.",
        write_sizes, offset_of(&LAYOUT.request_bytes)),
    Family(
        b"halfsync_response_bytes", b"histogram", b"",
        b"Sizes of the bodies of responses, as far as they were sent.",
        write_sizes, offset_of(&LAYOUT.response_bytes)),
    Family(
        b"halfsync_gil_wait_seconds", b"histogram", b"",
        b"How long a thread of the server waited for the GIL, each time that it took it again.",
        write_times, offset_of(&LAYOUT.gil_wait)),
    Family(
        b"halfsync_engine_lag_seconds", b"histogram", b"",
        b"How long a cycle of the engine's loop took: what happens meanwhile waits for its end.",
        write_times, offset_of(&LAYOUT.engine_lag)),
]


cdef void answer_metrics(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil:
    """Answer with all families."""
    cdef Exposition text
    cdef Totals totals
    cdef size_t index
    totals_take(&totals, view)
    text.at = answer.room
    text.end = answer.room + answer.room_bytes
    for index in range(FAMILIES_LENGTH):
        write_family(&text, FAMILIES[index].name, FAMILIES[index].kind, FAMILIES[index].about)
        FAMILIES[index].write(&text, &FAMILIES[index], &totals)
    answer.status = 200
    answer.content_type = b"text/plain; version=0.0.4; charset=utf-8"
    answer.body = answer.room
    answer.length = text.at - answer.room
