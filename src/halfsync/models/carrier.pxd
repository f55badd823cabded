from libc.stdint cimport int64_t, uint8_t, uint32_t

from halfsync.seats cimport BoardRecord, SeatRecord
from halfsync.bridging cimport Bridge, Sink
from halfsync.engine.engine cimport ADDRESS_BYTES, Timeouts
from halfsync.exchange cimport Exchange, ExchangePool, Limits
from halfsync.handover cimport Handover
from halfsync.http.trust cimport Trust
from halfsync.models.admission cimport Admission
from halfsync.native.sync cimport atomic_llong, atomic_uint
from halfsync.observe.access cimport Log
from halfsync.pace cimport Pace
from halfsync.request_queue cimport Queue
from halfsync.spool cimport Store
from halfsync.static.answering cimport Answerer
from halfsync.threadpool cimport JobThreads

cdef enum Command:
    CARRY_ON
    CARRY_LEAVE               # hand over what comes to rest, or finish it
    CARRY_DRAIN               # finish what was received
    CARRY_STOP                # end now

# What is counted over all connections, and what they are told. It lies in memory that forked children share.
ctypedef struct Tally:
    atomic_uint command       # Command
    atomic_uint fading        # responses say Connection: close
    atomic_uint others_accept  # on the same listeners: what is in their backlog stays there
    atomic_llong accepted
    atomic_llong adopted      # from processes that left
    atomic_llong handed_over  # to others
    atomic_llong open
    atomic_llong requests
    atomic_llong refused      # malformed, too large, too late
    atomic_llong shed         # answered 503: there was no room, no thread, or their client had all its connections
    atomic_llong limited      # of those, the last: max_connections_per_client
    atomic_llong left         # the client left before its response was complete
    atomic_llong running      # turns of the application under way
    atomic_llong turns        # of the loop that accepts


cdef class Client:
    cdef readonly int fd      # -1: closed
    cdef uint8_t address[ADDRESS_BYTES]
    cdef uint8_t address_length
    cdef uint8_t listener     # index of the listener it came from
    cdef readonly uint32_t place  # among the connections of its client; 0: not counted
    cdef readonly bint adopted  # from a process that has left
    cdef bint greeted         # its PROXY header, where it must begin with one, was read
    cdef int64_t put_ns       # when it was accepted, or put back for others
    cdef int64_t waited_ns    # how long it then waited for a thread; 0 once a request was told
    cdef int64_t idle_ns      # since when nothing was received; 0: in the middle of a request
    cdef uint32_t requests    # served so far
    cdef Exchange *exchange   # NULL between requests
    cdef bint unframed        # what the exchange holds is not framed yet: the connection was adopted with it
    cdef void *kept           # the bridge's, while no exchange has it


cdef class Carrier:
    cdef Bridge bridge
    cdef Limits limits
    cdef Timeouts timeouts
    cdef ExchangePool pool
    cdef Store *store
    cdef const Trust *proxies  # that may connect, and must begin with a PROXY header; NULL: anybody, without
    cdef Admission *admission  # NULL: a client may have any number of connections
    cdef Log *access          # NULL: nothing is logged
    cdef const Answerer *files  # NULL: every request is the application's
    cdef Tally *tally
    cdef BoardRecord *board    # NULL: this is the server's only process
    cdef SeatRecord *seat
    cdef JobThreads pool_threads  # that it is the queue of
    cdef Queue *waiting       # of connections that wait for a thread; NULL: none ever does
    cdef int drain_fd         # readable once the server drains
    cdef int stop_fd          # readable once it stops
    cdef int leaving_fd       # the writing end of the queue of connections to adopt; -1: none can be handed over
    cdef int call_fd          # readable when an idle connection should be given up; -1: never
    cdef atomic_uint idlers   # threads that watch an idle connection while nothing else waits for them
    cdef bint keep_alive
    cdef bint leaving         # this child's connection shall end with its response
    cdef bint is_child        # of the process that counts open connections
    cdef bint server_header
    cdef list bells           # the writing ends of drain_fd and stop_fd
    cdef object kept          # what the pointers point to

    cdef void count_open(self, int change) noexcept nogil
    cdef bint others_wait(self) noexcept nogil
    cdef bint called(self) noexcept nogil
    cdef Client _begin(self, const Handover *handover, int listeners)
    cdef bint hand_over(self, Client client) noexcept nogil
    cdef bint is_leaving(self) noexcept nogil
    cdef int wait(self, int fd, short events, int64_t deadline, bint bell, bint call) noexcept nogil
    cdef int wait_idle(self, int fd, int64_t deadline, bint bell) noexcept nogil
    cdef int idle(self, Client client) noexcept nogil
    cdef int greet(self, Client client) noexcept nogil
    cdef bint recognize(self, Client client) noexcept nogil
    cdef void leave_client(self, Client client) noexcept nogil
    cdef int64_t next_look(self, const Exchange *exchange, const Pace *pace, int64_t since) noexcept nogil
    cdef bint is_late(self, const Exchange *exchange, Pace *pace, int64_t since) noexcept nogil
    cdef int wait_head(self, Client client, int64_t deadline, int64_t *pause) noexcept nogil
    cdef int receive(self, Client client) noexcept nogil
    cdef int advance(self, Client client) noexcept nogil
    cdef int answer_file(self, Exchange *exchange, Sink *sink) noexcept nogil
    cdef bint turn(self, Client client) except -1
    cdef void refuse(self, Client client, int status) noexcept nogil
    cdef void linger(self, Client client) noexcept nogil
    cdef void drop_exchange(self, Client client) noexcept nogil
    cdef void log(self, Client client) noexcept nogil
    cdef void end(self, Client client) noexcept
