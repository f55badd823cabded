# The engine's data: one record for the loop, one for each connection. Who may touch what stands beside it.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from halfsync.engine.lease cimport Lease
from halfsync.engine.poller cimport Handle, Poller
from halfsync.engine.timers cimport Timer, Wheel
from halfsync.exchange.exchange cimport Exchange, ExchangePool, Limits
from halfsync.exchange.native_handler cimport NativeHandler
from halfsync.exchange.outbox cimport Outbox
from halfsync.exchange.rates cimport Pace
from halfsync.exchange.spool cimport Store
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.http.response_head cimport ServerFields
from halfsync.http.trust cimport ADDRESS_BYTES, Trust
from halfsync.listening.endpoints cimport EndpointTable
from halfsync.native.sync cimport atomic_llong, atomic_pointer, atomic_uint, pthread_t, sem_t
from halfsync.observe.access cimport AccessLogRecord
from halfsync.observe.refusals cimport Refusals
from halfsync.pool.request_queue cimport Queue, QueueWatch
from halfsync.shared.client_counts cimport ClientCounts
from halfsync.shared.slots cimport ScoreboardRecord, SlotRecord
from halfsync.transport.transport cimport Transport

cdef enum:
    LISTENERS_MAX = 64
    SLAB = 256                # connections allocated together
    SCRATCH_BYTES = 256 * 1024
    EVICTION_BATCH = 128      # connections found by one scan for those that idle longest
    CLIENT_REJECTED = 0xFFFFFFFF  # of a connection that was rejected, and has not been closed yet

cdef enum Peer:
    PEER_HERE
    PEER_ENDED                # it sends no more; it may still read
    PEER_GONE                 # the connection is dead

ctypedef struct Connection:
    Handle handle             # engine
    Transport transport       # owner
    atomic_uint owner         # ownership.pxd has every change of it
    atomic_uint peer          # Peer; written by the engine, read by both
    Timer timer               # engine
    uint8_t phase             # owner; phases.pxd has every change of it
    uint8_t rejected          # engine; its client has all it may have, and is told so after the handshake
    uint8_t finishing         # engine; the transport has not yet said that nothing more will be sent
    uint8_t probed            # engine; a client that had ended was asked whether it still listens
    uint16_t listener         # index of the listener that it came by, in the table of endpoints
    uint8_t address[ADDRESS_BYTES]   # sockaddr of the peer, or of the client that its PROXY header told; aligned as one
    uint8_t address_length
    uint8_t awaits_proxy      # engine; it must begin with a PROXY header, which is not complete yet
    uint32_t requests         # owner; served so far
    int64_t since             # owner; ns: when the phase began, or last went on
    Exchange *exchange        # owner; NULL between requests
    Outbox *outbox            # owner
    void *app_state           # owner; what the bridge keeps from turn to turn, while no exchange has it
    Connection *next          # engine: free list; worker: in the list of returned connections
    uint64_t ticket           # engine: its place in the request queue
    int64_t unsent            # engine: bytes that the client had not acknowledged when the timer last looked
    uint32_t client_index     # engine; among the counts of clients, or CLIENT_REJECTED
    Pace pace                 # engine: of the body that it sends, or of the response that it takes
    Lease *lease              # worker, before it takes the connection: of its turn; NULL: turns have no deadline
    uint32_t lease_serial     # likewise

ctypedef struct EngineListener:
    Handle handle
    bint is_watched           # by the poller; its descriptor is the engine's own copy, -1 once it is closed

ctypedef struct Candidate:
    Connection *connection
    uint32_t generation       # the connection's, when it was found
    int64_t rank              # likewise

# Which connection is closed for a newcomer (eviction.pyx). For the engine's thread.
ctypedef struct Eviction:
    bint anything             # any connection may be closed, idle or not: so it is for probes
    Candidate batch[EVICTION_BATCH]
    uint32_t length
    uint32_t next             # position in the batch of the first that was not closed yet
    int64_t scanned_ns        # when the batch was found
    int64_t scan_ns           # when the next scan may be, at the earliest
    int64_t again_ns          # when one may be closed at the earliest, after none could be

cdef enum EngineCommand:
    COMMAND_SERVE
    COMMAND_HANDOFF           # accept no more; hand off what comes to rest; then end
    COMMAND_DRAIN             # accept no more; finish what was received; then end
    COMMAND_STOP              # end now

