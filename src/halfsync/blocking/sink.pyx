"""Send a response from the thread that makes it, at its client's speed, within the write deadline."""
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t
from libc.string cimport memset
from posix.uio cimport iovec
from posix.unistd cimport close

from halfsync.exchange.deadlines cimport AWAITS_READING, deadline_after
from halfsync.exchange.interim cimport send_continue
from halfsync.exchange.outcome cimport OUTCOME_DISCONNECTED, OUTCOME_ERROR, outcome_note
from halfsync.exchange.rates cimport is_too_slow, pace_begin, reading_check_ns
from halfsync.exchange.reasons cimport REASON_FILE, REASON_READING, REASON_STOP
from halfsync.exchange.timeline cimport timeline_note_sent
from halfsync.native.gate cimport gate_enter, gate_leave
from halfsync.native.pipes cimport block_pipe, unblock_pipe
from halfsync.native.poll cimport POLLIN, POLLOUT, poll, pollfd
from halfsync.native.sync cimport monotonic_ns
from halfsync.transport.transport cimport (
    PEER_GONE, PEER_ENDED, WANT_READ, is_want, pass_sent, transport_presence, transport_send,
    transport_send_file, transport_unacknowledged,
)

cdef extern from "Python.h" nogil:
    ctypedef struct PyThreadState:
        pass
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)


cdef void blocking_sink(
    BlockingSink *sink, Transport *transport, int stop_fd, const Timeouts *timeouts, Timeline *timeline, Gate *gate
) noexcept nogil:
    """Set up a sink for one request on a connected socket."""
    memset(sink, 0, sizeof(BlockingSink))
    sink.sink.send = send
    sink.sink.send_file = send_file
    sink.sink.is_disconnected = is_disconnected
    sink.sink.gate = gate
    sink.transport = transport
    sink.stop_fd = stop_fd
    sink.timeouts = timeouts
    sink.timeline = timeline
    sink.waited = 1


cdef int64_t note_progress(BlockingSink *sink) noexcept nogil:
    """Count the bytes that the client has acknowledged since the last check, and return their number.

    A slow client acknowledges bytes long before its socket has room again: they count as progress.
    """
    cdef int64_t taken = sink.sent - transport_unacknowledged(sink.transport)
    cdef int64_t moved = taken - sink.taken
    sink.taken = taken
    if sink.pace.since == 0:
        pace_begin(&sink.pace, sink.waited)
    else:
        sink.pace.moved += moved
    return moved


cdef bint wait_writable(BlockingSink *sink, int want) noexcept nogil:
    """Wait until the socket is ready for what the transport wants.

    Return False if the client took too little, or the server stops.
    """
    cdef const Timeouts *timeouts = sink.timeouts
    cdef pollfd watched[2]
    cdef int64_t period = reading_check_ns(timeouts)
    cdef int64_t since = monotonic_ns()
    cdef int64_t before = since
    cdef int64_t now
    cdef int happened
    watched[0].fd = sink.transport.fd
    watched[0].events = POLLIN if want == WANT_READ else POLLOUT
    watched[1].fd = sink.stop_fd
    watched[1].events = POLLIN
    note_progress(sink)
    while True:
        happened = poll(watched, 2, <int> max(<int64_t> 1, period // 1000000))
        if happened < 0 and errno != EINTR:
            return False
        now = monotonic_ns()
        sink.waited += now - before
        before = now
        if note_progress(sink) > 0:
            since = now
        if happened > 0 and watched[1].revents and not watched[0].revents:
            outcome_note(&sink.outcome, OUTCOME_ERROR, REASON_STOP)
            return False
        if is_too_slow(timeouts, AWAITS_READING, &sink.pace, sink.waited):
            break
        if happened > 0 and watched[0].revents:
            return True
        if now >= deadline_after(timeouts, AWAITS_READING, since, 0):
            break
    outcome_note(&sink.outcome, OUTCOME_DISCONNECTED, REASON_READING)
    return False


cdef bint wait_writable_without_gil(BlockingSink *sink, int want) noexcept nogil:
    """Wait for room without the GIL. Sets `waits`: from now on the caller should send without it."""
    cdef PyThreadState *state
    cdef bint room
    cdef int64_t since
    sink.sink.waits = True
    if not sink.sink.gil_held:
        return wait_writable(sink, want)
    state = PyEval_SaveThread()
    room = wait_writable(sink, want)
    since = gate_enter(sink.sink.gate)
    PyEval_RestoreThread(state)
    gate_leave(sink.sink.gate, since)
    return room


cdef inline void note_sent(BlockingSink *sink, int64_t sent) noexcept nogil:
    """Count bytes that were sent."""
    sink.sent += sent
    if sink.timeline != NULL:
        timeline_note_sent(sink.timeline, sink.sent_ns)


cdef int send_all(BlockingSink *sink, iovec *vectors, int count, bint more) noexcept nogil:
    """Send all of the vectors. Returns 0, or -1 if the client is gone."""
    cdef ssize_t sent
    while not sink.gone:
        while count > 0 and vectors.iov_len == 0:
            vectors += 1
            count -= 1
        if count == 0:
            return 0
        sink.sent_ns = monotonic_ns()
        sent = transport_send(sink.transport, vectors, count, more)
        if sent < 0:
            if is_want(sent) and wait_writable_without_gil(sink, <int> sent):
                continue
            sink.gone = True
            break
        note_sent(sink, sent)
        pass_sent(vectors, count, sent)
    return -1


cdef bint is_disconnected(Sink *sink) noexcept nogil:
    """Tell whether the client is gone.

    A client that has shut down sending is probed once (see `sink_is_disconnected` in request_workers.pyx).
    """
    cdef BlockingSink *self = <BlockingSink *> sink
    cdef int presence
    if self.gone:
        return True
    presence = transport_presence(self.transport)
    if presence == PEER_ENDED and not self.probed and self.sent == 0:
        self.probed = True
        send_continue(self.transport)
    return presence == PEER_GONE


cdef int send(Sink *sink, iovec *vectors, int count) noexcept nogil:
    return send_all(<BlockingSink *> sink, vectors, count, False)


cdef int sink_bytes(BlockingSink *sink, const char *data, size_t length) noexcept nogil:
    """Send bytes. Returns 0, or -1 if the client is gone."""
    cdef iovec vector
    vector.iov_base = <void *> data
    vector.iov_len = length
    return send_all(sink, &vector, 1, False)


cdef int send_file(
    Sink *sink, const char *head, int64_t head_length, int fd, int64_t offset, int64_t length
) noexcept nogil:
    """Send the head and a range of a file, and close the file. Returns 0, or -1 if gone or the file is shorter."""
    cdef BlockingSink *self = <BlockingSink *> sink
    cdef iovec vector
    cdef int64_t sent
    cdef bint blocked
    vector.iov_base = <void *> head
    vector.iov_len = head_length
    if send_all(self, &vector, 1, length > 0) == 0:
        blocked = block_pipe()
        while length > 0:
            self.sent_ns = monotonic_ns()
            sent = transport_send_file(self.transport, fd, offset, length)
            if sent > 0:
                note_sent(self, sent)
                offset += sent
                length -= sent
            elif not (is_want(sent) and wait_writable_without_gil(self, <int> sent)):
                if sent == 0:
                    outcome_note(&self.outcome, OUTCOME_ERROR, REASON_FILE)
                self.gone = True
                break
        if blocked:
            unblock_pipe(self.gone)
    close(fd)
    return -1 if self.gone else 0
