"""Thin Python wrappers of pure functions, for their unit tests. Only in checks builds."""
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memset

from halfsync.exchange.deadlines cimport (
    AWAITS_BODY, AWAITS_CLOSE, AWAITS_FIRST_BYTE, AWAITS_HANDSHAKE, AWAITS_HEAD, AWAITS_READING, AWAITS_REQUEST,
    LATE_CLOSE, LATE_REFUSE,
    LATE_RESET, deadline_after as native_deadline, late as native_late, newcomer_deadline as native_newcomer,
)
from halfsync.exchange.lingering cimport linger_discard as native_discard, linger_may_end as native_may_end
from halfsync.exchange.outcome cimport OUTCOME_KINDS, Outcome, outcome_name, outcome_note_text, outcome_reset
from halfsync.exchange.persistence cimport may_stay as native_may_stay, stays_after as native_stays_after
from halfsync.exchange.rates cimport Pace, is_too_slow as native_too_slow, next_pace_check as native_pace_check
from halfsync.exchange.reasons cimport (
    REASON_APPLICATION, REASON_CONNECTIONS, REASON_NONE, REASON_PEER, REASON_ROOM, REASON_STOP, REASONS_END,
    reason_text,
)
from halfsync.exchange.timeline cimport (
    Timeline, timeline_begin, timeline_note_sent, timeline_reset, timeline_turn_ns, timeline_waited_ns,
)
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.http.grammar cimport (
    DECIMAL_BYTES, HEX_BYTES, authority_is_valid as native_authority, connection_options as native_options, hex_pair,
    is_field_value as native_field_value, is_token as native_token, method_is as native_method, name_is as native_name,
    number_of as native_number, port_of as native_port, write_decimal, write_hex,
)
from halfsync.http.response_head cimport (
    CONTINUE_BYTES, DATE_BYTES, ERROR_BYTES, ServerFields, begin_head, date_now, end_head, end_with_error,
    end_with_text, framing_of as native_framing, has_no_body as native_no_body, meaning_of as native_meaning,
    reason_phrase, server_fields_init, write_continue, write_date, write_server_timing,
)
from halfsync.native.sync cimport atomic_uint, init_uint, load_uint
from halfsync.observe.refusals cimport (
    ANSWER_END, ANSWER_ERROR, ANSWER_RESET, refusal_answer, refusal_counter, refusal_status,
)
from halfsync.shared.accepting cimport (
    SharedListeners, accept_next as native_accept_next, keeps_listener, leave_listeners, listener_mask, listeners_init,
    may_accept as native_may_accept, next_accept_check as native_next_accept_check, sockaddr_storage, socklen_t,
)
from halfsync.shared.command cimport (
    COMMAND_DRAIN, COMMAND_HANDOFF, COMMAND_SERVE, COMMAND_STOP, closes_after_response as native_closes, command_give,
)
from halfsync.shared.counters cimport Counters, statistics_of
from halfsync.shared.scoreboard cimport Slot
from halfsync.shared.slots cimport ScoreboardRecord, SlotRecord
from halfsync.transport.transport cimport Transport


# --- http/grammar ---

def is_token(bytes text not None):
    return bool(native_token(text, len(text)))


def is_field_value(bytes text not None):
    return bool(native_field_value(text, len(text)))


def name_is(bytes text not None, bytes lower not None):
    return bool(native_name(text, len(text), lower))


def method_is(bytes text not None, bytes method not None):
    return bool(native_method(text, len(text), method))


def number_of(bytes text not None):
    """Return the number, or None if there is none."""
    number = native_number(text, len(text))
    return None if number < 0 else number


def port_of(bytes text not None):
    """Return the port, or None if there is none."""
    port = native_port(text, len(text))
    return None if port < 0 else port


def hex_byte(bytes text not None):
    """Return the value of two hexadecimal digits, or None if they are not."""
    if len(text) != 2:
        raise ValueError(text)
    value = hex_pair(text)
    return None if value < 0 else value


def decimal(value):
    cdef char out[DECIMAL_BYTES]
    return out[:write_decimal(out, value) - out]


def hexadecimal(value):
    cdef char out[HEX_BYTES]
    return out[:write_hex(out, value) - out]


def connection_options(bytes text not None):
    """Return the bits: 1 close, 2 keep-alive, 4 upgrade, 8 any other."""
    return native_options(text, len(text))


def authority_is_valid(bytes text not None):
    cdef const char *start = text
    return bool(native_authority(start, start + len(text)))


# --- http/response_head ---

def date():
    return date_now().decode()


def date_of(long second):
    cdef char[DATE_BYTES + 1] out
    write_date(second, out, sizeof(out))
    return out.decode()


def reason(int status):
    return reason_phrase(status).decode()


