"""The way of one connection through a thread that it has to itself: receive, run, send, and again.

The models `process`, `thread` and `pool` differ in where that thread comes from; what it does is here. It blocks, in
one place (`Carrier.wait`), always until a deadline on the monotonic clock, and never with the GIL. While a connection
idles it also watches two bells, pipes whose writing ends are closed to ring them: one when the server drains, one when
it stops. A forked child inherits the reading ends, so that it hears of the death of its parent as well. A server that
leaves rings the first bell too: its connections are handed over as each comes to rest, and what cannot be handed over
at once is tried again every few milliseconds, and served meanwhile.
"""
import os
from mmap import PAGESIZE, mmap

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, EPROTO, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.uio cimport iovec
from posix.unistd cimport close, read, write

from halfsync.bridging cimport Origin, TURN_COMPLETE, TURN_CUT, TURN_RESET
from halfsync.client_counts cimport ENTER_REFUSED, KEY_UNTOLD, client_key
from halfsync.exchange cimport (
    EXCHANGE_BODY, EXCHANGE_HEAD, EXCHANGE_PROXY, exchange_follow, exchange_has_more, exchange_received, exchange_room,
    pool_destroy, pool_get, pool_init, pool_put,
)
from halfsync.handover cimport (
    HANDOVER_BYTES, HANDOVER_DESERTED, HANDOVER_OVER, HANDOVER_REFUSED, HANDOVER_SENT, HANDOVER_SHORT, HANDOVER_TAKEN,
    Handover, handover_send, handover_take,
)
from halfsync.http.proxy_protocol cimport PROXY_V2_BYTES
from halfsync.http.response cimport REFUSAL_BYTES, write_refusal
from halfsync.http.trust cimport TrustedPeers, trust_has
from halfsync.models.admission cimport (
    ClientLimit, admission_enter, admission_leave, admission_tell, client_limit,
)
from halfsync.models.blocking_sink cimport BlockingSink, blocking_sink, sink_bytes
from halfsync.models.bounds cimport (
    bounds_files, bounds_limits, bounds_place, bounds_proxies, bounds_store, bounds_timeouts,
)
from halfsync.engine.poller cimport reset_on_close, send_continue
from halfsync.native.sync cimport (
    add_llong, add_uint, cas_uint, init_llong, init_uint, load_llong, load_uint, monotonic_ns, store_uint, sub_uint,
)
from halfsync.observe.access cimport AccessLog, Entry, log_exchange, log_request
from halfsync.pace cimport Pace, pace_begin, pace_fails
from halfsync.request_queue cimport queue_length
from halfsync.seats cimport Place, is_knocked_at, seat_count, seat_listens, seat_must_look, seat_saw
from halfsync.static.answering cimport ANSWER_BYTES, Answer
from halfsync.threadpool cimport ThreadPool
from halfsync.wsgi.body cimport BodyBlocks

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *watched, unsigned long count, int timeout_ms)
    const short POLLIN

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    struct sockaddr_storage:
        pass
    ctypedef unsigned int socklen_t
    const int MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_RDWR, SHUT_WR, SOCK_NONBLOCK, SOCK_CLOEXEC
    ssize_t c_recv "recv" (int fd, void *data, size_t length, int flags)
    ssize_t c_send "send" (int fd, const void *data, size_t length, int flags)
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)
    int shutdown(int fd, int how)

cdef extern from "<signal.h>" nogil:
    const int SIGTERM

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    const int EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE

cdef enum:
    SCRATCH_BYTES = 64 * 1024  # received at once where the exchange has no better place
    DISCARDS = 128  # receives before a close: more than a socket's buffer holds
    RETRY_AFTER_S = 1  # told to a client that there was no room for

cdef int64_t SLICE_NS = 2000000  # that an idle connection is watched for while others wait for its thread
cdef int64_t HAND_OVER_AGAIN_NS = 5000000  # after the queue was full; doubled each time, since each thread tries
cdef int64_t HAND_OVER_MOST_NS = 80000000
cdef int64_t IDLE_NS = 1000000000  # after which it is closed for them

# How waiting ended.
cdef enum Waited:
    WAITED_READY
    WAITED_LATE               # the deadline has passed
    WAITED_TOLD               # the server drains, or others wait for this thread; told to idle connections only
    WAITED_STOPPED            # the server stops

# What became of a connection. Above 0 a request is complete; below -1 it must be refused with -status.
cdef enum:
    ENDED = -1
    PARKED = 0                # it has nothing to say, and others wait

cdef enum:
    NOT_A_FILE = -1           # beside a TurnEnd: the request is the application's


cdef class Client:
    """A connected client. Whoever has it converses with it; only one thread at a time."""

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)


