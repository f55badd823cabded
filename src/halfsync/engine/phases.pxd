# The phases of a connection and of a request, the owners of a request, and the tables of all transitions between them.
# tools/draw_states.py draws these tables in ARCHITECTURE.md. One function makes each kind of transition: those of
# transitions.pxd change a phase, those of ownership.pxd an owner. In the checks build each asserts that its table has
# the change.
from halfsync.native.sync cimport atomic_uint, load_uint

cdef extern from * nogil:
    """
    /* Of a connection. Only the engine changes it, and only while it owns the request. */
    enum {
        PHASE_FREE,           /* the record is in the free list */
        PHASE_HANDSHAKE,      /* of the transport: nothing can be received before */
        PHASE_SILENT,         /* accepted, and nothing received yet */
        PHASE_IDLE,           /* between two requests */
        PHASE_ACTIVE,         /* its request says more */
        PHASE_LINGER,         /* the last response is sent; what still comes is dropped until the client closes */
        PHASE_CLOSED_NOTIFY   /* the socket is closed, and a worker must tell the bridge if it keeps something */
    };
    /* Of a request. Only the owner of the request changes it. */
    enum {
        REQUEST_NONE,         /* there is no request */
        REQUEST_HEAD,         /* part of a head was received */
        REQUEST_BODY,         /* the head, and not all of the body */
        REQUEST_TURN,         /* it is complete: in the queue or with a worker */
        REQUEST_SENDING,      /* back with the engine, which sends what the outbox holds */
        REQUEST_DONE,         /* its worker has sent all of the response, or cut it: `end` says what follows */
        REQUEST_NOTIFY        /* its connection is closed; in the queue or with a worker, which tells the bridge */
    };
    /* Of a request. They are part of a word: see ownership.pxd. */
    enum {
        OWNER_ENGINE = 0,     /* the engine's thread */
        OWNER_QUEUE = 1,      /* the request queue: neither side touches it */
        OWNER_WORKER = 2,     /* one worker */
        OWNER_RETURNED = 3,   /* the list of returned requests: neither side touches it */
        OWNER_MASK = 3,
        OWNER_EVENT = 4
    };

    /* From any of the states on the left, the one in the middle; made by the side on the right: Engine or Worker. */
    typedef struct { unsigned int from; unsigned char to; char by; } hs_transition;
    #define HS_FROM(state) (1u << (state))
    #define HS_AWAITING (HS_FROM(PHASE_SILENT) | HS_FROM(PHASE_IDLE))
    #define HS_RECEIVING (HS_FROM(REQUEST_NONE) | HS_FROM(REQUEST_HEAD) | HS_FROM(REQUEST_BODY))
    static const hs_transition hs_connection_transitions[] = {
        {HS_FROM(PHASE_FREE), PHASE_HANDSHAKE, 'E'},                         /* accepted */
        {HS_FROM(PHASE_FREE) | HS_FROM(PHASE_HANDSHAKE), PHASE_SILENT, 'E'}, /* accepted or adopted; shaken hands */
        {HS_FROM(PHASE_SILENT) | HS_FROM(PHASE_ACTIVE), PHASE_SILENT, 'E'},  /* the PROXY header is complete */
        {HS_FROM(PHASE_SILENT), PHASE_IDLE, 'E'},                            /* adopted between two requests */
        {HS_AWAITING, PHASE_ACTIVE, 'E'},                                    /* a request begins, or a long refusal */
        {HS_AWAITING | HS_FROM(PHASE_ACTIVE), PHASE_IDLE, 'E'},              /* all of the response is sent */
        {HS_AWAITING | HS_FROM(PHASE_ACTIVE), PHASE_LINGER, 'E'},            /* the last response is sent, or cut */
        {HS_FROM(PHASE_LINGER), PHASE_LINGER, 'E'},                          /* its end was sent: the wait begins */
        {~(HS_FROM(PHASE_FREE) | HS_FROM(PHASE_CLOSED_NOTIFY)), PHASE_CLOSED_NOTIFY, 'E'}, /* closed, or handed off */
        {HS_FROM(PHASE_CLOSED_NOTIFY), PHASE_FREE, 'E'},                     /* the bridge keeps nothing of it */
    };
    static const hs_transition hs_request_transitions[] = {
        {HS_FROM(REQUEST_NONE), REQUEST_HEAD, 'E'},                          /* its first bytes */
        {HS_RECEIVING, REQUEST_BODY, 'E'},                                   /* more of its body is to come */
        {HS_RECEIVING, REQUEST_TURN, 'E'},                                   /* it is complete, and queued */
        {HS_RECEIVING | HS_FROM(REQUEST_TURN), REQUEST_SENDING, 'E'},        /* a file or a refusal does not fit */
        {HS_FROM(REQUEST_TURN), REQUEST_SENDING, 'W'},                       /* the response does not fit the socket */
        {HS_FROM(REQUEST_TURN), REQUEST_DONE, 'W'},                          /* the response is sent, or cut */
        {HS_FROM(REQUEST_SENDING), REQUEST_SENDING, 'E'},                    /* taken back from a worker */
        {HS_FROM(REQUEST_NONE), REQUEST_NOTIFY, 'E'},                        /* queued, its connection being closed */
        {~HS_FROM(REQUEST_NONE), REQUEST_NONE, 'E'},                         /* its connection goes on, or ends */
    };
    static const hs_transition hs_owner_transitions[] = {
        {HS_FROM(OWNER_ENGINE), OWNER_QUEUE, 'E'},                           /* submitted */
        {HS_FROM(OWNER_QUEUE), OWNER_ENGINE, 'E'},                           /* the queue refused it, or gave it back */
        {HS_FROM(OWNER_QUEUE), OWNER_WORKER, 'W'},                           /* taken out of the queue */
        {HS_FROM(OWNER_WORKER), OWNER_ENGINE, 'W'},                          /* released: nothing is left to do */
        {HS_FROM(OWNER_WORKER), OWNER_RETURNED, 'W'},                        /* returned: the engine must look at it */
        {HS_FROM(OWNER_WORKER), OWNER_ENGINE, 'E'},                          /* seized: its turn passed its deadline */
        {HS_FROM(OWNER_ENGINE), OWNER_RETURNED, 'E'},                        /* deferred to the loop's next cycle */
        {HS_FROM(OWNER_RETURNED), OWNER_ENGINE, 'E'},                        /* taken out of the list */
    };

    static inline int hs_has(const hs_transition *row, size_t size, int from, int to, int by) {
        const hs_transition *end = row + size / sizeof(*row);
        for (; row < end; row++)
            if (row->to == to && row->by == by && (row->from >> from & 1))
                return 1;
        return 0;
    }
    static inline int hs_connection_may(int from, int to, int by) {
        return hs_has(hs_connection_transitions, sizeof(hs_connection_transitions), from, to, by);
    }
    static inline int hs_request_may(int from, int to, int by) {
        return hs_has(hs_request_transitions, sizeof(hs_request_transitions), from, to, by);
    }
    static inline int hs_owner_may(int from, int to, int by) {
        return hs_has(hs_owner_transitions, sizeof(hs_owner_transitions), from, to, by);
    }
    """
    enum:
        PHASE_FREE
        PHASE_HANDSHAKE
        PHASE_SILENT
        PHASE_IDLE
        PHASE_ACTIVE
        PHASE_LINGER
        PHASE_CLOSED_NOTIFY
        REQUEST_NONE
        REQUEST_HEAD
        REQUEST_BODY
        REQUEST_TURN
        REQUEST_SENDING
        REQUEST_DONE
        REQUEST_NOTIFY
        OWNER_ENGINE
        OWNER_QUEUE
        OWNER_WORKER
        OWNER_RETURNED
        OWNER_MASK
        OWNER_EVENT
    bint connection_may "hs_connection_may" (int before, int after, int by)
    bint request_may "hs_request_may" (int before, int after, int by)
    bint owner_may "hs_owner_may" (int before, int after, int by)


cdef inline bint owner_is(atomic_uint *word, unsigned int owner) noexcept nogil:
    """Return whether this is the owner, with or without OWNER_EVENT."""
    return load_uint(word) & OWNER_MASK == owner
