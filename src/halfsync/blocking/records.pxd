# The data of the blocking models: one record for each connection, and one for what all of them share. The functions
# over them are in connection.pyx, waiting.pyx, receiving.pyx, responding.pyx, refusing.pyx and handing_off.pyx;
# serving.pyx and driver.pyx combine them.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from halfsync.blocking.client_limit cimport ClientLimitRecord
from halfsync.exchange.exchange cimport Exchange, ExchangePool, Limits
from halfsync.exchange.native_handler cimport NativeHandler
from halfsync.exchange.spool cimport Store
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.http.request_start cimport ProxyClock
from halfsync.http.response_head cimport ServerFields
from halfsync.http.trust cimport ADDRESS_BYTES, Trust
from halfsync.listening.endpoints cimport EndpointTable
from halfsync.native.forks cimport is_noted
from halfsync.native.gate cimport Gate
from halfsync.native.sync cimport atomic_llong, atomic_uint, load_uint, pthread_mutex_t
from halfsync.observe.completion cimport Observers
from halfsync.observe.refusals cimport Refusals
from halfsync.pool.overload cimport Overload
from halfsync.pool.request_queue cimport Queue
from halfsync.shared.accepting cimport SharedListeners
from halfsync.shared.command cimport COMMAND_HANDOFF, closes_after_response
from halfsync.shared.counters cimport Counters
from halfsync.shared.metrics cimport SlotMetrics
from halfsync.shared.slots cimport ScoreboardRecord, SlotRecord
from halfsync.transport.transport cimport Transport

cdef extern from "<signal.h>" nogil:
    const int SIGTERM

cdef enum:
    SCRATCH_BYTES = 64 * 1024  # received at once if the exchange has no room of its own

# What became of a connection. Above 0: a request is complete. Below -1: it must be refused with -status.
cdef enum:
    ENDED = -1
    PARKED = 0                # it is idle, and others wait

# What a connection waits for (idle_lists.pyx).
cdef enum IdleKind:
    IDLE_NONE                 # nothing, or something else
    IDLE_KEEPALIVE            # its next request
    IDLE_NEW                  # its first byte, or the rest of a head

# The counts over all connections, and the commands to them. It is in memory that forked children share.
ctypedef struct SharedState:
    atomic_uint command       # Command (shared/command.pxd)
    atomic_uint closing_keepalives  # responses say Connection: close
    SharedListeners listeners
    Counters *counters        # its own, or in the metrics; at the same address in all children
    Counters own_counters
    Counters counted_before   # in the metrics, by processes before this one

# The record of one connection. The one thread that has it serves it.
ctypedef struct BlockingConnection:
    Transport transport       # its descriptor is -1 once it is closed
    uint8_t address[ADDRESS_BYTES]   # sockaddr of the peer, or of the client named by its PROXY header
    uint8_t address_length
    uint16_t listener         # index of its listener in the table of endpoints
    uint32_t client_index     # the place of its client in the counts; 0: not counted
    bint adopted              # handed off by another process
    bint shook_hands          # the handshake of its transport is done, or there is none
    bint proxy_header_read    # its PROXY header, if it must begin with one, was read
    int reason                # why it must be refused: a Reason, as for refusal_text
    int64_t accepted_ns       # when it was accepted or adopted
    int64_t put_ns            # when it was put into the queue: first when it was accepted, later if others waited
    int64_t waited_ns         # how long it then waited for a thread; 0 once a request has reported it
    int64_t idle_ns           # since when nothing was received; 0: in the middle of a request
    int64_t sent_ns           # when its last response was sent; 0: none was. The order of idle connections
    uint32_t requests         # served so far
    Exchange *exchange        # NULL between requests
    bint unframed             # the exchange holds bytes not framed yet, with which it was adopted
    void *app_state           # the bridge's, while no exchange has it
    # Guarded by the lock of the idle lists.
    uint8_t idle_kind         # IdleKind: the list that it is in; in a child: what its word says
    bint waits                # its thread waits for bytes, and has looked at all that came before
    bint parked               # it is in the queue, and no thread has it
    bint evicted              # it was closed to make room
    int64_t listed_ns         # since when it has been in its list
    BlockingConnection *idle_next
    BlockingConnection *idle_previous

ctypedef struct IdleList:
    BlockingConnection *first  # has waited longest
    BlockingConnection *last

# The connections that wait for a request and could make room for a new one (idle_lists.pyx).
ctypedef struct IdleLists:
    pthread_mutex_t lock
    IdleList idle
    IdleList fresh
    unsigned int closing      # evicted connections that have not ended yet
    atomic_llong *words       # of child processes, in shared memory; NULL: connections have threads
    uint32_t words_count
    uint32_t child_index      # in a child: the index of its own word

# Whether the connections of a queue stand there (overdue.pyx).
ctypedef struct QueueOverload:
    pthread_mutex_t lock      # guards everything below but forwarders
    Overload overload
    int64_t busy_ns           # of turns that ended in the interval
    int64_t silent_ns         # in it, that threads waited for silent connections while others waited for a thread
    ProxyClock proxy_clock
    const Trust *forwarders   # proxies whose fields are believed; NULL: none are

# One for each server. Any number of threads read it at once; what changes is atomic, has a lock, or is a child's own.
ctypedef struct DriverRecord:
    Limits limits
    Timeouts timeouts
    ExchangePool pool
    Store *store
    const Trust *proxies      # peers that may connect, with a PROXY header; NULL: any peer, without one
    IdleLists idle
    ClientLimitRecord *client_limit  # NULL: a client may have any number of connections
    Gate resuming_gate        # before the GIL, for threads with a request or a response to send
    Gate closing_gate         # the same, for threads whose connection has ended: they are not urgent
    Observers observers       # of the ends of requests
    Refusals *refusals        # NULL: refusals are not logged
    const NativeHandler *files  # NULL: the application answers every request
    SharedState *shared
    ScoreboardRecord *scoreboard  # NULL: this is the server's only process
    SlotRecord *slot
    SlotMetrics *metrics      # NULL: nothing is measured
    int64_t accept_again      # ns; when to accept again, after descriptors or memory were short; the accepting thread's
    Queue *waiting            # of connections that wait for a thread; NULL: there is no queue
    QueueOverload *overload   # of that queue; NULL: nothing is refused because of it
    int drain_fd              # readable once the server drains or hands off
    int stop_fd               # readable once it stops
    EndpointTable *endpoints  # the accepting thread adds to it
    int handoff_fd            # the writing end of the queue of connections to adopt; -1: none can be handed off
    int eviction_fd           # readable when an idle connection should end or be queued; -1: never
    atomic_uint idle_watchers  # threads that wait on an idle connection
    bint is_child             # a child of the process that counts open connections; SIGTERM ends its connection
    ServerFields fields       # of the server's own responses

cdef inline bint is_handing_off(DriverRecord *driver) noexcept nogil:
    """Tell whether each connection must be handed off when it becomes idle."""
    return load_uint(&driver.shared.command) == COMMAND_HANDOFF

cdef inline bint has_sigterm(DriverRecord *driver) noexcept nogil:
    """Tell whether this is a child whose connection must end with its response."""
    return driver.is_child and is_noted(SIGTERM)

cdef inline bint is_ending(DriverRecord *driver) noexcept nogil:
    """Tell whether each connection must end with its response: the server drains or stops, or this child must end."""
    return has_sigterm(driver) or closes_after_response(
        load_uint(&driver.shared.command), load_uint(&driver.shared.closing_keepalives))