def accept(int listener, int index):
    """Accept from a listening, non-blocking socket. Returns a Client, or None when nobody waits.

    index: of the listener, for SERVER_NAME and SERVER_PORT. Raises OSError when descriptors or memory are short, or the
    system forbids it.
    """
    cdef Client client
    cdef sockaddr_storage address
    cdef socklen_t length
    cdef int fd
    while True:
        length = sizeof(address)
        fd = accept4(listener, <sockaddr *> &address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            break
        if errno == EAGAIN:
            return None
        if errno not in (EINTR, ECONNABORTED, EPROTO):
            raise OSError(errno, os.strerror(errno))
    client = Client.__new__(Client)
    client.fd = fd
    client.address_length = <uint8_t> min(length, <socklen_t> ADDRESS_BYTES)
    memcpy(client.address, &address, client.address_length)
    client.listener = index
    client.put_ns = client.idle_ns = monotonic_ns()
    return client


cdef class Carrier:
    """What all connections of a server share that has a thread for each: bounds, deadlines, bells and counts.

    One a server. `carry` is for the thread that has the connection, any number of them at once; the rest is for the
    server's own.
    """

    def __cinit__(self, *_args, **_kwargs):
        self.drain_fd = self.stop_fd = self.call_fd = self.leaving_fd = -1
        pool_init(&self.pool)
        init_uint(&self.idlers, 0)

    def __init__(
        self, Bridge bridge, settings, AccessLog access_log=None, files=None, seat=None, int leaving_fd=-1
    ):
        """Prepare. leaving_fd: where connections are handed over to when the server leaves; copied; -1: nowhere."""
        cdef unsigned char[:] shared
        cdef bytearray store
        cdef BodyBlocks blocks = BodyBlocks()
        cdef const Place *place
        cdef TrustedPeers proxies = bounds_proxies(settings)
        cdef ClientLimit clients = client_limit(settings)
        page = mmap(-1, PAGESIZE)
        shared = page
        self.tally = <Tally *> &shared[0]
        store = bytearray(sizeof(Store))
        self.store = <Store *> <char *> store
        self.bells = [-1, -1]
        self.kept = (page, shared, store, blocks, access_log, files, proxies, clients, seat)
        if seat is not None:
            place = bounds_place(seat)
            self.board, self.seat = place.board, place.seat
        self.files = bounds_files(files)
        self.proxies = &proxies.trust if proxies is not None else NULL
        self.admission = &clients.admission if clients is not None else NULL
        self.bridge = bridge
        if access_log is not None:
            self.access = &access_log.log
        bounds_store(self.store, settings)
        bounds_limits(&self.limits, settings, self.store, bridge.raw)
        self.limits.blocks = &blocks.pool
        bounds_timeouts(&self.timeouts, settings)
        self.keep_alive = settings.keep_alive > 0
        self.server_header = settings.server_header
        self.drain_fd, self.bells[0] = os.pipe()
        self.stop_fd, self.bells[1] = os.pipe()
        if leaving_fd >= 0 and not bridge.raw:
            self.leaving_fd = os.dup(leaving_fd)

    def __dealloc__(self):
        pool_destroy(&self.pool)
        if self.bells is not None:
            self.dismiss()

    def dismiss(self):
        """Close the bells, once nobody listens to them any more. Only the counts are left."""
        self.close_bells()
        for fd in (self.drain_fd, self.stop_fd, self.call_fd, self.leaving_fd):
            if fd >= 0:
                close(fd)
        self.drain_fd = self.stop_fd = self.call_fd = self.leaving_fd = -1
        self.waiting = NULL
        self.pool_threads = None

    def give_up_for(self, ThreadPool threads):
        """Let idle connections make way for those that wait for a thread of this pool. Raises OSError."""
        self.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)
        if self.call_fd < 0:
            raise OSError(errno, os.strerror(errno))
        self.pool_threads = threads._made()
        self.waiting = &self.pool_threads.queue

    def close_bells(self):
        """Close the bells' writing ends in a forked child: they are for the parent to ring, or to drop as it dies."""
        for which in (0, 1):
            self._drop(which)

    def be_child(self, int told_fd):
        """Serve one connection, in a child of the process that counts them.

        told_fd: where the numbers of its signals are written to, non-blocking; SIGTERM ends an idle connection. It is
        closed with the carrier.
        """
        self.is_child = True
        self.call_fd = told_fd
        self.settle()

    def settle(self):
        """Say that this process serves: a copy that the application makes of it by fork does not."""
        self.bridge.settle()

    def end_with_response(self):
        """Let the connection of this child end with its response."""
        self.leaving = True

    def call(self):
        """Tell one idle connection that another waits for a thread, unless a free one is on its way."""
        cdef unsigned long long one = 1
        if load_uint(&self.idlers) > 0 and self.waiting.length > self.waiting.waking:
            write(self.call_fd, &one, sizeof(one))

    def fade(self):
        """Let each connection end with its next response."""
        store_uint(&self.tally.fading, 1)

    def drain(self):
        """Ring the bell for idle connections, and let the others end with their response."""
        if load_uint(&self.tally.command) < CARRY_DRAIN:
            store_uint(&self.tally.command, CARRY_DRAIN)
        self._ring(0)

    def leave(self):
        """Ring the bell for idle connections, to be handed over, and let the others be so after their response.

        Newcomers are others' from now on. Drains where connections cannot be handed over.
        """
        cdef unsigned int expected = CARRY_ON
        store_uint(&self.tally.others_accept, 1)
        if self.leaving_fd < 0:
            self.drain()
            return
        cas_uint(&self.tally.command, &expected, CARRY_LEAVE)
        self._ring(0)

    def stop(self):
        """Ring the bell for all: nobody waits for a client any more."""
        store_uint(&self.tally.command, CARRY_STOP)
        self._ring(0)
        self._ring(1)

    def _ring(self, int which):
        """Ring a bell for good. By a byte that nobody takes, since others may hold its writing end open as well."""
        if self.bells[which] >= 0:
            write(self.bells[which], b"!", 1)
            self._drop(which)

    def _drop(self, int which):
        if self.bells[which] >= 0:
            os.close(self.bells[which])
            self.bells[which] = -1

    @property
    def draining(self):
        """Whether it was told to leave, to drain or to stop."""
        return load_uint(&self.tally.command) != CARRY_ON

    @property
    def leaving(self):
        """Whether it hands connections over; no more once it drains."""
        return self.is_leaving()

    @property
    def others_accept(self):
        """Whether what waits in the backlog, or to be adopted, is others'."""
        return load_uint(&self.tally.others_accept) != 0

    @property
    def stopping(self):
        """Whether it was told to stop."""
        return load_uint(&self.tally.command) == CARRY_STOP

    @property
    def drain_bell(self):
        """A descriptor that becomes readable when it is told to leave, to drain, or to stop."""
        return self.drain_fd

    @property
    def stop_bell(self):
        """A descriptor that becomes readable when it is told to stop."""
        return self.stop_fd

    def turned(self):
        """Count a turn of the loop that accepts."""
        add_llong(&self.tally.turns, 1)

    cdef void count_open(self, int change) noexcept nogil:
        add_llong(&self.tally.open, change)
        if self.seat != NULL:
            seat_count(self.seat, change)

    def listens(self, listeners):
        """Tell whether newcomers shall be accepted here, or left to other processes, as long as those accept them."""
        cdef int64_t now
        if self.seat == NULL or seat_listens(self.board, self.seat):
            return True
        now = monotonic_ns()
        if seat_must_look(self.seat, now):
            seat_saw(self.seat, any(is_knocked_at(listener) for listener in listeners), now)
        return self.seat.neglected != 0

    @property
    def deaf(self):
        """Whether this process has its share of the connections, and shall look again soon."""
        return self.seat != NULL and load_uint(&self.seat.deaf) != 0

    def accepted(self):
        """Count a connection that begins."""
        add_llong(&self.tally.accepted, 1)
        self.count_open(1)

    def admit(self, Client client):
        """Count a newcomer for its client. Returns False when that has as many connections as it may have.

        Who must begin with a PROXY header is counted when that has told its client.
        """
        cdef int64_t place
        cdef uint64_t key = KEY_UNTOLD
        if self.admission == NULL:
            return True
        if self.proxies == NULL:
            key = client_key(client.address, client.address_length)
        place = admission_enter(self.admission, key)
        if place == ENTER_REFUSED:
            add_llong(&self.tally.limited, 1)
            return False
        client.place = <uint32_t> place
        return True

    def gone(self, uint32_t place, bint last):
        """Count the end of a connection that was handed over. last: none is left, and so no turn is under way."""
        self.count_open(-1)
        if self.admission != NULL:
            admission_leave(self.admission, place, False)
        if last:
            init_llong(&self.tally.running, 0)  # a child that was killed in a turn did not count its end

    def leave_to_child(self, Client client):
        """Close a connection here that a child converses with."""
        self.drop_exchange(client)
        close(client.fd)
        client.fd = -1

    def adopt(self, int queue, int listeners):
        """Take over a connection that another process has handed over. Returns a Client, or None when none waits.

        queue: the reading end. listeners: how many there are. Raises OSError when descriptors or memory are short, and
        EOFError when nobody can hand over any more.
        """
        cdef char buffer[HANDOVER_BYTES]
        cdef Handover handover
        cdef int taken = HANDOVER_REFUSED
        while taken == HANDOVER_REFUSED:
            taken = handover_take(queue, &handover, buffer)
            # Whether it begins with a PROXY header was decided where it was accepted; here nobody may read it.
            if taken == HANDOVER_TAKEN and handover.awaits_proxy and self.proxies == NULL:
                close(handover.fd)
                taken = HANDOVER_REFUSED
        if taken == HANDOVER_SHORT:
            raise OSError(EMFILE, os.strerror(EMFILE))
        if taken == HANDOVER_OVER:
            raise EOFError
        if taken != HANDOVER_TAKEN:
            return None
        return self._begin(&handover, listeners)

    cdef Client _begin(self, const Handover *handover, int listeners):
        """Make a client of a record: as if it had been accepted here, and its bytes been received just now."""
        cdef Client client = Client.__new__(Client)
        cdef const char *data = handover.data
        cdef uint32_t left = handover.length
        cdef char *to
        cdef size_t room
        client.fd = handover.fd
        client.address_length = handover.address_length
        memcpy(client.address, handover.address, handover.address_length)
        client.listener = handover.listener if handover.listener < listeners else 0
        client.greeted = not handover.awaits_proxy
        client.adopted = True
        client.requests = handover.requests
        client.put_ns = client.idle_ns = monotonic_ns()
        add_llong(&self.tally.adopted, 1)
        self.count_open(1)
        if left > 0:
            client.exchange = pool_get(&self.pool)
            client.unframed = True
        while left > 0 and client.exchange != NULL:
            to = exchange_room(client.exchange, &self.limits, &room)
            if to == NULL:
                break
            room = min(room, <size_t> left)
            memcpy(to, data, room)
            client.exchange.filled += <uint32_t> room
            data += room
            left -= <uint32_t> room
        if left > 0:  # memory is short
            self.end(client)
            return None
        return client

    def statistics(self):
        """Return counts so far, as a dict."""
        cdef Tally *tally = self.tally
        return {
            "accepted": load_llong(&tally.accepted), "adopted": load_llong(&tally.adopted),
            "handed_over": load_llong(&tally.handed_over), "open": load_llong(&tally.open),
            "requests": load_llong(&tally.requests), "refused": load_llong(&tally.refused),
            "shed": load_llong(&tally.shed), "limited": load_llong(&tally.limited), "left": load_llong(&tally.left),
            "running": load_llong(&tally.running), "spooled": load_llong(&self.store.used),
            "queued": queue_length(self.waiting) if self.waiting != NULL else 0, "dropped": 0,
            "turns": load_llong(&tally.turns),
        }

    def carry(self, Client client):
        """Converse with a client until its connection ends. Returns True when it has not, but others wait: put it back.

        Raises nothing that the application or the client does.
        """
        cdef int result = ENDED
        if (
            self.proxies != NULL and not client.greeted
            and not trust_has(self.proxies, client.address, client.address_length)
        ):
            add_llong(&self.tally.refused, 1)
            self.end(client)
            return False
        client.waited_ns = monotonic_ns() - client.put_ns if self.waiting != NULL else 0
        try:
            while True:
                with nogil:
                    result = self.advance(client)
                if result == ENDED and client.fd >= 0:
                    # A child that the application forked may hold the socket open too: a close alone would not be seen.
                    shutdown(client.fd, SHUT_RDWR)
                if result <= 0:
                    break
                result = ENDED
                if not self.turn(client):
                    break
                if self.is_leaving() and self.hand_over(client):
                    break
                if self.others_wait() and load_uint(&self.tally.command) <= CARRY_LEAVE:
                    result = PARKED
                    client.put_ns = monotonic_ns()
                    break
        finally:
            if result != PARKED:
                if result < ENDED and not self.limits.raw:
                    with nogil:
                        self.refuse(client, -result)
                self.end(client)
        return result == PARKED

    def shed(self, Client client):
        """Answer that there is no room, without waiting for anything. Returns False when nothing could be said.

        The client is then the caller's to close, once it has had time to read the answer.
        """
        cdef char response[REFUSAL_BYTES]
        cdef Entry entry
        cdef int length
        add_llong(&self.tally.shed, 1)
        self.leave_client(client)
        if self.bridge.raw:
            reset_on_close(client.fd)
            return False
        length = write_refusal(response, 503, RETRY_AFTER_S, True, self.server_header)
        c_send(client.fd, response, length, MSG_DONTWAIT | MSG_NOSIGNAL)
        shutdown(client.fd, SHUT_WR)
        if self.access != NULL:
            memset(&entry, 0, sizeof(entry))
            entry.address = client.address
            entry.address_length = client.address_length
            entry.status = 503
            log_request(self.access, &entry)
        return True

    def discard(self, Client client):
        """Drop some of what a client still sends that is told to leave. Returns False when it has left. Never waits."""
        cdef char scratch[SCRATCH_BYTES]
        cdef ssize_t length
        for _ in range(DISCARDS):
            length = c_recv(client.fd, scratch, SCRATCH_BYTES, MSG_DONTWAIT)
            if length <= 0:
                return length < 0 and (errno == EAGAIN or errno == EINTR)
        return True

    def close(self, Client client):
        """End a connection that nobody converses with."""
        self.end(client)

    def waiting_now(self):
        """Return how many connections wait for a thread."""
        return queue_length(self.waiting)

    cdef bint others_wait(self) noexcept nogil:
        """Tell whether connections wait for a thread."""
        return self.waiting != NULL and queue_length(self.waiting) > 0

    cdef bint called(self) noexcept nogil:
        """Tell whether a call is for this thread: in the pool each is for one, and may be heard too late."""
        cdef unsigned long long number
        cdef unsigned char signals[64]
        cdef ssize_t got, position
        if self.waiting == NULL:
            got = read(self.call_fd, signals, sizeof(signals))
            for position in range(got):
                if signals[position] == SIGTERM:
                    self.leaving = True
            return self.leaving
        return read(self.call_fd, &number, sizeof(number)) > 0 and self.others_wait()

    cdef bint is_leaving(self) noexcept nogil:
        """Tell whether each connection that comes to rest is to be handed over."""
        return load_uint(&self.tally.command) == CARRY_LEAVE

    cdef bint hand_over(self, Client client) noexcept nogil:
        """Hand a connection at rest over to another process: between two requests, or with a part of a head.

        Returns True once it is closed here. False: the queue is full, or nobody is left who could adopt; then the
        server drains from now on.
        """
        cdef unsigned int command = CARRY_LEAVE
        cdef Exchange *exchange = client.exchange
        cdef Handover handover
        cdef int sent
        handover.data = NULL
        handover.length = 0
        if exchange != NULL:
            handover.data = exchange.data + exchange.used
            handover.length = exchange.filled - exchange.used
        if client.kept != NULL or handover.length > HANDOVER_BYTES:
            return False
        handover.fd = client.fd
        handover.listener = client.listener
        handover.awaits_proxy = self.proxies != NULL and not client.greeted
        handover.requests = client.requests
        handover.address_length = client.address_length
        memcpy(handover.address, client.address, client.address_length)
        sent = handover_send(self.leaving_fd, &handover)
        if sent == HANDOVER_DESERTED:
            cas_uint(&self.tally.command, &command, CARRY_DRAIN)
        if sent != HANDOVER_SENT:
            return False
        self.drop_exchange(client)
        close(client.fd)
        client.fd = -1
        self.leave_client(client)
        add_llong(&self.tally.handed_over, 1)
        if not self.is_child:
            self.count_open(-1)
        return True

    cdef int wait(self, int fd, short events, int64_t deadline, bint bell, bint call) noexcept nogil:
        """Wait until the socket is ready, at least once looking at it. Returns a Waited.

        bell: watch the one that is rung to drain or to leave. call: watch for others who wait for this thread.
        """
        cdef pollfd watched[4]
        cdef int count = 4 if bell or call else 2
        cdef int64_t left
        cdef int happened
        memset(watched, 0, sizeof(watched))
        watched[0].fd = fd
        watched[0].events = events
        watched[1].fd = self.stop_fd
        watched[2].fd = self.drain_fd if bell else -1
        watched[3].fd = self.call_fd if call else -1
        watched[1].events = watched[2].events = watched[3].events = POLLIN
        while True:
            left = max(<int64_t> 0, deadline - monotonic_ns())
            happened = poll(watched, count, <int> min((left + 999999) // 1000000, <int64_t> 86400000))
            if happened < 0:
                if errno == EINTR:
                    continue
                return WAITED_STOPPED
            if watched[0].revents:
                return WAITED_READY
            if watched[1].revents:
                if load_uint(&self.tally.command) == CARRY_STOP:
                    return WAITED_STOPPED
                watched[1].fd = -1  # nobody has told: the parent is dead, and what is under way can still be finished
            if watched[2].revents:
                return WAITED_TOLD
            if watched[3].revents and self.called():
                return WAITED_TOLD
            if happened == 0 and monotonic_ns() >= deadline:
                return WAITED_LATE

    cdef int wait_idle(self, int fd, int64_t deadline, bint bell) noexcept nogil:
        """Wait for bytes on an idle connection; for a moment only while others wait for its thread. Returns a Waited.

        It counts as an idler before it looks whether others wait: who comes after that look will call.
        """
        cdef int waited
        add_uint(&self.idlers, 1)
        if self.others_wait():
            deadline = min(deadline, monotonic_ns() + SLICE_NS)
        waited = self.wait(fd, POLLIN, deadline, bell, True)
        sub_uint(&self.idlers, 1)
        return waited

    cdef int idle(self, Client client) noexcept nogil:
        """Wait for the first byte of a request. Returns 1 when it is there, else ENDED or PARKED.

        While the server leaves the connection is handed over, and then has ended here.
        """
        cdef int64_t allowed = self.timeouts.keep_alive if client.requests > 0 else self.timeouts.first_byte
        cdef int64_t deadline = client.idle_ns + allowed
        cdef int64_t now
        cdef int64_t look
        cdef int64_t pause = HAND_OVER_AGAIN_NS
        cdef int waited
        cdef bint leaving
        while True:
            leaving = self.is_leaving()
            if leaving:
                if self.hand_over(client):
                    return ENDED
                leaving = self.is_leaving()  # no more where nobody is left who could adopt
            look = min(deadline, monotonic_ns() + pause) if leaving else deadline
            waited = self.wait_idle(client.fd, look, not leaving)  # its bell has rung
            if waited == WAITED_READY:
                return 1
            now = monotonic_ns()
            if leaving and waited == WAITED_LATE and now < deadline and not self.others_wait():
                pause = min(pause * 2, HAND_OVER_MOST_NS)
                continue
            if leaving or waited != WAITED_TOLD or not self.is_leaving():
                break
        if waited == WAITED_STOPPED or load_uint(&self.tally.command) > CARRY_LEAVE or self.waiting == NULL:
            return ENDED
        if now >= deadline:
            return ENDED
        if not leaving and not self.limits.raw and client.requests > 0 and now - client.idle_ns > IDLE_NS:
            return ENDED
        client.put_ns = now
        return PARKED

    cdef int advance(self, Client client) noexcept nogil:
        """Go on until a request is complete (1), must be refused (-status), or the connection is ENDED or PARKED."""
        cdef Exchange *exchange = client.exchange
        cdef int result = 0
        if exchange == NULL:
            result = self.idle(client)
            if result <= 0:
                return result
            exchange = client.exchange = pool_get(&self.pool)
            if exchange == NULL:
                return ENDED
        elif not client.unframed and exchange_has_more(exchange):  # what was received behind the last request
            exchange_follow(exchange)
        client.unframed = False
        exchange.started_ns = monotonic_ns()
        result = 0
        if self.proxies != NULL and not client.greeted:
            exchange.phase = EXCHANGE_PROXY
            result = self.greet(client)
            if result == 0 and exchange.filled == 0:
                self.drop_exchange(client)
                return self.advance(client)
        elif exchange.filled > 0:
            result = exchange_received(exchange, &self.limits, exchange.data + exchange.filled, 0)
        if result != 0:
            return result
        client.idle_ns = 0
        return self.receive(client)

    cdef int greet(self, Client client) noexcept nogil:
        """Receive the PROXY header that a connection begins with; then the client is who that tells.

        Returns what exchange_received says of the bytes behind it, or ENDED.
        """
        cdef char scratch[PROXY_V2_BYTES]
        cdef Exchange *exchange = client.exchange
        cdef int64_t deadline = exchange.started_ns + self.timeouts.head
        cdef char *data
        cdef size_t room
        cdef ssize_t length
        cdef int result = 0
        if exchange.filled > 0:  # it was adopted with a part of it
            result = exchange_received(exchange, &self.limits, exchange.data + exchange.filled, 0)
        while exchange.phase == EXCHANGE_PROXY and result >= 0:
            room = sizeof(scratch)
            data = exchange_room(exchange, &self.limits, &room)
            if data == NULL:
                data = scratch
                room = sizeof(scratch)
            length = c_recv(client.fd, data, room, MSG_DONTWAIT)
            if length > 0:
                result = exchange_received(exchange, &self.limits, data, length)
            elif length < 0 and errno == EAGAIN:
                if self.wait(client.fd, POLLIN, deadline, False, False) == WAITED_STOPPED:
                    return ENDED
            elif length == 0 or errno != EINTR:
                add_llong(&self.tally.left, 1)
                return ENDED
            if monotonic_ns() >= deadline:
                break
        if exchange.phase == EXCHANGE_PROXY:
            add_llong(&self.tally.refused, 1)
            return ENDED
        client.greeted = True
        client.idle_ns = exchange.started_ns = monotonic_ns()
        if exchange.proxy.address_length > 0:
            client.address_length = exchange.proxy.address_length
            memcpy(client.address, exchange.proxy.address, client.address_length)
            if self.admission != NULL and not self.recognize(client):
                return -503
        return result

    cdef bint recognize(self, Client client) noexcept nogil:
        """Count a connection for the client that its PROXY header tells. Returns False when that has its limit."""
        cdef int64_t place = admission_tell(
            self.admission, client.place, client_key(client.address, client.address_length))
        if place != ENTER_REFUSED:
            client.place = <uint32_t> place
            return True
        add_llong(&self.tally.shed, 1)
        add_llong(&self.tally.limited, 1)
        if self.limits.raw:
            reset_on_close(client.fd)
        return False

    cdef void leave_client(self, Client client) noexcept nogil:
        """Count a connection for its client no more."""
        if self.admission != NULL:
            admission_leave(self.admission, client.place, self.is_child)
            client.place = 0

    cdef int64_t next_look(self, const Exchange *exchange, const Pace *pace, int64_t since) noexcept nogil:
        """Return when a request must be complete, or have gone on since `since`, or have its pace judged."""
        cdef int64_t deadline
        if exchange.phase != EXCHANGE_BODY:
            return exchange.started_ns + self.timeouts.head
        deadline = min(since + self.timeouts.body, pace.since + self.timeouts.window)
        if self.timeouts.request > 0:
            deadline = min(deadline, exchange.started_ns + self.timeouts.request)
        return deadline

    cdef bint is_late(self, const Exchange *exchange, Pace *pace, int64_t since) noexcept nogil:
        """Tell whether a request has not come as fast as it must."""
        cdef int64_t now = monotonic_ns()
        if exchange.phase == EXCHANGE_BODY and pace_fails(
            pace, now, self.timeouts.window, self.timeouts.least_received
        ):
            return True
        return now >= self.next_look(exchange, pace, since)

    cdef int wait_head(self, Client client, int64_t deadline, int64_t *pause) noexcept nogil:
        """Wait for more of a head. While the server leaves the connection is handed over, and then has STOPPED here.

        pause: ns until that is tried again; 0 once whoever would tell of leaving is dead. Returns a Waited.
        """
        cdef bint bell
        cdef int waited
        if self.is_leaving():
            if self.hand_over(client):
                return WAITED_STOPPED
            deadline = min(deadline, monotonic_ns() + max(pause[0], HAND_OVER_AGAIN_NS))
            pause[0] = min(pause[0] * 2, HAND_OVER_MOST_NS)
        bell = pause[0] > 0 and load_uint(&self.tally.command) == CARRY_ON
        waited = self.wait(client.fd, POLLIN, deadline, bell, False)
        if waited == WAITED_TOLD and load_uint(&self.tally.command) == CARRY_ON:
            pause[0] = 0
        return waited

    cdef int receive(self, Client client) noexcept nogil:
        """Receive the rest of a request whose first byte has come. Returns as advance."""
        cdef char scratch[SCRATCH_BYTES]
        cdef Exchange *exchange = client.exchange
        cdef Pace pace  # of the body
        cdef bint in_body = exchange.phase == EXCHANGE_BODY
        cdef int64_t since = monotonic_ns()  # when the body last went on
        cdef int64_t look
        cdef int64_t pause = HAND_OVER_AGAIN_NS
        cdef char *data
        cdef size_t room
        cdef ssize_t length
        cdef int result
        pace_begin(&pace, since)
        while True:
            if exchange.want_continue:
                exchange.want_continue = False
                send_continue(client.fd)
            room = SCRATCH_BYTES
            data = exchange_room(exchange, &self.limits, &room)
            if data == NULL:
                data = scratch
                room = SCRATCH_BYTES
            length = c_recv(client.fd, data, room, MSG_DONTWAIT)
            if length > 0:
                result = exchange_received(exchange, &self.limits, data, length)
                if result != 0:
                    return result
                if exchange.phase == EXCHANGE_BODY:
                    since = monotonic_ns()
                    if in_body:
                        pace.moved += length
                    else:
                        in_body = True
                        pace_begin(&pace, since)
            elif length < 0 and errno == EINTR:
                continue
            elif length < 0 and errno == EAGAIN:
                look = self.next_look(exchange, &pace, since)
                if exchange.phase == EXCHANGE_HEAD:
                    result = self.wait_head(client, look, &pause)
                else:
                    result = self.wait(client.fd, POLLIN, look, False, False)
                if result == WAITED_READY:
                    continue
                if result == WAITED_STOPPED:
                    return ENDED
            else:
                if exchange.filled > 0:
                    add_llong(&self.tally.left, 1)
                return ENDED
            if self.is_late(exchange, &pace, since):
                return -408

    cdef int answer_file(self, Exchange *exchange, Sink *sink) noexcept nogil:
        """Answer a request with a static file, if it is for one. Returns a TurnEnd, or NOT_A_FILE."""
        cdef char buffer[ANSWER_BYTES]
        cdef Answer answer
        cdef iovec vector
        cdef int result
        if not self.files.answer(self.files, exchange, sink.stays, buffer, &answer):
            return NOT_A_FILE
        if answer.length > 0:
            result = sink.send_file(sink, buffer, answer.ready, answer.fd, answer.offset, answer.length)
        else:
            vector.iov_base = buffer
            vector.iov_len = answer.ready
            result = sink.send(sink, &vector, 1)
        return TURN_COMPLETE if result == 0 else TURN_CUT

    cdef bint turn(self, Client client) except -1:
        """Answer a complete request: a file, or the application. Returns False when the connection shall not go on."""
        cdef Exchange *exchange = client.exchange
        cdef BlockingSink sink
        cdef Origin origin
        cdef int end = TURN_CUT
        cdef int64_t now = monotonic_ns()
        exchange.taken_ns = now
        exchange.framed_ns = now - client.waited_ns
        blocking_sink(&sink, client.fd, self.stop_fd, &self.timeouts)
        sink.asked = exchange.head.minor == 0  # which knows no interim responses
        sink.sink.stays = (
            exchange.head.keep_alive and self.keep_alive and not self.leaving
            and load_uint(&self.tally.command) <= CARRY_LEAVE and not load_uint(&self.tally.fading)
        )
        origin.address = client.address
        origin.address_length = client.address_length
        origin.listener = client.listener
        exchange.kept = client.kept
        client.kept = NULL
        add_llong(&self.tally.requests, 1)
        if self.seat != NULL:
            add_llong(&self.seat.requests, 1)
        add_llong(&self.tally.running, 1)
        try:
            end = NOT_A_FILE
            if self.files != NULL:
                with nogil:
                    end = self.answer_file(exchange, &sink.sink)
            if end == NOT_A_FILE:
                end = self.bridge.run(exchange, &origin, &sink.sink, client.waited_ns * 1e-9)
        finally:
            client.waited_ns = 0
            add_llong(&self.tally.running, -1)
            client.kept = exchange.kept
            exchange.kept = NULL
            self.log(client)
        client.requests += 1
        if sink.gone:
            add_llong(&self.tally.left, 1)
        if end != TURN_COMPLETE or sink.gone:
            if end == TURN_RESET or sink.gone:
                reset_on_close(client.fd)  # the client must not take what it has for the whole
            else:
                shutdown(client.fd, SHUT_WR)
            return False
        if not sink.sink.stays:
            with nogil:
                self.drop_exchange(client)
                self.linger(client)
            return False
        client.idle_ns = monotonic_ns()
        if not exchange_has_more(exchange):
            self.drop_exchange(client)
        return True

    cdef void refuse(self, Client client, int status) noexcept nogil:
        """Answer with an error, and end the conversation: nothing after it is read as a request."""
        cdef char response[REFUSAL_BYTES]
        cdef Exchange *exchange = client.exchange
        cdef bint is_head = (
            exchange != NULL and exchange.head.method_length == 4 and exchange.data[exchange.head.method] == b"H"
            and exchange.data[exchange.head.method + 1] == b"E"
        )
        cdef int length = write_refusal(
            response, status, RETRY_AFTER_S if status == 503 else 0, not is_head, self.server_header)
        cdef BlockingSink sink
        add_llong(&self.tally.refused, 1)
        blocking_sink(&sink, client.fd, self.stop_fd, &self.timeouts)
        sink_bytes(&sink, response, length)
        if exchange != NULL:
            exchange.status = status
            self.log(client)
            self.drop_exchange(client)
        if not sink.gone:
            self.linger(client)

    cdef void linger(self, Client client) noexcept nogil:
        """Say that nothing more will be sent, and drop what still comes until the client closes (RFC 9112 9.6)."""
        cdef char scratch[SCRATCH_BYTES]
        cdef int64_t deadline = monotonic_ns() + self.timeouts.linger
        cdef ssize_t length
        cdef int _, waited
        cdef bint bell
        shutdown(client.fd, SHUT_WR)
        while monotonic_ns() < deadline:
            bell = not self.is_leaving()
            waited = self.wait_idle(client.fd, deadline, bell)
            if waited == WAITED_TOLD and bell and self.is_leaving():
                continue
            if waited != WAITED_READY:
                break
            length = c_recv(client.fd, scratch, SCRATCH_BYTES, MSG_DONTWAIT)
            if length == 0 or (length < 0 and errno != EINTR and errno != EAGAIN):
                return
        for _ in range(DISCARDS):  # closing with unread bytes would reset the connection, and lose the response's rest
            if c_recv(client.fd, scratch, SCRATCH_BYTES, MSG_DONTWAIT) <= 0:
                return

    cdef void drop_exchange(self, Client client) noexcept nogil:
        """Give the exchange back, and with it the request's body, wherever that lies."""
        if client.exchange != NULL:
            pool_put(&self.pool, client.exchange)
            client.exchange = NULL

    cdef void log(self, Client client) noexcept nogil:
        if self.access != NULL:
            log_exchange(self.access, client.exchange, client.address, client.address_length, monotonic_ns())

    cdef void end(self, Client client) noexcept:
        """Close the connection and let go of everything it holds."""
        cdef void *kept = client.kept
        if client.fd < 0:
            return
        self.drop_exchange(client)
        close(client.fd)
        client.fd = -1
        self.leave_client(client)
        if not self.is_child:
            self.count_open(-1)
        if kept != NULL:
            client.kept = NULL
            self.bridge.forget(kept)
