# What the load generator knows: of each of its clients, and of the load. One thread has it all.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from halfsync.lab.recorder cimport Dice, Recorder
from halfsync.lab.response_reader cimport ResponseReader

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr
    unsigned short htons(unsigned short port)
    uint32_t htonl(uint32_t address)
    const uint32_t INADDR_LOOPBACK

cdef enum:
    RECEIVE_BYTES = 65536

cdef enum ClientKind:
    CLIENT_ORDINARY
    CLIENT_IDLE                   # one request when it opens, and then nothing
    CLIENT_SLOW                   # a byte of its head now and then

cdef enum ClientState:
    CLIENT_CLOSED                 # no socket
    CLIENT_OPENING                # connecting, and no request waits for it
    CLIENT_FREE                   # open, with nothing under way
    CLIENT_SENDING                # a request is to be sent: when it has connected, or has room
    CLIENT_WAITING                # for a response

# Why a connection failed: an errno, or one of these, which are no errno.
cdef enum LoadFailure:
    FAILED_CLOSED = 200           # it ended before the response did
    FAILED_MALFORMED              # what came is no response of HTTP/1.1
    FAILED_NO_ANSWER              # there was none when the load was over
    FAILED_STATUS                 # an idle client's request was answered with an error
    FAILED_NOT_OPENED             # opening took too long
    FAILURES

cdef enum LoadPhase:
    PHASE_OPENING
    PHASE_WARM_UP                 # requests are sent that do not count
    PHASE_COUNTING
    PHASE_COOL_DOWN               # requests are sent that do not count
    PHASE_ENDING                  # nothing new is sent; responses are awaited
    PHASE_OVER

ctypedef struct LoadClient:
    int fd                        # -1: none
    uint32_t generation           # of its sockets: an event of an earlier one is none
    uint8_t kind                  # a ClientKind
    uint8_t state                 # a ClientState
    bint counts                   # its request was due in the time that counts
    bint reused                   # its connection has had a response before
    bint heard                    # something of the response has come
    int path
    size_t sent
    int64_t due_ns                # of its request; of one that rests, when it comes again
    int64_t sent_ns               # when the generator began to send it
    ClientQueue *queue            # that it is in, or NULL
    LoadClient *earlier
    LoadClient *later
    ResponseReader reader

# Clients in the order in which they came.
ctypedef struct ClientQueue:
    LoadClient *first
    LoadClient *last
    uint32_t length

ctypedef struct LoadTally:
    int64_t due, answered, refused, errors, left, unsent
    int64_t failed[FAILURES]
    int64_t unopened              # of the failed, connections for which no request was due
    int64_t came_again            # slow clients whose connection was closed
    int64_t idle_closed           # idle connections that the server closed
    int64_t sent_again            # requests that met the end of a connection that was used before
    int64_t received              # bytes

ctypedef struct LoadRun:
    # What was asked for. Times in ns; 0: none.
    sockaddr_in address
    const char **requests         # one for each path
    size_t *request_bytes
    double *shares                # of the paths, added up; the last is 1
    int paths
    bint open_loop, even, fresh
    double gap_ns                 # the mean time between the requests of an open loop
    int64_t warm_up_ns, duration_ns, cool_down_ns, patience_ns, grace_ns, opening_ns
    int64_t slow_gap_ns           # from one slow client's byte to the next one's
    uint32_t ordinary, connections, idle, slow   # clients; ordinary: with those that open for want of others

    # What is now.
    int epoll
    int phase
    LoadClient *clients           # first the ordinary, then the idle, then the slow
    uint32_t size
    uint32_t next_to_open, opening
    ClientQueue free, vacant, under_way, resting   # of the ordinary
    int64_t began_ns, counts_from_ns     # began_ns: the phase of opening
    int64_t ends_ns, stops_ns, over_ns   # until when requests count, are sent, and are awaited
    int64_t woke_ns               # when the events were fetched that are handled now
    int64_t available_ns          # since when there has been a client for a request that is due
    bint starved                  # there is none
    Dice arrivals
    int64_t due_ns                # the next request's
    int64_t due_number            # how many were before it
    int due_path
    int64_t slow_due_ns
    uint32_t slow_next
    char *received                # RECEIVE_BYTES

    # What became of it.
    LoadTally tally
    Recorder corrected, uncorrected, lateness
    int64_t cpu_from_ns, cpu_ns, bytes_from, bytes_counted, opened_ns
    uint32_t open


cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    const int CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID


cdef inline int64_t read_clock(int clock) noexcept nogil:
    """Return a clock's time in ns."""
    cdef timespec now
    clock_gettime(clock, &now)
    return <int64_t> now.tv_sec * 1000000000 + now.tv_nsec


cdef inline int64_t load_now() noexcept nogil:
    """Return the monotonic clock, in ns."""
    return read_clock(CLOCK_MONOTONIC)


cdef inline void client_enter(LoadClient *client, ClientQueue *queue) noexcept nogil:
    """Put a client that is in no queue last into one."""
    client.queue = queue
    client.later = NULL
    client.earlier = queue.last
    if queue.last != NULL:
        queue.last.later = client
    else:
        queue.first = client
    queue.last = client
    queue.length += 1


cdef inline void client_quit(LoadClient *client) noexcept nogil:
    """Take a client out of its queue, if it is in one."""
    cdef ClientQueue *queue = client.queue
    if queue == NULL:
        return
    if client.earlier != NULL:
        client.earlier.later = client.later
    else:
        queue.first = client.later
    if client.later != NULL:
        client.later.earlier = client.earlier
    else:
        queue.last = client.earlier
    queue.length -= 1
    client.queue = NULL
