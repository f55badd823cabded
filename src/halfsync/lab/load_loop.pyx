"""The loop of the load generator: one thread, one epoll, and thousands of clients, without the GIL.

It opens the connections that a load begins with, sends what is due, and waits for the next thing that is due or that
happens; nothing is polled. Arrivals of an open loop are computed one after another, as they are needed: those that wait
for a connection are the ones between the next to be sent and now, so that no memory grows with the load.

What counts is a set of requests: those that were due in `duration_ns` after the warm-up, whatever becomes of them
later. Each is counted once, as answered, refused, an error, left, failed or unsent.
"""
from libc.errno cimport EINTR, errno
from libc.math cimport log
from libc.stdint cimport int64_t, uint32_t

from halfsync.lab.load_clients cimport (
    client_close, client_event, client_fail, client_leave, client_open, client_request, client_trickle, pick_path,
)
from halfsync.lab.load_records cimport (
    CLIENT_FREE, CLIENT_ORDINARY, CLOCK_THREAD_CPUTIME_ID, FAILED_NO_ANSWER, FAILED_NOT_OPENED, LoadClient,
    PHASE_COOL_DOWN, PHASE_COUNTING, PHASE_ENDING, PHASE_OPENING, PHASE_OVER, PHASE_WARM_UP, client_enter, client_quit,
    load_now, read_clock,
)
from halfsync.lab.recorder cimport record, roll_share
from halfsync.native.epoll cimport EPOLL_CLOEXEC, epoll_create1, epoll_event

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <poll.h>
    #include <sys/epoll.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    /* Wait for events at most so many ns, to the ns. epoll_pwait2(2) is in Linux 5.11 and later; before, ppoll(2) waits
       for the epoll to have some. */
    static int hs_wait_for_events(int epoll, struct epoll_event *events, int most, int64_t ns) {
        static int has_no_call = 0;
        struct timespec timeout;
        struct pollfd one = {epoll, POLLIN, 0};
        int happened;
        if (ns <= 0)
            return epoll_wait(epoll, events, most, 0);
        timeout.tv_sec = ns / 1000000000;
        timeout.tv_nsec = ns % 1000000000;
    #ifdef SYS_epoll_pwait2
        if (!has_no_call) {
            happened = (int)syscall(SYS_epoll_pwait2, epoll, events, most, &timeout, NULL, (size_t)0);
            if (happened >= 0 || (errno != ENOSYS && errno != EPERM))
                return happened;
            has_no_call = 1;
        }
    #endif
        happened = ppoll(&one, 1, &timeout, NULL);
        return happened <= 0 ? happened : epoll_wait(epoll, events, most, 0);
    }

    /* Wake this thread when it asked for that, and not up to 50 us later to save wake-ups. */
    static void hs_wake_on_time(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0); }
    """
    int wait_for_events "hs_wait_for_events" (int epoll, epoll_event *events, int most, int64_t ns)
    void wake_on_time "hs_wake_on_time" ()

cdef enum:
    EVENTS = 256                  # at one time
    SENDS_PER_TURN = 64           # before events are looked at again
    OPENING_MOST = 128            # connections that are being opened at one time
    SIGNALS_NS = 100000000        # after so long the caller looks for signals, which may come while nothing waits


cdef int load_begin(LoadRun *run) noexcept nogil:
    """Begin. Returns 0, or an errno."""
    run.epoll = epoll_create1(EPOLL_CLOEXEC)
    if run.epoll < 0:
        return errno
    wake_on_time()
    run.began_ns = load_now()
    return 0


cdef int load_drive(LoadRun *run) noexcept nogil:
    """Carry the load on until it is over: returns 0. EINTR: look for signals; call again. Another errno: it failed."""
    cdef int64_t returns_ns = load_now() + SIGNALS_NS
    cdef epoll_event events[EVENTS]
    cdef LoadClient *client
    cdef int happened, at
    while True:
        act(run)
        if run.phase == PHASE_OVER:
            return 0
        if load_now() >= returns_ns:
            return EINTR
        happened = wait_for_events(run.epoll, events, EVENTS, min(next_wake(run), returns_ns) - load_now())
        if happened < 0:
            return errno
        run.woke_ns = load_now()
        for at in range(happened):
            client = &run.clients[<uint32_t> events[at].data.u64]
            if client.fd >= 0 and client.generation == <uint32_t> (events[at].data.u64 >> 32):
                client_event(run, client, events[at].events)


cdef void act(LoadRun *run) noexcept nogil:
    """Do what is due now."""
    cdef int64_t now = load_now()
    if run.phase == PHASE_OPENING:
        open_more(run)
        if (run.opening == 0 and run.next_to_open == run.size) or now >= run.began_ns + run.opening_ns:
            end_opening(run)
            now = load_now()
    if run.phase == PHASE_WARM_UP and now >= run.counts_from_ns:
        run.cpu_from_ns, run.bytes_from = read_clock(CLOCK_THREAD_CPUTIME_ID), run.tally.received
        run.phase = PHASE_COUNTING
    if run.phase != PHASE_OPENING:
        trickle(run, now)
        let_leave(run, now)  # before others are sent, which may have waited for these connections
    if run.phase in (PHASE_WARM_UP, PHASE_COUNTING, PHASE_COOL_DOWN):
        send_due(run)
        rouse(run, now)
    if run.phase == PHASE_COUNTING and now >= run.ends_ns:
        run.cpu_ns = read_clock(CLOCK_THREAD_CPUTIME_ID) - run.cpu_from_ns
        run.bytes_counted = run.tally.received - run.bytes_from
        run.phase = PHASE_COOL_DOWN
    if run.phase == PHASE_COOL_DOWN and now >= run.stops_ns and (run.starved or run.due_ns >= run.stops_ns):
        end_sending(run)
    if run.phase == PHASE_ENDING and (run.under_way.length == 0 or now >= run.over_ns):
        end_load(run)


cdef int64_t next_wake(LoadRun *run) noexcept nogil:
    """Return when something is to be done next, if nothing happens before."""
    cdef int64_t wake
    if run.phase == PHASE_OPENING:
        return run.began_ns + run.opening_ns
    wake = run.over_ns
    if run.phase == PHASE_WARM_UP:
        wake = run.counts_from_ns
    elif run.phase == PHASE_COUNTING:
        wake = run.ends_ns
    elif run.phase == PHASE_COOL_DOWN:
        wake = run.stops_ns
    if run.phase != PHASE_ENDING and run.open_loop and not run.starved:
        wake = min(wake, run.due_ns)
    if run.resting.length > 0:
        wake = min(wake, run.resting.first.due_ns)
    if run.patience_ns > 0 and run.under_way.length > 0:
        wake = min(wake, run.under_way.first.due_ns + run.patience_ns)
    if run.slow > 0:
        wake = min(wake, run.slow_due_ns)
    return wake


cdef void open_more(LoadRun *run) noexcept nogil:
    """Open the next connections of those that the load begins with, a bounded number at one time."""
    cdef LoadClient *client
    while run.opening < OPENING_MOST and run.next_to_open < run.size:
        client = &run.clients[run.next_to_open]
        run.next_to_open += 1
        if client.kind != CLIENT_ORDINARY or (run.next_to_open <= run.connections and not run.fresh):
            client_open(run, client)


cdef void end_opening(LoadRun *run) noexcept nogil:
    """Count what is open, give up the rest, and begin to send."""
    cdef LoadClient *client
    cdef uint32_t at
    cdef int64_t now = load_now()
    run.opened_ns = now - run.began_ns
    for at in range(run.size):
        client = &run.clients[at]
        if client.state == CLIENT_FREE:
            run.open += 1
        elif client.fd >= 0:
            client_fail(run, client, FAILED_NOT_OPENED)
        elif at >= run.next_to_open and client.kind != CLIENT_ORDINARY:
            run.tally.failed[<int> FAILED_NOT_OPENED] += 1
            run.tally.unopened += 1
    run.phase = PHASE_WARM_UP
    run.counts_from_ns = now + run.warm_up_ns
    run.ends_ns = run.counts_from_ns + run.duration_ns
    run.stops_ns = run.ends_ns + run.cool_down_ns
    run.over_ns = max(run.stops_ns, run.ends_ns + (run.patience_ns if run.patience_ns > 0 else run.grace_ns))
    run.woke_ns = run.available_ns = run.due_ns = run.slow_due_ns = now
    if run.open_loop:
        next_due(run)
        return
    run.due_ns = run.stops_ns
    while run.free.first != NULL or run.vacant.first != NULL:
        client = run.free.first if run.free.first != NULL else run.vacant.first
        client_request(run, client, load_now(), pick_path(run), load_now())


cdef void next_due(LoadRun *run) noexcept nogil:
    """Compute when the next request of an open loop is due, and its path."""
    cdef int64_t start = run.counts_from_ns - run.warm_up_ns
    run.due_number += 1
    if run.even:
        run.due_ns = start + <int64_t> (run.due_number * run.gap_ns)
    else:
        run.due_ns += <int64_t> (-log(1 - roll_share(&run.arrivals)) * run.gap_ns)
    run.due_path = pick_path(run)


cdef void send_due(LoadRun *run) noexcept nogil:
    """Send the requests of an open loop that are due, as far as there are connections for them."""
    cdef LoadClient *client
    cdef int64_t now = load_now()
    cdef int sent = 0
    if run.starved and (run.free.first != NULL or run.vacant.first != NULL):
        run.available_ns, run.starved = run.woke_ns, False
    if not run.open_loop:
        return
    while run.due_ns <= now and run.due_ns < run.stops_ns and sent < SENDS_PER_TURN:
        if run.patience_ns > 0 and run.due_ns + run.patience_ns <= now:
            count_unsent(run, &run.tally.left)
            continue
        client = run.free.first if run.free.first != NULL else run.vacant.first
        if client == NULL:
            run.starved = True
            return
        if run.counts_from_ns <= run.due_ns < run.ends_ns:
            record(&run.lateness, now - max(run.due_ns, run.available_ns))
        client_request(run, client, run.due_ns, run.due_path, now)
        next_due(run)
        sent += 1
        now = load_now()


cdef void count_unsent(LoadRun *run, int64_t *what) noexcept nogil:
    """Count a request that was due and was not sent, and go on to the next one."""
    if run.counts_from_ns <= run.due_ns < run.ends_ns:
        run.tally.due += 1
        what[0] += 1
    next_due(run)


cdef void rouse(LoadRun *run, int64_t now) noexcept nogil:
    """Let the clients of a closed loop that have rested send again."""
    cdef LoadClient *client = run.resting.first
    while client != NULL and client.due_ns <= now:
        client_request(run, client, now, pick_path(run), now)
        client = run.resting.first


cdef void trickle(LoadRun *run, int64_t now) noexcept nogil:
    """Let the slow clients whose turn it is send their next byte. Their turns are spread evenly."""
    while run.slow > 0 and run.slow_due_ns <= now:
        client_trickle(run, &run.clients[run.ordinary + run.idle + run.slow_next])
        run.slow_next = run.slow_next + 1 if run.slow_next + 1 < run.slow else 0
        run.slow_due_ns += run.slow_gap_ns


cdef void let_leave(LoadRun *run, int64_t now) noexcept nogil:
    """End the clients whose patience is over. Requests are sent in the order in which they were due."""
    cdef LoadClient *client = run.under_way.first
    while run.patience_ns > 0 and client != NULL and client.due_ns + run.patience_ns <= now:
        client_leave(run, client, now)
        client = run.under_way.first


cdef void end_sending(LoadRun *run) noexcept nogil:
    """Send nothing new. What was due in the time that counts, and was not sent, is counted."""
    cdef LoadClient *client
    cdef bint gave_up
    run.phase = PHASE_ENDING
    while run.open_loop and run.due_ns < run.ends_ns:
        gave_up = run.patience_ns > 0 and run.due_ns + run.patience_ns <= run.stops_ns
        count_unsent(run, &run.tally.left if gave_up else &run.tally.unsent)
    while run.resting.first != NULL:
        client = run.resting.first
        client_quit(client)
        client_enter(client, &run.vacant)


cdef void end_load(LoadRun *run) noexcept nogil:
    """Count what had no answer, and close all connections."""
    cdef uint32_t at
    while run.under_way.first != NULL:
        client_fail(run, run.under_way.first, FAILED_NO_ANSWER)
    for at in range(run.size):
        client_close(&run.clients[at])
    run.phase = PHASE_OVER
