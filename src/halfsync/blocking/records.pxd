# The data of the blocking models: one record for each connected client, and one for what all of them share. The
# functions over them: connection.pyx, waiting.pyx, receiving.pyx, responding.pyx, refusing.pyx, handing_off.pyx;
# driver.pyx puts them together.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from halfsync.blocking.client_limit cimport ClientLimitRecord
from halfsync.exchange.exchange cimport Exchange, ExchangePool, Limits
from halfsync.exchange.native_handler cimport NativeHandler
from halfsync.exchange.spool cimport Store
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.http.response_head cimport ServerFields
from halfsync.http.trust cimport ADDRESS_BYTES, Trust
from halfsync.listening.endpoints cimport EndpointTable
from halfsync.native.forks cimport is_noted
from halfsync.native.gate cimport Gate
from halfsync.native.sync cimport atomic_llong, atomic_uint, load_uint, pthread_mutex_t
from halfsync.observe.access cimport AccessLogRecord
from halfsync.observe.refusals cimport Refusals
from halfsync.pool.request_queue cimport Queue
from halfsync.shared.slots cimport ScoreboardRecord, SlotRecord
from halfsync.transport.transport cimport Transport

cdef extern from "<signal.h>" nogil:
    const int SIGTERM

cdef enum:
    SCRATCH_BYTES = 64 * 1024  # received at once where the exchange has no better place

cdef enum DriverCommand:
    DRIVER_SERVE
    DRIVER_HANDOFF            # hand off what comes to rest, or finish it
    DRIVER_DRAIN              # finish what was received
    DRIVER_STOP               # end now

# What became of a connection. Above 0 a request is complete; below -1 it must be refused with -status.
cdef enum:
    ENDED = -1
    PARKED = 0                # it has nothing to say, and others wait

# What a connection waits for (idle_lists.pyx).
cdef enum IdleKind:
    IDLE_NONE                 # nothing, or something else
    IDLE_KEEPALIVE            # its next request
    IDLE_NEW                  # its first byte, or the rest of a head

# What is counted over all connections, and what they are told. It lies in memory that forked children share.
ctypedef struct SharedState:
    atomic_uint command       # DriverCommand
    atomic_uint closing_keepalives  # responses say Connection: close
    atomic_uint others_accept  # on the same listeners, but for those of `exclusive`: their backlog stays there
    atomic_llong exclusive    # ListenerMask of listeners on which nobody else accepts; set before others_accept
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
    atomic_llong finished     # turns that have ended, whatever came of them
    atomic_llong made_room    # closed to make room for a newcomer
    atomic_llong turns        # of the loop that accepts

# Whoever has the client converses with it; only one thread at a time.
ctypedef struct BlockingConnection:
    Transport transport       # its descriptor is -1 once it is closed
    uint8_t address[ADDRESS_BYTES]   # sockaddr of the peer, or of the client that its PROXY header told
    uint8_t address_length
    uint16_t listener         # index of the listener that it came by, in the table of endpoints
    uint32_t client_index     # among the connections of its client; 0: not counted
    bint adopted              # from a process that has left
    bint shook_hands          # the handshake of its transport is done, or there is none
    bint proxy_header_read    # its PROXY header, where it must begin with one, was read
    const char *reason        # why it must be refused, as for refusals_note
    int64_t put_ns            # when it was accepted, or put back for others
    int64_t waited_ns         # how long it then waited for a thread; 0 once a request was told
    int64_t idle_ns           # since when nothing was received; 0: in the middle of a request
    int64_t sent_ns           # when its last response was sent; 0: none was. Idle connections are in this order
    uint32_t requests         # served so far
    Exchange *exchange        # NULL between requests
    bint unframed             # what the exchange holds is not framed yet: the connection was adopted with it
    void *app_state           # the bridge's, while no exchange has it
    # Guarded by the lock of the lists.
    uint8_t idle_kind         # IdleKind: the list that it stands in; in a child: what its word says
    bint waits                # its thread waits for bytes, and has looked at all that came before
    bint parked               # it waits in the queue, and no thread has it
    bint evicted              # to make room
    int64_t listed_ns         # since when it has been in its list
    BlockingConnection *idle_next
    BlockingConnection *idle_previous

ctypedef struct IdleList:
    BlockingConnection *first  # has waited longest
    BlockingConnection *last

# Those that wait for a request, and could make room for a newcomer (idle_lists.pyx).
ctypedef struct IdleLists:
    pthread_mutex_t lock
    IdleList idle
    IdleList fresh
    unsigned int closing      # connections that were told to end, and have not ended yet
    atomic_llong *words       # of child processes, in memory that they share; NULL: connections have threads
    uint32_t words_count
    uint32_t child_index      # in a child: which word is its own

# Of one server. Any number of threads read it at once; what changes is atomic, has a lock, or is a child's own.
ctypedef struct DriverRecord:
    Limits limits
    Timeouts timeouts
    ExchangePool pool
    Store *store
    const Trust *proxies      # that may connect, and must begin with a PROXY header; NULL: anybody, without
    IdleLists idle
    ClientLimitRecord *client_limit  # NULL: a client may have any number of connections
    Gate resuming_gate        # before the GIL, for threads with a request or with something to send
    Gate closing_gate         # likewise, for threads whose connection has ended: they are in no hurry
    AccessLogRecord *access   # NULL: nothing is logged
    Refusals *refusals        # NULL: no reason of a refusal is
    const NativeHandler *files  # NULL: every request is the application's
    SharedState *shared
    ScoreboardRecord *scoreboard  # NULL: this is the server's only process
    SlotRecord *slot
    Queue *waiting            # of connections that wait for a thread; NULL: none ever does
    int drain_fd              # readable once the server drains or leaves
    int stop_fd               # readable once it stops
    EndpointTable *endpoints  # the thread that accepts adds to it
    int handoff_fd            # the writing end of the queue of connections to adopt; -1: none can be handed off
    int eviction_fd           # readable when an idle connection should be given up; -1: never
    atomic_uint idle_watchers  # threads that watch an idle connection while nothing else waits for them
    bint is_child             # of the process that counts open connections; SIGTERM ends its connection
    ServerFields fields       # of the server's own responses

cdef inline bint is_handing_off(DriverRecord *driver) noexcept nogil:
    """Tell whether each connection that comes to rest is to be handed off."""
    return load_uint(&driver.shared.command) == DRIVER_HANDOFF

cdef inline bint has_sigterm(DriverRecord *driver) noexcept nogil:
    """Tell whether this is a child whose connection must end with its response."""
    return driver.is_child and is_noted(SIGTERM)

cdef inline bint is_ending(DriverRecord *driver) noexcept nogil:
    """Tell whether each connection must end with its response: the server drains, or ends, or this child is told to."""
    return (
        has_sigterm(driver) or load_uint(&driver.shared.command) > DRIVER_HANDOFF
        or load_uint(&driver.shared.closing_keepalives) != 0
    )
