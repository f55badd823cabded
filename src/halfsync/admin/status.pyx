# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Write what a server does now, as JSON: its processes, what each worker runs, and the last refusals.

All of it is read from memory that the processes share, without a lock and without the GIL of any of them. So it takes
microseconds whatever they do. Stacks are the exception: each process writes those of its own workers when it is
asked to, as soon as it has the GIL. So what is asked for is answered at once without them, and the next answers have
them, or say that they are awaited. docs/status.md has the members.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp, strlen

from halfsync.admin.answer cimport answer_text
from halfsync.admin.figures cimport add_figures
from halfsync.admin.json_text cimport (
    Text, add_address, add_flag, add_key, add_literal, add_number, add_seconds, add_string,
    text_begin, text_cut,
)
from halfsync.http.grammar cimport name_is
from halfsync.http.response_head cimport write_text
from halfsync.native.sync cimport add_uint, load_llong, load_uint, monotonic_ns, realtime_ns
from halfsync.shared.activity cimport (
    PATH_KEPT, PROCESSES_MOST, REFUSALS_KEPT, ActivityProcess, ActivityRefusal, ActivityRequest, ActivityRow,
    ActivityStack, ActivityTurn, activity_read, refusal_read, stack_read, word_wake,
)
from halfsync.shared.slots cimport SLOT_EMPTY, SlotRecord, scoreboard_serving, slot_at, slot_state_name

from halfsync.version import VERSION

cdef enum:
    TAIL_BYTES = 64           # what follows the lists
    EVENT_TAIL = 2            # an empty line ends an event

cdef bytes version = VERSION.encode("ascii")
cdef const char *version_text = version

# Domains of names that nobody on the internet can have (RFC 6761, RFC 6762; internal is kept for private use by ICANN).
cdef const char *PRIVATE[5]
PRIVATE[:] = [b"local", b"internal", b"localhost", b"test", b"example"]


cdef void add_target(Text *text, const ActivityRequest *request) noexcept nogil:
    """Append method and path; of a path that is longer than what is kept of it, also the length."""
    add_key(text, b"method")
    add_string(text, request.method, request.method_length, False)
    add_key(text, b"path")
    add_string(text, request.path, min(request.path_length, <uint32_t> PATH_KEPT), False)
    if request.path_length > PATH_KEPT:
        add_key(text, b"path_length")
        add_number(text, request.path_length)


cdef void add_id(Text *text, const char *key, const char *id, uint32_t length) noexcept nogil:
    """Append an id of a request, or null."""
    add_key(text, key)
    if length > 0:
        add_string(text, id, length, False)
    else:
        add_literal(text, b"null")


cdef void add_request(Text *text, const ActivityRequest *request) noexcept nogil:
    """Append what a request is, whose, and by which ids the access log has it."""
    add_target(text, request)
    add_client(text, request)
    add_id(text, b"request_id", request.id, request.id_length)
    add_id(text, b"trace_id", request.trace, request.trace_length)


cdef void add_client(Text *text, const ActivityRequest *request) noexcept nogil:
    add_key(text, b"client")
    add_address(text, request.address, request.address_length)


cdef void add_process(
    Text *text, const AdminView *view, uint32_t number, uint32_t working, int64_t now
) noexcept nogil:
    """Append a process. working: how many of its workers run a turn."""
    cdef SlotRecord *slot = slot_at(view.scoreboard, number)
    cdef ActivityProcess *process = &view.activity.processes[number]
    cdef const char *state = slot_state_name(load_uint(&slot.state))
    cdef bint known = load_uint(&process.pid) != 0
    add_literal(text, b"{")
    add_key(text, b"number", first=True)
    add_number(text, number + 1)
    add_key(text, b"pid")
    add_number(text, load_uint(&process.pid))
    add_key(text, b"generation")
    add_number(text, process.generation)
    add_key(text, b"state")
    add_string(text, state, strlen(state), False)
    add_key(text, b"model")
    add_string(text, process.model, strlen(process.model), False)
    add_key(text, b"uptime")
    add_seconds(text, now - process.started_ns if known else 0)
    add_key(text, b"threads")
    add_number(text, process.threads)
    add_key(text, b"working")
    add_number(text, working)
    add_key(text, b"stuck")
    add_number(text, load_uint(&slot.stuck))
    add_key(text, b"open")
    add_number(text, load_uint(&slot.open))
    add_key(text, b"requests")
    add_number(text, load_llong(&slot.requests))
    add_literal(text, b"}")


