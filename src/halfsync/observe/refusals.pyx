"""Log the reasons of refusals in the server's log: the client, the status, the reason, and what was received.

The code that refuses cannot log: the engine never takes the GIL. It makes a note, and a thread that has the GIL logs
it: in the proactor the monitor, in the other models the thread of the connection itself. Any client can send what must
be refused, so the number of notes is limited; the next line says how many refusals were not noted. What was received is
logged escaped and cut, without anything that may be the value of a field with secrets (`secrets.pxd`). Of a stream,
only the bytes in place of its PROXY header are logged.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memmove, memset

from halfsync.exchange.exchange cimport EXCHANGE_PROXY, exchange_begin, exchange_line
from halfsync.exchange.naming cimport exchange_names
from halfsync.exchange.refusal cimport refusal_text
from halfsync.http.forwarded cimport ForwardedInfo
from halfsync.http.grammar cimport BYTE_TOKEN, byte_is
from halfsync.http.trust cimport TrustedPeers
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport (
    add_llong, cas_llong, load_llong, monotonic_ns, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_unlock, swap_llong,
)
from halfsync.observe.client cimport address_parts, address_text, find_client
from halfsync.observe.secrets cimport is_gap, secret_at, shown_bytes
from halfsync.shared.activity cimport Activity, RequestNames, refusal_keep

from halfsync.log import logger

cdef int64_t PACE_NS = 1000000000  # between two notes, once NOTES_MOST came at once


cdef bint is_allowed(Allowance *allowance, int64_t now) noexcept nogil:
    """Take one allowed note, or count a refusal that is not noted. Allowed: NOTES_MOST at once, one each PACE_NS."""
    cdef long long due = load_llong(&allowance.next_ns)
    cdef long long taken
    while True:
        taken = max(due, <long long> (now - (NOTES_MOST - 1) * PACE_NS))
        if taken > now:
            add_llong(&allowance.unlogged, 1)
            return False
        if cas_llong(&allowance.next_ns, &due, taken + PACE_NS):
            return True


cdef void keep_line(Note *note, int which, const char *data, uint32_t length) noexcept nogil:
    """Copy the beginning of a received line, as far as it may be logged."""
    note.lengths[which] = length
    note.shown[which] = min(shown_bytes(data, length), <uint32_t> SHOWN_BYTES)
    memcpy(note.lines[which], data, note.shown[which])


cdef bint is_named(const char *line, uint32_t length) noexcept nogil:
    """Tell whether a line begins with a name and a colon."""
    cdef uint32_t at = 0
    while at < length and byte_is(line[at], BYTE_TOKEN):
        at += 1
    return 0 < at < length and line[at] == c":"


cdef bint follows_secret(const Exchange *exchange, uint32_t begin, uint32_t at) noexcept nogil:
    """Tell whether the line before the one at `at` is a field with a secret. begin: of the request line."""
    cdef uint32_t before = at - 1  # the end of that line
    while before > begin and exchange.data[before - 1] != c"\n":
        before -= 1
    return before > begin and secret_at(exchange.data + before, at - before) > 0


cdef void keep_received(Note *note, const Exchange *exchange) noexcept nogil:
    """Copy the request line, and the line at which the head was refused; or what was received as a PROXY header."""
    cdef uint32_t begin = 0 if exchange.phase == EXCHANGE_PROXY else exchange_begin(exchange)
    cdef uint32_t refused = exchange.head.line
    cdef uint32_t length
    cdef const char *line
    keep_line(note, 0, exchange.data + begin, exchange_line(exchange, begin))
    if exchange.phase != EXCHANGE_PROXY and exchange.head.length == 0 and refused > begin:
        line = exchange.data + refused
        length = exchange_line(exchange, refused)
        keep_line(note, 1, line, length)
        if (
            length > 0 and not is_gap(line[0]) and not is_named(line, length)
            and follows_secret(exchange, begin, refused)
        ):
            note.shown[1] = 0  # it may continue that value


cdef void keep_recent(
    Refusals *refusals, const Exchange *exchange, const uint8_t *address, int address_length, int status,
    int reason
) noexcept nogil:
    """Keep a refusal among the last ones, for the status. Of the request: what was understood of it."""
    cdef ForwardedInfo info
    cdef RequestNames names
    memset(&names, 0, sizeof(RequestNames))
    names.method = names.path = names.id = b""
    if exchange != NULL:
        find_client(exchange, refusals.trust, &info, &address, &address_length)
        if not refusals.raw:
            exchange_names(exchange, &names)
    refusal_keep(
        refusals.recent, monotonic_ns(), 0 if refusals.raw else status, refusal_text(exchange, status, reason), &names,
        address, address_length)


cdef bint refusals_note(
    Refusals *refusals, const Exchange *exchange, const uint8_t *address, int address_length, int status,
    int reason
) noexcept nogil:
    """Note a refusal. See the .pxd."""
    cdef ForwardedInfo info
    cdef const uint8_t *peer = address
    cdef int peer_length = address_length
    cdef Note *note
    cdef bint noted
    if refusals != NULL and refusals.recent != NULL:
        keep_recent(refusals, exchange, address, address_length, status, reason)
    if refusals == NULL or not is_allowed(refusals.allowance, monotonic_ns()):
        return False
    if exchange != NULL:
        find_client(exchange, refusals.trust, &info, &address, &address_length)
    pthread_mutex_lock(&refusals.lock)
    noted = refusals.count < NOTES_MOST
    if noted:
        note = &refusals.notes[refusals.count]
        refusals.count += 1
        memset(note, 0, sizeof(Note))
        note.client_length = min(address_length, <int> ADDRESS_BYTES)
        memcpy(note.client, address, note.client_length)
        note.peer_length = min(peer_length, <int> ADDRESS_BYTES)
        memcpy(note.peer, peer, note.peer_length)
        note.status = 0 if refusals.raw else status
        note.reason = refusal_text(exchange, status, reason)
        note.unlogged = swap_llong(&refusals.allowance.unlogged, 0)
        if exchange != NULL and (not refusals.raw or exchange.phase == EXCHANGE_PROXY):
            keep_received(note, exchange)
            note.id_length = exchange.id_length if note.status > 0 else 0
            memcpy(note.id, exchange.id, note.id_length)
    pthread_mutex_unlock(&refusals.lock)
    if not noted:
        add_llong(&refusals.allowance.unlogged, 1)
    return noted


cdef str line_text(const Note *note, int which):
    """Return the kept part of a received line, with its controls escaped."""
    cdef bytes line = note.lines[which][:note.shown[which]]
    return repr(line)[1:] + (" ..." if note.lengths[which] > note.shown[which] else "")


cdef void log_note(const Note *note) noexcept:
    """Log one refusal."""
    try:
        client = address_parts(note.client, note.client_length)
        peer = address_parts(note.peer, note.peer_length)
        told = address_text(client[0], client[1])
        if peer != client:
            told += f" through {address_text(peer[0], peer[1])}"
        reason = (<bytes> note.reason).decode("ascii")
        received = ", ".join([line_text(note, which) for which in range(2) if note.lengths[which] > 0])
        text = f"{reason}; received {received}" if received else reason
        if note.unlogged > 0:
            text += f" ({note.unlogged} more were refused before)"
        id = note.id[:note.id_length].decode("ascii")
        if id:
            text += f"; request id {id}"
        details = {
            "remote": client[0], "remote_port": client[1] or None, "peer": peer[0], "peer_port": peer[1] or None,
            "status": note.status or None, "request_id": id, "reason": reason, "received": received,
            "left_out": note.unlogged or None,
        }
        if note.status == 0:
            logger().info("closed a connection from %s: %s", told, text, details=details)
        else:
            logger().info("refused a request from %s with %d: %s", told, note.status, text, details=details)
    except BaseException:  # noqa: BLE001 - memory may be short; a refusal must not end a thread
        pass


cdef class RefusalLog:
    """Notes of refusals that wait to be logged. A server has one; its model notes and logs."""

    def __cinit__(self, *_args, **_kwargs):
        memset(&self.refusals, 0, sizeof(Refusals))
        pthread_mutex_init(&self.refusals.lock, NULL)
        self.refusals.allowance = <Allowance *> map_shared(sizeof(Allowance))
        if self.refusals.allowance == NULL:
            raise MemoryError

    def __init__(self, TrustedPeers trusted not None, bint raw=False):
        """trusted: the peers whose forwarded fields are believed. raw: no HTTP is spoken, so there is no answer."""
        self.pinned = trusted
        self.refusals.trust = &trusted.trust
        self.refusals.raw = raw

    def keep(self, Activity activity not None):
        """Keep the last refusals there, too."""
        self.pinned = (self.pinned, activity)
        self.refusals.recent = activity.table

    def __dealloc__(self):
        pthread_mutex_destroy(&self.refusals.lock)
        unmap_shared(self.refusals.allowance, sizeof(Allowance))

    cpdef void log_notes(self) noexcept:
        """Log the notes, at the level info. For any thread; none waits for another."""
        cdef Note note
        cdef bint found = True
        while found:
            pthread_mutex_lock(&self.refusals.lock)
            found = self.refusals.count > 0
            if found:
                note = self.refusals.notes[0]
                self.refusals.count -= 1
                memmove(&self.refusals.notes[0], &self.refusals.notes[1], self.refusals.count * sizeof(Note))
            pthread_mutex_unlock(&self.refusals.lock)
            if found:
                log_note(&note)

    def close(self):
        """Log the notes that are left, and how many refusals were not noted."""
        self.log_notes()
        unlogged = swap_llong(&self.refusals.allowance.unlogged, 0)
        if unlogged > 0:
            logger().info("%d more requests were refused, and not logged", unlogged)