def empty_head(int status, *, bint server, double keep_alive_s, bint stays):
    """Return the head of a response of the server's own, without further fields."""
    cdef char[ERROR_BYTES] out
    cdef ServerFields fields
    server_fields_init(&fields, server, keep_alive_s)
    return out[:end_head(begin_head(out, &fields, status), &fields, stays) - out]


def text_response(int status, bytes text not None, *, bint is_head):
    """Return a response with this text, and the number of bytes of its body, as it is noted."""
    cdef char[ERROR_BYTES] out
    cdef ServerFields fields
    cdef int64_t sent = -1
    server_fields_init(&fields, False, 0)
    end = end_with_text(begin_head(out, &fields, status), &fields, True, is_head, text, len(text), &sent)
    return out[:end - out], sent


def error_page(int status, *, bint server, double keep_alive_s, bint stays, bint is_head):
    """Return a response with only its status as text, and the number of bytes of its body, as it is noted."""
    cdef char[ERROR_BYTES] out
    cdef ServerFields fields
    cdef int64_t sent = -1
    server_fields_init(&fields, server, keep_alive_s)
    end = end_with_error(begin_head(out, &fields, status), &fields, status, stays, is_head, &sent)
    return out[:end - out], sent


def server_timing(int64_t queue, int64_t app, int64_t total):
    """Return the line of these durations, in ns. -1: unknown."""
    cdef char[ERROR_BYTES] out
    return out[:write_server_timing(out, queue, app, total) - out]


def interim():
    cdef char[CONTINUE_BYTES] out
    return out[:write_continue(out) - out]


def meaning_of(bytes name not None):
    return native_meaning(name, len(name))


def has_no_body(int status, bint is_head):
    return bool(native_no_body(status, is_head))


def framing_of(bint bodiless, bint has_length, int minor):
    return native_framing(bodiless, has_length, minor)


# --- exchange/persistence ---

def may_stay(*, bint asked=True, bint enabled=True, bint ending=False, int answered=1, int answers_max=0):
    return bool(native_may_stay(asked, enabled, ending, answered, answers_max))


def stays_after(*, bint may=True, bint closes=False, bint until_close=False):
    return bool(native_stays_after(may, closes, until_close))


# --- shared/accepting ---

ctypedef struct Backlog:
    bint waits
    int looks


cdef bint look_at_backlog(void *owner) noexcept nogil:
    (<Backlog *> owner).looks += 1
    return (<Backlog *> owner).waits


def may_accept(Slot slot, *, bint waits, int64_t now):
    """Return whether to accept, and how often the backlog was looked at."""
    cdef Backlog backlog
    cdef ScoreboardRecord *scoreboard = NULL
    cdef SlotRecord *record = NULL
    backlog.waits = waits
    backlog.looks = 0
    if slot is not None:
        scoreboard = slot.scoreboard.record
        record = slot.record
    may = bool(native_may_accept(scoreboard, record, look_at_backlog, &backlog, now))
    return may, backlog.looks


def next_accept_check(Slot slot, *, bint may, int64_t again, int64_t now):
    """Return the time of the next check, or None if there is none."""
    check = native_next_accept_check(NULL if slot is None else slot.record, may, again, now)
    return None if check == INT64_MAX else check


def kept_listeners(exclusive, int listeners):
    """Return the positions that are kept once the others are left to other processes. exclusive: None: before that."""
    cdef SharedListeners shared
    listeners_init(&shared)
    if exclusive is not None:
        leave_listeners(&shared, listener_mask(exclusive))
    return [position for position in range(listeners) if keeps_listener(&shared, position)]


def accept_next(int listener):
    """Return a descriptor, or a negative error number."""
    cdef sockaddr_storage address
    cdef socklen_t length
    return native_accept_next(listener, &address, &length)


# --- shared/command ---

COMMANDS = {"serve": COMMAND_SERVE, "hand off": COMMAND_HANDOFF, "drain": COMMAND_DRAIN, "stop": COMMAND_STOP}


def give_command(before, command):
    """Return the command that holds after one was given, and whether it was taken."""
    cdef atomic_uint word
    init_uint(&word, COMMANDS[before])
    taken = bool(command_give(&word, COMMANDS[command]))
    return {number: name for name, number in COMMANDS.items()}[load_uint(&word)], taken


def closes_after_response(command, *, bint closing_keepalives):
    return bool(native_closes(COMMANDS[command], closing_keepalives))


# --- exchange/timeline ---

def timeline(*, int64_t complete=0, int64_t queued=0, int64_t taken=0, int64_t now=0):
    """Return how long a request has waited at `now`, and when its turn could begin."""
    cdef Timeline times
    timeline_reset(&times)
    times.complete_ns, times.queued_ns, times.taken_ns = complete, queued, taken
    return timeline_waited_ns(&times, now), timeline_turn_ns(&times)


def sent(list moments):
    """Return when the first and the last bytes of a response were sent."""
    cdef Timeline times
    timeline_reset(&times)
    timeline_begin(&times, 1, 1)
    for moment in moments:
        timeline_note_sent(&times, moment)
    return times.first_sent_ns, times.last_sent_ns