cdef uint32_t count_working(const AdminView *view, uint32_t number) noexcept nogil:
    """Return how many workers of a process run a turn."""
    cdef uint32_t index, working = 0
    cdef ActivityRow *row
    for index in range(load_uint(&view.activity.used)):
        row = &view.activity.rows[index]
        if load_uint(&row.owner) != 0 and row.turn.process == number:
            working += 1
    return working


cdef void add_processes(Text *text, const AdminView *view, int64_t now) noexcept nogil:
    cdef uint32_t index
    cdef bint first = True
    add_key(text, b"processes")
    add_literal(text, b"[")
    for index in range(min(load_uint(&view.scoreboard.used), <unsigned int> PROCESSES_MOST)):
        if load_uint(&slot_at(view.scoreboard, index).state) == SLOT_EMPTY:
            continue
        if not first:
            add_literal(text, b",")
        first = False
        add_process(text, view, index, count_working(view, index), now)
    add_literal(text, b"]")


cdef void add_refusals(Text *text, const AdminView *view, int64_t now) noexcept nogil:
    """Append the last refusals, the newest first."""
    cdef unsigned int refused = load_uint(&view.activity.refused)
    cdef ActivityRefusal refusal
    cdef uint32_t back
    cdef bint first = True
    add_key(text, b"refused")
    add_number(text, refused)
    add_key(text, b"refusals")
    add_literal(text, b"[")
    for back in range(1, REFUSALS_KEPT + 1):
        if not refusal_read(&view.activity.refusals[(refused - back) % REFUSALS_KEPT], &refusal):
            continue
        add_literal(text, b"{" if first else b",{")
        first = False
        add_key(text, b"ago", first=True)
        add_seconds(text, now - refusal.at_ns)
        add_key(text, b"status")
        add_number(text, refusal.status)
        add_key(text, b"reason")
        add_string(text, refusal.reason, strlen(refusal.reason), False)
        add_request(text, &refusal.request)
        add_literal(text, b"}")
    add_literal(text, b"]")


cdef void add_stack(Text *text, ActivityRow *row, unsigned int version, unsigned int wanted) noexcept nogil:
    """Append where the thread of a turn is: its stack; or, as null, that it is awaited."""
    cdef ActivityStack stack
    cdef bint known = stack_read(row, &stack) and stack.turn == version
    add_key(text, b"stack")
    if known:
        add_string(text, stack.text, stack.length, True)
    else:
        add_literal(text, b"null")
    add_key(text, b"stack_awaited")
    add_flag(text, not known or stack.answers != wanted)


cdef void add_worker(
    Text *text, ActivityRow *row, const ActivityTurn *turn, unsigned int pid, int64_t now
) noexcept nogil:
    """Append what a worker runs, without the end."""
    add_key(text, b"process", first=True)
    add_number(text, turn.process + 1)
    add_key(text, b"pid")
    add_number(text, pid)
    add_key(text, b"thread")
    add_literal(text, b'"')  # as a string: it is too large for a number of JavaScript
    add_number(text, turn.thread)
    add_literal(text, b'"')
    add_key(text, b"seconds")
    add_seconds(text, now - turn.since_ns)
    add_request(text, &turn.request)


cdef void add_workers(Text *text, const AdminView *view, int64_t now, bint stacks) noexcept nogil:
    """Append what each worker runs, as far as there is room; and how many were left out."""
    cdef ActivityTurn turn
    cdef ActivityRow *row
    cdef unsigned int version, pid
    cdef unsigned int wanted = load_uint(&view.activity.wanted)
    cdef uint32_t index
    cdef uint32_t shown = 0, left_out = 0
    cdef size_t mark
    add_key(text, b"workers")
    add_literal(text, b"[")
    for index in range(load_uint(&view.activity.used)):
        row = &view.activity.rows[index]
        pid = activity_read(row, &turn, &version)
        if pid == 0:
            continue
        mark = text.length
        add_literal(text, b",{" if shown > 0 else b"{")
        add_worker(text, row, &turn, pid, now)
        if stacks:
            add_stack(text, row, version, wanted)
        add_literal(text, b"}")
        if text.full:
            text_cut(text, mark)
            left_out += 1
        else:
            shown += 1
    text.room += TAIL_BYTES
    add_literal(text, b"]")
    add_key(text, b"left_out")
    add_number(text, left_out)


