"""The clients of a load. A client has one connection at a time, and at most one request under way.

An ordinary client is always in one queue: free, vacant (it has no connection), under way, or resting after a failure.
An open loop takes clients from `free` and `vacant` when requests are due. In a closed loop a client begins its next
request as soon as it has its response; one whose connection failed rests first, so that a server that is gone does not
make it spin.

Connections are edge-triggered. A request is sent at once on a connection that is still being made: on loopback it is
nearly always there by then, and if it is not, an event says when.
"""
from libc.errno cimport EAGAIN, ECONNRESET, EINPROGRESS, EINTR, EPIPE, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport close

from halfsync.lab.load_records cimport (
    CLIENT_CLOSED, CLIENT_FREE, CLIENT_IDLE, CLIENT_OPENING, CLIENT_ORDINARY, CLIENT_SENDING, CLIENT_SLOW,
    CLIENT_WAITING, FAILED_CLOSED, FAILED_MALFORMED, FAILED_STATUS, PHASE_COOL_DOWN, PHASE_COUNTING, PHASE_ENDING,
    PHASE_OPENING, PHASE_WARM_UP, RECEIVE_BYTES, client_enter, client_quit, load_now, sockaddr_in,
)
from halfsync.lab.recorder cimport record, roll_share
from halfsync.lab.response_reader cimport (
    READ_DONE, READ_MALFORMED, READ_UNTIL_CLOSE, response_begin, response_read,
)
from halfsync.native.epoll cimport (
    EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD, epoll_ctl, epoll_event,
)

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    int socket(int family, int kind, int protocol)
    int connect(int fd, const sockaddr *address, unsigned int length)
    int getsockopt(int fd, int level, int option, void *value, unsigned int *length)
    int setsockopt(int fd, int level, int option, const void *value, unsigned int length)
    ssize_t send(int fd, const void *data, size_t length, int flags)
    ssize_t recv(int fd, void *data, size_t length, int flags)
    const int AF_INET, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR, MSG_NOSIGNAL

cdef extern from "<netinet/tcp.h>" nogil:
    const int IPPROTO_TCP, TCP_NODELAY

cdef enum:
    REST_NS = 10 * 1000 * 1000    # after a failed connection in a closed loop

cdef const char *SLOW_HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


cdef int pick_path(LoadRun *run) noexcept nogil:
    """Return the next request's path."""
    cdef int path = 0
    cdef double share
    if run.paths > 1:
        share = roll_share(&run.arrivals)
        while path < run.paths - 1 and run.shares[path] <= share:
            path += 1
    return path


cdef int connect_client(LoadRun *run, LoadClient *client) noexcept nogil:
    """Begin to connect. Returns 0 or an errno."""
    cdef epoll_event event
    cdef int one = 1
    cdef int error
    cdef int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return errno
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
    event.data.u64 = (<uint64_t> client.generation << 32) | <uint64_t> (client - run.clients)
    if ((connect(fd, <sockaddr *> &run.address, sizeof(sockaddr_in)) != 0 and errno != EINPROGRESS)
            or epoll_ctl(run.epoll, EPOLL_CTL_ADD, fd, &event) != 0):
        error = errno
        close(fd)
        return error
    client.fd = fd
    client.reused = False
    return 0


cdef void client_close(LoadClient *client) noexcept nogil:
    """Close a client's connection, if it has one."""
    if client.fd >= 0:
        close(client.fd)
        client.fd = -1
        client.generation += 1
    client.state = CLIENT_CLOSED


cdef void client_open(LoadRun *run, LoadClient *client) noexcept nogil:
    """Connect a client before it is needed."""
    cdef int error = connect_client(run, client)
    client.state = CLIENT_OPENING
    run.opening += 1
    if error != 0:
        client_fail(run, client, error)


cdef void client_request(LoadRun *run, LoadClient *client, int64_t due_ns, int path, int64_t now) noexcept nogil:
    """Let a client that is free or vacant send a request that was due at a time."""
    client_quit(client)
    client.due_ns, client.sent_ns, client.path = due_ns, now, path
    client.counts = run.counts_from_ns <= due_ns < run.ends_ns and client.kind == CLIENT_ORDINARY
    client.heard = False
    run.tally.due += client.counts
    if client.kind == CLIENT_ORDINARY:
        client_enter(client, &run.under_way)
    begin_request(run, client)


