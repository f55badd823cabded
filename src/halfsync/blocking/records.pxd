# The data of the models with a carrier: one record for each connected client, and one for what all of them share. The
# functions over them: connection.pyx, waiting.pyx, receiving.pyx, responding.pyx, refusing.pyx, handing_off.pyx;
# driver.pyx puts them together.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from halfsync.blocking.client_limit cimport Admission
from halfsync.exchange.exchange cimport Exchange, ExchangePool, Limits
from halfsync.exchange.native_handler cimport Answerer
from halfsync.exchange.spool cimport Store
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.http.response_head cimport ServerFields
from halfsync.http.trust cimport ADDRESS_BYTES, Trust
from halfsync.listening.endpoints cimport EndpointTable
from halfsync.native.forks cimport is_noted
from halfsync.native.gate cimport Gate
from halfsync.native.sync cimport atomic_llong, atomic_uint, load_uint, pthread_mutex_t
from halfsync.observe.access cimport Log
from halfsync.observe.refusals cimport Refusals
from halfsync.pool.request_queue cimport Queue
from halfsync.shared.slots cimport BoardRecord, SeatRecord
from halfsync.transport.transport cimport Transport

cdef extern from "<signal.h>" nogil:
    const int SIGTERM

cdef enum:
    SCRATCH_BYTES = 64 * 1024  # received at once where the exchange has no better place

cdef enum Command:
    CARRY_ON
    CARRY_LEAVE               # hand over what comes to rest, or finish it
    CARRY_DRAIN               # finish what was received
    CARRY_STOP                # end now

# What became of a connection. Above 0 a request is complete; below -1 it must be refused with -status.
cdef enum:
    ENDED = -1
    PARKED = 0                # it has nothing to say, and others wait

# What a connection waits for (idle_lists.pyx).
cdef enum Rest:
    REST_NOT                  # nothing, or something else
    REST_IDLE                 # its next request
    REST_FRESH                # its first byte, or the rest of a head

# What is counted over all connections, and what they are told. It lies in memory that forked children share.
ctypedef struct Tally:
    atomic_uint command       # Command
    atomic_uint fading        # responses say Connection: close
    atomic_uint others_accept  # on the same listeners, but for those of `alone`: what is in their backlog stays there
    atomic_llong alone        # Alone of listeners on which nobody else accepts; set before others_accept
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
ctypedef struct ClientRecord:
    Transport transport       # its descriptor is -1 once it is closed
    uint8_t address[ADDRESS_BYTES]   # sockaddr of the peer, or of the client that its PROXY header told
    uint8_t address_length
    uint16_t listener         # index of the listener that it came by, in the table of endpoints
    uint32_t place            # among the connections of its client; 0: not counted
    bint adopted              # from a process that has left
    bint shook_hands          # the handshake of its transport is done, or there is none
    bint greeted              # its PROXY header, where it must begin with one, was read
    const char *reason        # why it must be refused, as for refusals_note
    int64_t put_ns            # when it was accepted, or put back for others
    int64_t waited_ns         # how long it then waited for a thread; 0 once a request was told
    int64_t idle_ns           # since when nothing was received; 0: in the middle of a request
    int64_t sent_ns           # when its last response was sent; 0: none was. Idle connections are in this order
    uint32_t requests         # served so far
    Exchange *exchange        # NULL between requests
    bint unframed             # what the exchange holds is not framed yet: the connection was adopted with it
    void *kept                # the bridge's, while no exchange has it
    # Guarded by the lock of the lists.
    uint8_t rests             # Rest: the list that it stands in; in a child: what its word says
    bint waits                # its thread waits for bytes, and has looked at all that came before
    bint parked               # it waits in the queue, and no thread has it
    bint closed               # to make room
    int64_t rest_ns           # since when it has been in its list
    ClientRecord *rest_next
    ClientRecord *rest_previous

ctypedef struct RestList:
    ClientRecord *first       # has waited longest
    ClientRecord *last

# Those that wait for a request, and could make room for a newcomer (idle_lists.pyx).
ctypedef struct Rests:
    pthread_mutex_t lock
    RestList idle
    RestList fresh
    unsigned int closing      # connections that were told to end, and have not ended yet
    atomic_llong *words       # of child processes, in memory that they share; NULL: connections have threads
    uint32_t words_count
    uint32_t own              # in a child: which word is its own

# Of one server. Any number of threads read it at once; what changes is atomic, has a lock, or is a child's own.
ctypedef struct CarrierRecord:
    Limits limits
    Timeouts timeouts
    ExchangePool pool
    Store *store
    const Trust *proxies      # that may connect, and must begin with a PROXY header; NULL: anybody, without
    Rests rests
    Admission *admission      # NULL: a client may have any number of connections
    Gate resuming             # before the GIL, for threads with a request or with something to send
    Gate ending               # likewise, for threads whose connection has ended: they are in no hurry
    Log *access               # NULL: nothing is logged
    Refusals *refusals        # NULL: no reason of a refusal is
    const Answerer *files     # NULL: every request is the application's
    Tally *tally
    BoardRecord *board        # NULL: this is the server's only process
    SeatRecord *seat
    Queue *waiting            # of connections that wait for a thread; NULL: none ever does
    int drain_fd              # readable once the server drains or leaves
    int stop_fd               # readable once it stops
    EndpointTable *endpoints  # the thread that accepts adds to it
    int leaving_fd            # the writing end of the queue of connections to adopt; -1: none can be handed over
    int call_fd               # readable when an idle connection should be given up; -1: never
    atomic_uint idlers        # threads that watch an idle connection while nothing else waits for them
    bint is_child             # of the process that counts open connections; SIGTERM ends its connection
    ServerFields fields       # of the server's own responses

cdef inline bint is_leaving(CarrierRecord *carrier) noexcept nogil:
    """Tell whether each connection that comes to rest is to be handed over."""
    return load_uint(&carrier.tally.command) == CARRY_LEAVE

cdef inline bint is_told_to_end(CarrierRecord *carrier) noexcept nogil:
    """Tell whether this is a child whose connection must end with its response."""
    return carrier.is_child and is_noted(SIGTERM)

cdef inline bint is_ending(CarrierRecord *carrier) noexcept nogil:
    """Tell whether each connection must end with its response: the server drains, or ends, or this child is told to."""
    return (
        is_told_to_end(carrier) or load_uint(&carrier.tally.command) > CARRY_LEAVE
        or load_uint(&carrier.tally.fading) != 0
    )