cdef void status_write(const AdminView *view, Text *text, bint stacks) noexcept nogil:
    """Write what the server does now. stacks: with those of the workers. What does not fit is left out, and counted."""
    cdef int64_t now = monotonic_ns()
    cdef bint ending = load_uint(&view.scoreboard.shutting_down) != 0
    text.room -= TAIL_BYTES
    add_literal(text, b"{")
    add_key(text, b"halfsync", first=True)
    add_string(text, version_text, strlen(version_text), False)
    add_key(text, b"name")
    add_string(text, view.activity.name, strlen(view.activity.name), False)
    add_key(text, b"time")
    add_seconds(text, realtime_ns())
    add_key(text, b"uptime")
    add_seconds(text, now - view.activity.started_ns)
    add_key(text, b"ready")
    add_flag(text, not ending and scoreboard_serving(view.scoreboard, view.max_stuck) > 0)
    add_key(text, b"shutting_down")
    add_flag(text, ending)
    add_figures(text, view)
    add_refusals(text, view, now)
    add_processes(text, view, now)
    add_workers(text, view, now, stacks)
    add_literal(text, b"}")


cdef void stacks_want(const AdminView *view) noexcept nogil:
    """Ask all processes for the stacks of their workers. Does not wait."""
    add_uint(&view.activity.wanted, 1)
    word_wake(&view.activity.wanted)


cdef bint host_is_private(const Exchange *exchange) noexcept nogil:
    """Return whether a request names this server by an address, or by a name that nobody on the internet can have.

    A site may let its own name lead to an address of its visitor's network. A browser would take what is there for a
    part of that site, and give it to its scripts.
    """
    cdef const char *host = exchange.data + exchange.head.authority
    cdef uint32_t length = exchange.head.authority_length
    cdef uint32_t at, label = 0
    cdef size_t index
    cdef bint numeric = True
    if length == 0 or host[0] == c'[':  # none, as browsers never send; or an address of IPv6
        return True
    for at in range(length):
        if host[at] == c':':
            length = at
            break
    for at in range(length):
        numeric = numeric and (host[at] == c'.' or c'0' <= host[at] <= c'9')
        if host[at] == c'.':
            label = at + 1
    if numeric or label == 0:
        return True
    for index in range(sizeof(PRIVATE) // sizeof(PRIVATE[0])):
        if name_is(host + label, length - label, PRIVATE[index]):
            return True
    return False


cdef bint is_refused(const Exchange *exchange, AdminAnswer *answer) noexcept nogil:
    """Refuse a request under a public name. Returns whether it was refused."""
    if host_is_private(exchange):
        return False
    answer_text(answer, 421, b"use an address, localhost, or a name without a dot in place of this name\n")
    return True


cdef void answer_page(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil:
    """Answer with the page."""
    if is_refused(exchange, answer):
        return
    answer.status = 200
    answer.content_type = b"text/html; charset=utf-8"
    answer.policy = view.page_policy
    answer.body = view.page
    answer.length = view.page_length


cdef bint has_query(const Exchange *exchange, const char *query) noexcept nogil:
    return (
        exchange.head.query_length == strlen(query)
        and memcmp(exchange.data + exchange.head.query, query, strlen(query)) == 0
    )


cdef void answer_status(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil:
    """Answer with the status. With the query `stacks` the stacks are asked for; with `stacks=kept` they are shown only.
    """
    cdef bint asks = has_query(exchange, b"stacks")
    cdef Text text
    if is_refused(exchange, answer):
        return
    if asks:
        stacks_want(view)
    text_begin(&text, answer.room, answer.room_bytes)
    status_write(view, &text, asks or has_query(exchange, b"stacks=kept"))
    answer.status = 200
    answer.content_type = b"application/json"
    answer.body = answer.room
    answer.length = text.length


cdef void answer_events(const AdminView *view, const Exchange *exchange, AdminAnswer *answer) noexcept nogil:
    """Answer with the status as server-sent events (HTML, 9.2): one now, and then one after another."""
    cdef size_t begin
    if is_refused(exchange, answer):
        return
    begin = write_text(answer.room, b"retry: 1000\n\n") - answer.room
    answer.status = 200
    answer.content_type = b"text/event-stream"
    answer.body = answer.room
    answer.length = begin + write_event(view, answer.room + begin, answer.room_bytes - begin)
    answer.goes_on = True


cdef int64_t write_event(const AdminView *view, char *buffer, int64_t room) noexcept nogil:
    """Write an event. See the .pxd."""
    cdef Text text
    text_begin(&text, buffer, room - EVENT_TAIL)
    add_literal(&text, b"data: ")
    status_write(view, &text, False)
    text.room += EVENT_TAIL
    add_literal(&text, b"\n\n")
    return text.length