# --- exchange/outcome ---

OUTCOMES = [(<bytes> outcome_name(kind)).decode() for kind in range(OUTCOME_KINDS)]


def outcome(list noted):
    """Return the name and the reason of the outcome that counts. noted: pairs of a name and a reason, in order."""
    cdef Outcome found
    outcome_reset(&found)
    for name, reason in noted:
        outcome_note_text(&found, OUTCOMES.index(name), reason)
    return OUTCOMES[found.kind], found.reason


# --- exchange/reasons ---

REASONS = {
    name: (<bytes> reason_text(number)).decode() for name, number in (
        ("PEER", REASON_PEER), ("CONNECTIONS", REASON_CONNECTIONS), ("ROOM", REASON_ROOM),
        ("APPLICATION", REASON_APPLICATION), ("STOP", REASON_STOP),
    )
}
ALL_REASONS = [(<bytes> reason_text(number)).decode() for number in range(REASON_NONE + 1, <int> REASONS_END)]


# --- exchange/lingering ---

def linger_discard(int fd, int room):
    """Drop what was received on a socket. Return False once its peer has closed."""
    cdef Transport transport
    cdef bytearray scratch = bytearray(room)
    memset(&transport, 0, sizeof(transport))
    transport.fd = fd
    return bool(native_discard(&transport, scratch, room))


def linger_may_end(*, bint ending, int64_t unacknowledged):
    return bool(native_may_end(ending, unacknowledged))


# --- exchange/deadlines and exchange/rates ---

AWAITED = {
    "handshake": AWAITS_HANDSHAKE, "first byte": AWAITS_FIRST_BYTE, "request": AWAITS_REQUEST, "head": AWAITS_HEAD,
    "body": AWAITS_BODY, "reading": AWAITS_READING, "close": AWAITS_CLOSE,
}
LATE = {LATE_CLOSE: "close", LATE_REFUSE: "refuse", LATE_RESET: "reset"}


cdef Timeouts timeouts_of(dict given):
    """Return timeouts of which each is its own power of two, but for those that are given."""
    cdef Timeouts made
    names = (
        "first_byte", "head", "body", "request", "queue", "turn", "write", "keep_alive", "linger", "newcomer", "window",
        "least_received", "least_taken", "handshake")
    values = {name: 1 << position for position, name in enumerate(names)} | given
    if len(values) > len(names):
        raise TypeError(f"there are no such timeouts: {given}")
    made.handshake = values["handshake"]
    made.first_byte, made.head, made.body = values["first_byte"], values["head"], values["body"]
    made.request, made.queue, made.turn = values["request"], values["queue"], values["turn"]
    made.write, made.keep_alive, made.linger = values["write"], values["keep_alive"], values["linger"]
    made.newcomer, made.window = values["newcomer"], values["window"]
    made.least_received, made.least_taken = values["least_received"], values["least_taken"]
    return made


def deadline_after(awaited, *, int64_t since, int64_t started=0, **timeouts):
    cdef Timeouts made = timeouts_of(timeouts)
    return native_deadline(&made, AWAITED[awaited], since, started)


def newcomer_deadline(*, int64_t since, **timeouts):
    cdef Timeouts made = timeouts_of(timeouts)
    return native_newcomer(&made, since)


def late(awaited):
    return LATE[native_late(AWAITED[awaited])]


def is_too_slow(awaited, *, int64_t since, int64_t moved, int64_t now, **timeouts):
    """Return whether a client is too slow, and the pace afterwards: since when, and how much has moved."""
    cdef Timeouts made = timeouts_of(timeouts)
    cdef Pace pace
    pace.since, pace.moved = since, moved
    slow = bool(native_too_slow(&made, AWAITED[awaited], &pace, now))
    return slow, (pace.since, pace.moved)


def next_pace_check(awaited, *, int64_t pace_since, int64_t deadline, int64_t now, **timeouts):
    cdef Timeouts made = timeouts_of(timeouts)
    cdef Pace pace
    pace.since, pace.moved = pace_since, 0
    return native_pace_check(&made, AWAITED[awaited], &pace, deadline, now)


# --- observe/refusals ---

ANSWERS = {ANSWER_ERROR: "error", ANSWER_END: "end", ANSWER_RESET: "reset"}


def refusal(int status, *, bint raw=False, bint awaits_proxy=False, bint shakes_hands=False):
    """Return how a client is answered, the status that is noted, and the names of what counts it."""
    cdef Counters counters
    cdef int answer = refusal_answer(raw, awaits_proxy, shakes_hands)
    memset(&counters, 0, sizeof(counters))
    refusal_counter(&counters, status)[0] += 1
    counts = statistics_of(&counters, 0, 0, 0)
    return ANSWERS[answer], refusal_status(answer, status), [name for name, count in counts.items() if count]