cdef void begin_request(LoadRun *run, LoadClient *client) noexcept nogil:
    """Send the client's request from its beginning, on a new connection if there is none."""
    cdef int error = 0
    client.sent = 0
    response_begin(&client.reader)
    if client.fd < 0:
        error = connect_client(run, client)
    client.state = CLIENT_SENDING
    if error != 0:
        client_fail(run, client, error)
    else:
        send_request(run, client)


cdef void send_request(LoadRun *run, LoadClient *client) noexcept nogil:
    """Send as much of the request as there is room for."""
    cdef size_t size = run.request_bytes[client.path]
    cdef ssize_t sent
    while client.sent < size:
        sent = send(client.fd, run.requests[client.path] + client.sent, size - client.sent, MSG_NOSIGNAL)
        if sent < 0:
            if errno == EPIPE or errno == ECONNRESET:
                receive(run, client, True)  # the server may have answered before it closed
            elif errno != EAGAIN and errno != EINTR:
                client_fail(run, client, errno)
            return
        client.sent += sent
    client.state = CLIENT_WAITING


cdef void client_event(LoadRun *run, LoadClient *client, uint32_t events) noexcept nogil:
    """Handle what happened to a connection."""
    cdef int error = 0
    cdef unsigned int length = sizeof(error)
    if events & (EPOLLERR | EPOLLHUP) and client.state in (CLIENT_OPENING, CLIENT_SENDING) and client.sent == 0:
        getsockopt(client.fd, SOL_SOCKET, SO_ERROR, &error, &length)
        if error != 0:
            client_fail(run, client, error)
            return
    if client.state == CLIENT_OPENING and events & EPOLLOUT:
        opened(run, client)
    elif client.state == CLIENT_SENDING and events & EPOLLOUT:
        send_request(run, client)
    if client.fd >= 0 and events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        receive(run, client, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)


cdef void opened(LoadRun *run, LoadClient *client) noexcept nogil:
    """Go on once a connection is there that was made before it was needed."""
    client.state = CLIENT_FREE
    if client.kind == CLIENT_IDLE:
        client_request(run, client, load_now(), pick_path(run), load_now())
        return
    run.opening -= 1
    if client.kind == CLIENT_ORDINARY:
        client_quit(client)
        client_enter(client, &run.free)


cdef void receive(LoadRun *run, LoadClient *client, bint ended) noexcept nogil:
    """Receive what is there. ended: the server has closed its side, so that there is an end to be found."""
    cdef uint32_t generation = client.generation
    cdef ssize_t got
    while client.generation == generation:
        got = recv(client.fd, run.received, RECEIVE_BYTES, 0)
        if got > 0:
            run.tally.received += got
            read_piece(run, client, got, ended)
            if got < RECEIVE_BYTES and not ended:
                return
        elif got == 0:
            on_end(run, client)
            return
        elif errno == EAGAIN or errno == EINTR:
            return
        else:
            on_lost(run, client, errno)
            return


cdef void read_piece(LoadRun *run, LoadClient *client, size_t got, bint ended) noexcept nogil:
    """Give what was received to the response that is awaited."""
    cdef size_t read
    if client.kind == CLIENT_SLOW:
        return  # an answer to a head that is not complete: the end follows
    if client.state != CLIENT_WAITING and client.state != CLIENT_SENDING:
        on_lost(run, client, FAILED_MALFORMED)  # nobody asked
        return
    client.heard = True
    read = response_read(&client.reader, run.received, got)
    if client.reader.state == READ_MALFORMED:
        client_fail(run, client, FAILED_MALFORMED)
    elif client.reader.state == READ_DONE:
        answered(run, client, client.reader.keeps and read == got and not ended and client.state == CLIENT_WAITING)


cdef void on_end(LoadRun *run, LoadClient *client) noexcept nogil:
    """The server has closed the connection."""
    if client.state == CLIENT_WAITING and client.reader.state == READ_UNTIL_CLOSE:
        answered(run, client, False)
    else:
        on_lost(run, client, FAILED_CLOSED)


