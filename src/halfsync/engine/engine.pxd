# The engine's data: one record for the loop, one for each connection, one for each request. Beside each field stands
# which side may touch it. "Owner" is the owner of the request. A worker that owns a request sends on the transport of
# its connection, and reads `peer`, `requests`, `address` and `listener` there. It changes nothing else of it.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from halfsync.engine.lane_rules cimport LaneRules
from halfsync.engine.lease cimport Lease
from halfsync.engine.poller cimport Handle, Poller
from halfsync.engine.timers cimport Timer, Wheel
from halfsync.exchange.exchange cimport Exchange, ExchangePool, Limits
from halfsync.exchange.native_handler cimport NativeHandler
from halfsync.exchange.outbox cimport Outbox
from halfsync.exchange.rates cimport Pace
from halfsync.exchange.spool cimport Store
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.http.request_start cimport ProxyClock
from halfsync.http.response_head cimport ServerFields
from halfsync.http.trust cimport ADDRESS_BYTES, Trust
from halfsync.listening.endpoints cimport EndpointTable
from halfsync.native.gate cimport Gate
from halfsync.native.sync cimport atomic_pointer, atomic_uchar, atomic_uint, pthread_mutex_t, pthread_t, sem_t
from halfsync.observe.completion cimport Observers
from halfsync.observe.refusals cimport Refusals
from halfsync.pool.queue_records cimport Queue, QueueWatch
from halfsync.shared.accepting cimport SharedListeners
from halfsync.shared.client_counts cimport ClientCounts
from halfsync.shared.counters cimport Counters
from halfsync.shared.metrics cimport CONNECTION_STATES, SlotMetrics
from halfsync.shared.slots cimport ScoreboardRecord, SlotRecord
from halfsync.transport.transport cimport TransportProfile

cdef enum:
    LISTENERS_MAX = 64
    HANDSHAKE_THREADS = 2
    SLAB = 256                # connections allocated together
    SCRATCH_BYTES = 256 * 1024
    EVICTION_BATCH = 128      # connections found by one scan for those that idle longest
    CLIENT_REJECTED = 0xFFFFFFFF  # marks a connection that was rejected and is not closed yet

ctypedef struct Connection

# What follows a response that its worker has sent.
cdef enum RequestEnd:
    END_STAYS                 # the connection may serve another request
    END_LINGERS               # the connection ends with this response
    END_CUTS                  # so it does, and the response broke off

# How a step of a handshake has ended that another thread has done.
cdef enum HandshakeEnd:
    HANDSHAKE_DONE
    HANDSHAKE_WANTS_READ
    HANDSHAKE_WANTS_WRITE
    HANDSHAKE_FAILED

# A request and its turn. Over HTTP/1 a connection has one request at a time, and one record for all of them.
ctypedef struct Request:
    atomic_uint owner         # ownership.pxd has every change of it
    uint8_t phase             # owner; phases.pxd has every change of it
    uint8_t end               # worker, before REQUEST_DONE; RequestEnd. Of a handshake: HandshakeEnd
    uint8_t lane              # engine; in which it waits, if the queue has lanes
    uint8_t probed            # engine; the client had sent its end, and was probed (probe_client)
    uint32_t lease_serial     # as for lease
    uint32_t ticket           # engine: its place in the request queue
    Exchange *exchange        # owner; NULL between requests
    Outbox *outbox            # owner
    void *app_state           # owner; what the bridge keeps between turns, while no exchange has it
    int64_t since             # owner; ns: when the phase began, or last made progress; NONE: that of its connection
    # In the list of returned requests: owner, then engine; of free ones: engine; of handshakes: under their lock.
    Request *next
    Lease *lease              # worker, before it takes the request: lease of its turn; NULL: no deadline

ctypedef struct Connection:
    Handle handle             # engine; the transport in it: owner of the request
    atomic_uchar peer         # engine; Peer. A worker reads it
    uint8_t phase             # engine; phases.pxd has every change of it
    uint8_t awaits_proxy      # engine; a PROXY header must come first, and is not complete yet
    uint8_t rejected          # engine; its client has too many connections: reject it after the handshake
    uint8_t finishing         # engine; the transport has not yet said that nothing more will be sent
    uint8_t address_length
    uint16_t listener         # index of the listener that accepted it, in the table of endpoints
    Request request
    Timer timer               # engine
    uint32_t requests         # engine; complete ones so far. A worker reads it during the turn
    uint32_t client_index     # engine; index in the counts of clients, or CLIENT_REJECTED
    Pace pace                 # engine: rate of the body that the client sends, or of the response that it takes
    int64_t accepted_ns       # engine; when it was accepted or adopted
    uint8_t address[ADDRESS_BYTES]   # sockaddr of the peer, or of the client in its PROXY header; aligned as one
    uint32_t unsent           # engine: bytes that the client had not acknowledged when the timer last looked

cdef inline Connection *connection_of(const Request *request) noexcept nogil:
    """Return the connection that a request is embedded in."""
    cdef Connection some
    return <Connection *> (<char *> request - (<char *> &some.request - <char *> &some))

ctypedef struct EngineListener:
    Handle handle
    bint is_watched           # by the poller; the descriptor is the engine's own copy, -1 once it is closed

ctypedef struct Candidate:
    Connection *connection
    uint32_t generation       # of the connection, when it was found
    int64_t rank              # at that time

# Choice of the connection to close for a new one (eviction.pyx). For the engine's thread.
ctypedef struct Eviction:
    bint anything             # any connection may be closed, idle or not: set for probes
    Candidate batch[EVICTION_BATCH]
    uint32_t length
    uint32_t next             # index in the batch of the first one not closed yet
    int64_t scanned_ns        # when the batch was found
    int64_t scan_ns           # earliest time of the next scan
    int64_t again_ns          # earliest time of the next close, after none was possible