# Plain counters, each written by the engine's thread only; a reader may see one a little late.
ctypedef struct EngineCounters:
    uint64_t accepted
    uint64_t adopted          # from processes that left
    uint64_t handed_over      # to others
    uint64_t requests
    uint64_t files            # of those, answered here with a static file
    uint64_t partings         # put into the queue for a worker to tell the bridge that a connection has ended
    uint64_t refused          # malformed, too large, too late
    uint64_t shed             # answered 503 because the queue was full, or their client had all its connections
    uint64_t limited          # of those, the latter: max_connections_per_client
    uint64_t timed_out        # turns of the application that met their deadline
    uint64_t made_room        # closed to make room for a newcomer
    uint64_t evicted          # cut to make room on the disk for others
    uint64_t left             # the client left before its response was complete
    uint64_t dropped          # queued requests that were not run, since their client had left
    uint64_t turns            # of the loop

ctypedef struct Engine:
    Poller poller
    Wheel wheel
    Limits limits
    Timeouts timeouts
    Store *store
    AccessLogRecord *access   # NULL: nothing is logged
    Refusals *refusals        # NULL: no reason of a refusal is
    Queue *queue
    const NativeHandler *files  # NULL: every request is the application's
    ExchangePool pool
    const Trust *proxies      # that may connect, and must begin with a PROXY header; NULL: anybody, without
    int64_t spool_memory
    int64_t response_ahead    # bytes that a response may be ahead of its client; 0: any number
    # Slabs of connections, never freed while the engine lives: a stale event finds a generation to fail on.
    Connection **slabs
    uint32_t slabs_count
    Connection *free
    uint32_t open
    uint32_t open_max
    uint32_t requests_max     # on one connection, if the engine itself answers them; 0: any number
    Eviction eviction
    ClientCounts clients      # of open connections, where they are limited
    uint32_t rejected_lingering  # connections that were rejected, and have not been closed yet
    EngineListener listeners[LISTENERS_MAX]
    uint16_t listeners_count  # 0 once all are closed
    EndpointTable *endpoints  # engine adds; NULL: no connection is handed off or adopted
    int64_t accept_again      # ns; accept failed for want of descriptors, and is tried again then
    Handle adoption           # the reading end of the queue of connections to adopt; the engine's own copy, -1: none
    bint adoption_watched
    int handoff_fd            # its writing end; likewise
    int64_t handoff_again     # ns; the queue was full, and is tried again then
    bint handoff_unfinished   # connections at rest are left over from this turn
    int64_t evict_stalled_again  # ns; not to look for room before
    Handle waker
    Handle scoreboard_wakeup  # the scoreboard's, at which to look whether to listen; fd -1: this is the only process
    ScoreboardRecord *scoreboard  # NULL: likewise
    SlotRecord *slot
    int64_t now               # ns; the loop's clock, read once a turn
    QueueWatch watch          # on the request queue
    bint put_some             # requests were put since the queue was last told to wake
    ServerFields fields       # of its own responses
    char *scratch             # SCRATCH_BYTES, for bytes on their way elsewhere
    # Shared with workers.
    atomic_uint sleeping      # the loop is in its wait call, or about to be
    atomic_uint command       # EngineCommand
    atomic_uint closing_keepalives  # responses say Connection: close
    atomic_uint others_accept  # on the same listeners, but for those of `exclusive`: their backlog stays there
    atomic_llong exclusive    # ListenerMask of listeners on which nobody else accepts; set before others_accept
    atomic_pointer returned   # Connection list: replies that the engine must look at
    atomic_pointer announced  # Outbox list: there is more to send
    EngineCounters counters
    pthread_t thread
    sem_t monitor_wakeup      # posted for the monitor: a turn has met its deadline, or a refusal was noted
    int done_fd               # a pipe's writing end; written to and closed when the loop has ended

# The worker's side.
# Log a request whose response has ended, or broken off. Whoever has its exchange calls this.
cdef void engine_log(Engine *engine, const Exchange *exchange, const uint8_t *address, int address_length,
                     int64_t now) noexcept nogil

# Note why a request, or a connection (status 0), is refused. exchange, reason: as for refusals_note.
cdef void engine_note_refusal(Engine *engine, const Exchange *exchange, const uint8_t *address, int address_length,
                              int status, const char *reason) noexcept nogil

cdef void engine_announce(Engine *engine, Outbox *outbox) noexcept nogil
cdef void engine_return(Engine *engine, Connection *connection) noexcept nogil
cdef void engine_defer(Engine *engine, Connection *connection) noexcept nogil
cdef void engine_release(Engine *engine, Connection *connection) noexcept nogil
cdef void engine_wake(Engine *engine) noexcept nogil
cdef bint engine_is_closing_keepalives(Engine *engine) noexcept nogil
cdef bint engine_is_handing_off(Engine *engine) noexcept nogil
