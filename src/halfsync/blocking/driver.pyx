"""The way of one connection through a thread that it has to itself: receive, run, send, and again.

The models `process`, `thread` and `pool` differ in where that thread comes from; what it does is here. It blocks, in
one place (`waiting.pyx`), always until a deadline on the monotonic clock, and never with the GIL. Before it takes the
GIL again it passes a gate (`native/gate.pxd`). While a connection idles it also watches two bells (`wakeups.pyx`): one
is rung when the server drains or leaves, one when it stops. A server that leaves hands its connections over as each
comes to rest (`handing_off.pyx`); a connection that cannot be handed over at once is served until it can.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport close, write

from halfsync.blocking.client_limit cimport ClientLimit, admission_enter, admission_leave, client_limit
from halfsync.blocking.connection cimport Client, close_client, count_open, drop_exchange
from halfsync.blocking.handing_off cimport adopt, hand_over
from halfsync.blocking.idle_lists cimport (
    CLOSED_NOW, park, rest, rests_any, rests_choose_child, rests_close, rests_closing, rests_free, rests_open,
    rests_vacated, unpark,
)
from halfsync.blocking.receiving cimport advance
from halfsync.blocking.records cimport (
    CARRY_DRAIN, CARRY_LEAVE, CARRY_ON, CARRY_STOP, ENDED, PARKED, REST_IDLE, ClientRecord, Tally, is_leaving,
)
from halfsync.blocking.refusing cimport discard, note_refusal, refuse, shed
from halfsync.blocking.responding cimport turn
from halfsync.blocking.waiting cimport others_wait
from halfsync.blocking.wakeups cimport Bells
from halfsync.exchange.bridging cimport Bridge
from halfsync.exchange.exchange cimport pool_destroy, pool_init
from halfsync.exchange.native_settings cimport (
    bounds_fields, bounds_files, bounds_limits, bounds_place, bounds_proxies, bounds_store, bounds_timeouts,
)
from halfsync.exchange.spool cimport Store
from halfsync.http.trust cimport TrustedPeers, trust_has
from halfsync.listening.endpoints cimport Endpoints
from halfsync.native.gate cimport Gate, gate_close, gate_enter, gate_leave, gate_open
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport (
    add_llong, cas_uint, init_llong, init_uint, load_llong, load_uint, monotonic_ns, store_llong, store_uint,
)
from halfsync.observe.access cimport AccessLog
from halfsync.observe.refusals cimport (
    REASON_CLIENT, REASON_CONNECTIONS, REASON_PEER, REASON_PROCESS, REASON_THREAD,
)
from halfsync.pool.request_queue cimport queue_length
from halfsync.pool.threadpool cimport ThreadPool
from halfsync.shared.client_counts cimport ENTER_REFUSED, KEY_UNTOLD, client_key
from halfsync.shared.slots cimport (
    Place, alone_of, is_alone, is_knocked_at, seat_left, seat_listens, seat_must_look, seat_saw,
)
from halfsync.transport.transport cimport transport_close, transport_cut
from halfsync.wsgi.body cimport BodyBlocks

from halfsync.runtime.originals import os

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    const int EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE

cdef enum:
    RESUME_AT_ONCE = 4  # threads with a request that wait for the GIL at one time: one gets it next, some follow
    END_AT_ONCE = 1  # the same for threads whose connection has ended

# Why a newcomer is answered 503, for `shed`.
CLIENT_FULL, QUEUE_FULL, NO_THREAD, NO_PROCESS = range(4)
cdef const char *REASONS[4]
REASONS[:] = [REASON_CLIENT, REASON_CONNECTIONS, REASON_THREAD, REASON_PROCESS]


cdef class Carrier:
    """What all connections of a server share that has a thread for each: bounds, deadlines, bells and counts.

    One a server. `carry` is for the thread that has the connection, any number of them at once; the rest is for the
    server's own.
    """

    def __cinit__(self, *_args, **_kwargs):
        self.record.drain_fd = self.record.stop_fd = self.record.call_fd = self.record.leaving_fd = -1
        pool_init(&self.record.pool)
        gate_open(&self.record.resuming, RESUME_AT_ONCE)
        gate_open(&self.record.ending, END_AT_ONCE)
        init_uint(&self.record.idlers, 0)

    def __init__(self, parts):
        """Prepare with a model's `Parts`. Raises OSError where descriptors or memory are short."""
        cdef Bridge bridge = parts.bridge
        cdef AccessLog access_log = parts.access_log
        cdef object seat = parts.seat
        cdef Endpoints endpoints = parts.endpoints
        cdef object settings = parts.settings
        cdef bytearray store
        cdef BodyBlocks blocks = BodyBlocks()
        cdef TrustedPeers proxies = bounds_proxies(settings)
        cdef ClientLimit clients = client_limit(settings)
        cdef const Place *place
        self.record.tally = <Tally *> map_shared(sizeof(Tally))
        if self.record.tally == NULL:
            raise MemoryError
        rests_open(&self.record, settings.max_children if settings.model == "process" else 0)
        store = bytearray(sizeof(Store))
        self.record.store = <Store *> <char *> store
        self.kept = (store, blocks, proxies, clients, parts)
        if seat is not None:
            place = bounds_place(seat)
            self.record.board, self.record.seat = place.board, place.seat
        self.record.files = bounds_files(parts.files)
        self.record.proxies = &proxies.trust if proxies is not None else NULL
        self.record.admission = &clients.admission if clients is not None else NULL
        self.record.endpoints = &endpoints.table
        self.bridge = bridge
        if access_log is not None:
            self.record.access = &access_log.log
        self.refusals = parts.refusals
        if self.refusals is not None:
            self.record.refusals = &self.refusals.refusals
        bounds_store(self.record.store, settings)
        bounds_limits(&self.record.limits, settings, self.record.store, bridge.raw)
        self.record.limits.blocks = &blocks.pool
        bounds_timeouts(&self.record.timeouts, settings)
        bounds_fields(&self.record.fields, settings)
        self.bells = Bells()
        self.record.drain_fd, self.record.stop_fd = self.bells.drain_fd, self.bells.stop_fd
        if parts.leaving_fd >= 0:
            self.record.leaving_fd = os.dup(parts.leaving_fd)

    def __dealloc__(self):
        pool_destroy(&self.record.pool)
        rests_free(&self.record)
        gate_close(&self.record.resuming)
        gate_close(&self.record.ending)
        self._close_others()
        unmap_shared(self.record.tally, sizeof(Tally))

    def dismiss(self):
        """Close the bells, once nobody listens to them any more. Only the counts are left."""
        self.bells.close()
        self._close_others()
        self.record.drain_fd = self.record.stop_fd = -1
        self.record.waiting = NULL
        self.pool_threads = None

    cdef void _close_others(self) noexcept:
        """Close what is its own beside the bells."""
        if self.record.call_fd >= 0:
            close(self.record.call_fd)
        if self.record.leaving_fd >= 0:
            close(self.record.leaving_fd)
        self.record.call_fd = self.record.leaving_fd = -1

    def give_up_for(self, ThreadPool threads):
        """Let idle connections make way for those that wait for a thread of this pool. Raises OSError."""
        self.record.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)
        if self.record.call_fd < 0:
            raise OSError(errno, os.strerror(errno))
        self.pool_threads = threads._made()
        self.record.waiting = &self.pool_threads.queue

    def close_bells(self):
        """Close the bells' writing ends in a forked child: they are for the parent to ring, or to drop as it dies."""
        self.bells.leave_to_parent()

    def be_child(self, int told_fd, uint32_t own):
        """Serve one connection, in a child of the process that counts them.

        told_fd: the non-blocking pipe to which the numbers of its signals are written. SIGTERM ends an idle connection
        at once, and another one with its response. It is closed with the carrier. own: the index of this child's word,
        which says since when its connection has waited.
        """
        self.record.is_child = True
        self.record.rests.own = own
        self.record.call_fd = told_fd
        self.settle()

    def settle(self):
        """Say that this process serves: a copy that the application makes of it by fork does not."""
        self.bridge.settle()

    def call(self):
        """Tell one idle connection that another waits for its thread."""
        cdef unsigned long long one = 1
        if load_uint(&self.record.idlers) > 0 and others_wait(&self.record):
            write(self.record.call_fd, &one, sizeof(one))

    def fade(self):
        """Let each connection end with its next response."""
        store_uint(&self.record.tally.fading, 1)

    def drain(self):
        """Ring the bell for idle connections, and let the others end with their response."""
        if load_uint(&self.record.tally.command) < CARRY_DRAIN:
            store_uint(&self.record.tally.command, CARRY_DRAIN)
        self.bells.ring_drain()

    def leave(self, alone):
        """Ring the bell for idle connections, to be handed over, and let the others be so after their response.

        Newcomers are others' from now on, but for those of the listeners in the positions `alone`. Drains where
        connections cannot be handed over.
        """
        cdef unsigned int expected = CARRY_ON
        store_llong(&self.record.tally.alone, alone_of(alone))
        store_uint(&self.record.tally.others_accept, 1)
        if self.record.leaving_fd < 0:
            self.drain()
            return
        cas_uint(&self.record.tally.command, &expected, CARRY_LEAVE)
        self.bells.ring_drain()

    def stop(self):
        """Ring the bell for all: nobody waits for a client any more."""
        store_uint(&self.record.tally.command, CARRY_STOP)
        self.bells.ring_drain()
        self.bells.ring_stop()

    @property
    def draining(self):
        """Whether it was told to leave, to drain or to stop."""
        return load_uint(&self.record.tally.command) != CARRY_ON

    @property
    def leaving(self):
        """Whether it hands connections over; no more once it drains."""
        return is_leaving(&self.record)

    @property
    def others_accept(self):
        """Whether what waits to be adopted is others', and what waits in the backlog of a listener may be."""
        return load_uint(&self.record.tally.others_accept) != 0

    def is_alone(self, int position):
        """Tell whether nobody else accepts on the listener in this position, once others_accept."""
        return is_alone(load_llong(&self.record.tally.alone), position)

    @property
    def stopping(self):
        """Whether it was told to stop."""
        return load_uint(&self.record.tally.command) == CARRY_STOP

    @property
    def drain_bell(self):
        """A descriptor that becomes readable when it is told to leave, to drain, or to stop."""
        return self.record.drain_fd

    @property
    def stop_bell(self):
        """A descriptor that becomes readable when it is told to stop."""
        return self.record.stop_fd

    def turned(self):
        """Count a turn of the loop that accepts."""
        add_llong(&self.record.tally.turns, 1)

    def listens(self, listeners):
        """Tell whether newcomers shall be accepted here, or left to other processes, as long as those accept them."""
        cdef int64_t now
        if self.record.seat == NULL or seat_listens(self.record.board, self.record.seat):
            return True
        now = monotonic_ns()
        if seat_must_look(self.record.seat, now):
            seat_saw(self.record.seat, any(is_knocked_at(listener) for listener in listeners), now)
        return self.record.seat.neglected != 0

    @property
    def deaf(self):
        """Whether this process has its share of the connections, and shall look again soon."""
        return self.record.seat != NULL and load_uint(&self.record.seat.deaf) != 0

    def unlistened(self):
        """Note that the listeners are closed."""
        if self.record.seat != NULL:
            seat_left(self.record.seat)

    def accepted(self):
        """Count a connection that begins."""
        add_llong(&self.record.tally.accepted, 1)
        count_open(&self.record, 1)

    def admit(self, Client client):
        """Count a newcomer for its client. Returns False when that has as many connections as it may have.

        Who must begin with a PROXY header is counted when that has told its client.
        """
        cdef int64_t place
        cdef uint64_t key = KEY_UNTOLD
        if self.record.admission == NULL:
            return True
        if self.record.proxies == NULL:
            key = client_key(client.record.address, client.record.address_length)
        place = admission_enter(self.record.admission, key)
        if place == ENTER_REFUSED:
            add_llong(&self.record.tally.limited, 1)
            return False
        client.record.place = <uint32_t> place
        return True

    def can_make_room(self):
        """Tell whether a connection could be closed for a newcomer: one that idles, or has been silent for long."""
        return rests_any(&self.record)

    def is_making_room(self):
        """Tell whether a connection was closed for a newcomer, and its thread has not given its place back yet."""
        return rests_closing(&self.record)

    def make_room(self):
        """Close the connection that has idled longest, for a newcomer. Returns True if its place is free at once.

        False: the thread of that connection is about to end, or no connection may be closed.
        """
        cdef ClientRecord *parked = NULL
        if rests_close(&self.record, &parked) != CLOSED_NOW:
            return False
        close_client(&self.record, parked)
        return True

    def vacated(self, Client client):
        """Note that the place of a connection that has ended is free."""
        rests_vacated(&self.record, &client.record)

    def choose_child(self):
        """Choose the child that must make room, and return the index of its word. The caller signals it. -1: none."""
        cdef int64_t chosen = rests_choose_child(&self.record)
        if chosen >= 0:
            add_llong(&self.record.tally.made_room, 1)
        return chosen

    def is_chosen(self, uint32_t own):
        """Tell whether the chosen child still has to make room: it has not begun a request since."""
        return load_llong(&self.record.rests.words[own]) == -1

    def has_ended(self, uint32_t own):
        """Note that the child with this word has ended."""
        store_llong(&self.record.rests.words[own], 0)

    def gone(self, uint32_t place, bint last):
        """Count the end of a connection that was handed over. last: none is left, and so no turn is under way."""
        count_open(&self.record, -1)
        if self.record.admission != NULL:
            admission_leave(self.record.admission, place, False)
        if last:
            init_llong(&self.record.tally.running, 0)  # a child that was killed in a turn did not count its end

    def leave_to_child(self, Client client):
        """Close a connection here that a child converses with."""
        drop_exchange(&self.record, &client.record)
        transport_close(&client.record.transport)

    def adopt(self, int queue):
        """Take over a connection that another process has handed over. Returns a Client, or None when none waits.

        queue: the reading end. Raises OSError when descriptors or memory are short, and EOFError when nobody can hand
        over any more. For the thread that accepts.
        """
        return adopt(&self.record, queue)

    def statistics(self):
        """Return counts so far, as a dict."""
        cdef Tally *tally = self.record.tally
        return {
            "accepted": load_llong(&tally.accepted), "adopted": load_llong(&tally.adopted),
            "handed_over": load_llong(&tally.handed_over), "open": load_llong(&tally.open),
            "requests": load_llong(&tally.requests), "refused": load_llong(&tally.refused),
            "shed": load_llong(&tally.shed), "limited": load_llong(&tally.limited),
            "made_room": load_llong(&tally.made_room), "left": load_llong(&tally.left),
            "running": load_llong(&tally.running), "finished": load_llong(&tally.finished), "dropped": 0,
            "queued": queue_length(self.record.waiting) if self.record.waiting != NULL else 0,
            "spooled": load_llong(&self.record.store.used), "turns": load_llong(&tally.turns),
        }

    def carry(self, Client client):
        """Converse with a client until its connection ends. Returns True when it has not, but others wait: put it back.

        Raises nothing that the application or the client does.
        """
        cdef ClientRecord *guest = &client.record
        cdef Gate *gate
        cdef int result = ENDED
        if guest.transport.fd < 0:  # it was closed while it waited in the queue
            return False
        unpark(&self.record, guest)
        if (
            self.record.proxies != NULL and not guest.greeted
            and not trust_has(self.record.proxies, guest.address, guest.address_length)
        ):
            add_llong(&self.record.tally.refused, 1)
            note_refusal(&self.record, guest, 0, REASON_PEER)
            self._end(client)
            self._tell_refusals()
            return False
        guest.waited_ns = monotonic_ns() - guest.put_ns if self.record.waiting != NULL else 0
        try:
            while True:
                with nogil:
                    result = advance(&self.record, guest)
                    gate = &self.record.ending if result == ENDED else &self.record.resuming
                    if result == ENDED and guest.transport.fd >= 0:
                        # A process that the application forked may hold it too: then a close alone goes unnoticed.
                        transport_cut(&guest.transport, True)
                        close_client(&self.record, guest)
                    gate_enter(gate)
                gate_leave(gate)
                if result <= 0:
                    break
                result = ENDED
                if not turn(&self.record, guest, self.bridge):
                    break
                if is_leaving(&self.record) and hand_over(&self.record, guest):
                    break
                if others_wait(&self.record) and load_uint(&self.record.tally.command) <= CARRY_LEAVE:
                    result = PARKED
                    guest.put_ns = monotonic_ns()
                    if guest.exchange == NULL and not (
                        rest(&self.record, guest, REST_IDLE, guest.sent_ns) and park(&self.record, guest)
                    ):
                        result = ENDED
                    break
        finally:
            if result != PARKED:
                if result < ENDED and self.record.limits.raw:
                    note_refusal(&self.record, guest, -result, guest.reason)
                elif result < ENDED:
                    with nogil:
                        refuse(&self.record, guest, -result)
                        gate_enter(&self.record.ending)
                    gate_leave(&self.record.ending)
                self._end(client)
                self._tell_refusals()
        return result == PARKED

    def shed(self, Client client, int why):
        """Answer 503 to a newcomer, without waiting for anything. Returns False when nothing could be said.

        The client is then the caller's to close, once it has had time to read the answer. why: CLIENT_FULL, QUEUE_FULL,
        NO_THREAD or NO_PROCESS.
        """
        cdef bint said = shed(&self.record, &client.record, REASONS[why])
        self._tell_refusals()
        return said

    def discard(self, Client client):
        """Drop some of what a client still sends that is told to leave. Returns False when it has left. Never waits."""
        return discard(&client.record)

    def close(self, Client client):
        """End a connection that nobody converses with."""
        self._end(client)

    def waiting_now(self):
        """Return how many connections wait for a thread."""
        return queue_length(self.record.waiting)

    cdef void _tell_refusals(self) noexcept:
        """Log what was refused: the thread of a connection does that itself, once the client has its answer."""
        if self.refusals is not None:
            self.refusals.tell()

    cdef void _end(self, Client client) noexcept:
        """Close the connection and let go of everything it holds."""
        cdef void *kept = client.record.kept
        if client.record.transport.fd >= 0:
            close_client(&self.record, &client.record)
        if kept != NULL:
            client.record.kept = NULL
            self.bridge.forget(kept)