cdef void on_lost(LoadRun *run, LoadClient *client, int reason) noexcept nogil:
    """The connection has come to its end. That is a failure if something was under way on it."""
    if client.reused and not client.heard and client.state in (CLIENT_SENDING, CLIENT_WAITING):
        send_again(run, client)
        return
    if client.state != CLIENT_FREE:
        client_fail(run, client, reason)
        return
    client_close(client)
    if client.kind == CLIENT_ORDINARY:
        client_quit(client)
        client_enter(client, &run.vacant)
    elif client.kind == CLIENT_IDLE:
        run.tally.idle_closed += 1


cdef void send_again(LoadRun *run, LoadClient *client) noexcept nogil:
    """Send the request on a new connection: it met the end of one that had been idle (RFC 9112, section 9.3.1).

    The latency counts from when it was due, and from when it was sent first.
    """
    run.tally.sent_again += client.counts
    client_close(client)
    begin_request(run, client)


cdef void answered(LoadRun *run, LoadClient *client, bint keeps) noexcept nogil:
    """Count a response, and go on."""
    cdef int64_t now = load_now()
    cdef int status = client.reader.status
    if client.kind == CLIENT_IDLE:
        if status >= 400 or not keeps:
            client_fail(run, client, FAILED_STATUS if status >= 400 else FAILED_CLOSED)
            return
        client.state = CLIENT_FREE
        run.opening -= 1
        return
    if client.counts:
        if status < 400:
            run.tally.answered += 1
            record(&run.corrected, now - client.due_ns)
            record(&run.uncorrected, now - client.sent_ns)
        elif status == 503:
            run.tally.refused += 1
        else:
            run.tally.errors += 1
    client.state = CLIENT_FREE
    client.reused = True
    if not keeps or run.fresh:
        client_close(client)
    go_on(run, client, now)


cdef void go_on(LoadRun *run, LoadClient *client, int64_t now) noexcept nogil:
    """Begin the next request of a closed loop; in an open one wait until one is due."""
    if not run.open_loop and run.phase in (PHASE_WARM_UP, PHASE_COUNTING, PHASE_COOL_DOWN):
        if run.phase == PHASE_COUNTING:
            record(&run.lateness, now - run.woke_ns)
        client_request(run, client, now, pick_path(run), now)
        return
    client_quit(client)
    client_enter(client, &run.free if client.fd >= 0 else &run.vacant)


cdef void client_leave(LoadRun *run, LoadClient *client, int64_t now) noexcept nogil:
    """Let a client give up that has waited for long enough."""
    run.tally.left += client.counts
    client_close(client)
    go_on(run, client, now)


cdef void client_fail(LoadRun *run, LoadClient *client, int reason) noexcept nogil:
    """Count a failure: of a request, or of a connection that was being opened for none. An errno or a LoadFailure."""
    cdef bint unopened = client.kind == CLIENT_IDLE or client.state == CLIENT_OPENING
    client_close(client)
    if unopened and run.phase == PHASE_OPENING:
        run.opening -= 1
    if unopened or client.counts:
        run.tally.failed[reason] += 1
        run.tally.unopened += unopened
    if client.kind != CLIENT_ORDINARY:
        return
    client_quit(client)
    if run.open_loop or run.phase in (PHASE_OPENING, PHASE_ENDING):
        client_enter(client, &run.vacant)
    else:
        client.due_ns = load_now() + REST_NS
        client_enter(client, &run.resting)


cdef void client_trickle(LoadRun *run, LoadClient *client) noexcept nogil:
    """Let a slow client send its next byte; one without a connection comes again."""
    cdef char byte = SLOW_HEAD[client.sent]
    cdef ssize_t sent
    if client.fd < 0:
        run.tally.came_again += 1
        client.sent = 0
        client.state = CLIENT_FREE if connect_client(run, client) == 0 else CLIENT_CLOSED
        return
    if byte == 0:
        byte = c"a"  # the last field has no end
    sent = send(client.fd, &byte, 1, MSG_NOSIGNAL)
    if sent == 1 and SLOW_HEAD[client.sent] != 0:
        client.sent += 1
    elif sent < 0 and errno != EAGAIN:
        client_close(client)