# A response of the engine's own that does not end by itself (feeds.pyx). For the engine's thread.
ctypedef struct Feed:
    Feed *next
    Outbox *outbox            # a reference: that of a worker
    Exchange *exchange        # of its request, until it ends
    uint8_t address[ADDRESS_BYTES]   # of its client
    uint8_t address_length

# The threads that do handshakes whose steps compute (handshakes.pyx), and the connections that wait for them.
ctypedef struct Handshakes:
    pthread_mutex_t lock      # guards the list
    Request *first            # of the list, by `next`
    Request *last
    uint32_t waiting
    sem_t wakeup              # posted for each connection in the list, and for each thread that must end
    atomic_uint ending
    pthread_t threads[HANDSHAKE_THREADS]
    int threads_count         # 0: no kind of transport needs them

ctypedef struct Engine:
    Poller poller
    Wheel wheel
    Limits limits
    Timeouts timeouts
    Store *store
    Observers observers       # of the ends of requests
    Refusals *refusals        # NULL: reasons of refusals are not logged
    Queue *queue
    const LaneRules *lane_rules  # which requests go to which lane of the queue; NULL: it has no lanes
    const NativeHandler *files  # NULL: every request goes to the application
    ExchangePool pool
    const Trust *proxies      # peers that may connect and must send a PROXY header; NULL: any peer, without one
    const Trust *forwarders   # proxies whose fields are believed; NULL: how long requests waited there does not matter
    ProxyClock proxy_clock
    int64_t spool_memory
    int64_t response_ahead    # bytes that a response may be ahead of its client; 0: no limit
    # Slabs of connections, never freed while the engine lives: the generation shows that an event is stale.
    Connection **slabs
    uint32_t slabs_count
    Request *free             # of free connections: a list, by `next`
    uint32_t open
    uint32_t open_max
    uint32_t requests_max     # on one connection, if the engine itself answers them; 0: no limit
    Eviction eviction
    ClientCounts clients      # open connections of each client, if they are limited
    uint32_t rejected_lingering  # connections that were rejected and are not closed yet
    EngineListener listeners[LISTENERS_MAX]
    const TransportProfile *profiles  # one for each listener; NULL: all have plain sockets
    Handshakes handshakes
    uint16_t listeners_count  # 0 once all are closed
    EndpointTable *endpoints  # the engine adds to it; NULL: no connection is handed off or adopted
    int64_t accept_again      # ns; when to accept again, after descriptors or memory were short
    Handle adoption           # reading end of the hand-off queue; the engine's own copy, -1: none
    bint adoption_watched
    int handoff_fd            # writing end of that queue; also a copy, -1: none
    int64_t handoff_again     # ns; when to try again, after the queue was full
    bint handoff_unfinished   # some connections at rest are left for the next cycle
    int64_t evict_stalled_again  # ns; earliest time of the next look (spool_eviction.pyx)
    Handle waker
    Handle scoreboard_wakeup  # readable: check whether to accept; fd -1: this is the only process
    ScoreboardRecord *scoreboard  # NULL: this is the only process
    SlotRecord *slot
    int64_t now               # ns; the loop's clock, read once a cycle
    QueueWatch watch          # on the request queue
    bint put_some             # requests were put since the last queue_check
    Feed *feeds               # NULL: there is none
    int64_t feeds_due         # ns; when they get more
    ServerFields fields       # of its own responses
    char *scratch             # SCRATCH_BYTES, for bytes in transit
    # Shared with workers.
    atomic_uint sleeping      # the loop is in its wait call, or about to be
    atomic_uint command       # Command (shared/command.pxd)
    atomic_uint closing_keepalives  # responses say Connection: close
    SharedListeners shared_listeners
    atomic_pointer returned   # Request list: those that the engine must look at
    atomic_pointer announced  # Outbox list: there is more to send
    Counters *counters        # its own, or in its metrics
    Counters own_counters
    Counters counted_before   # in the metrics, by processes before this one
    SlotMetrics *metrics      # NULL: nothing is measured
    long long census[CONNECTION_STATES]  # connections visited so far, by state (census.pyx)
    uint32_t census_next      # record to visit next; 0: no walk is under way
    int64_t census_again      # ns; when the next one begins at the earliest
    Gate *gate                # passed by workers on their way back to the GIL; NULL: they are not measured
    pthread_t thread
    sem_t monitor_wakeup      # posted for the monitor: a turn passed its deadline, or a refusal was noted
    int done_fd               # writing end of a pipe; written to and closed when the loop has ended

# The worker's side.
# Report the end of a request, whose outcome is noted. The caller owns its exchange. NULL: a refusal, reported already.
cdef void engine_end_request(Engine *engine, Exchange *exchange, const uint8_t *address, int address_length,
                             int64_t now) noexcept nogil

# Note why a request, or a connection (status 0), is refused. exchange, reason: a Reason, as for refusal_text.
cdef void engine_note_refusal(Engine *engine, const Exchange *exchange, const uint8_t *address, int address_length,
                              int status, int reason) noexcept nogil

cdef void engine_announce(Engine *engine, Outbox *outbox) noexcept nogil
cdef void engine_return(Engine *engine, Request *request) noexcept nogil
cdef void engine_defer(Engine *engine, Request *request) noexcept nogil
cdef void engine_release(Engine *engine, Request *request) noexcept nogil
cdef void engine_wake(Engine *engine) noexcept nogil
cdef bint engine_is_closing_keepalives(Engine *engine) noexcept nogil
cdef bint engine_is_handing_off(Engine *engine) noexcept nogil
