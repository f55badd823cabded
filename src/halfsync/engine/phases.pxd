# The phases of a connection, and the table of all transitions between them. tools/draw_states.py draws the table in
# ARCHITECTURE.md, with the changes of owner (ownership.pxd).
from libc.stdint cimport uint8_t

from halfsync.engine.engine cimport Connection
from halfsync.engine.ownership cimport OWNER_ENGINE, OWNER_WORKER, owner_is
from halfsync.native.checks cimport CHECKS, check

cdef extern from * nogil:
    """
    enum {
        PHASE_FREE,           /* the record is in the free list */
        PHASE_HANDSHAKE,      /* of the transport: nothing can be received before */
        PHASE_SILENT,         /* accepted, and nothing received yet */
        PHASE_IDLE,           /* between two requests */
        PHASE_HEAD,           /* part of a head was received */
        PHASE_BODY,           /* the head, and not all of the body */
        PHASE_TURN,           /* the request is complete: in the queue or with a worker */
        PHASE_SENDING,        /* back with the engine, which sends what the outbox holds */
        PHASE_LINGER,         /* the last response is sent; what still comes is dropped until the client closes */
        PHASE_CLOSED_NOTIFY,  /* the socket is closed, and a worker must tell the bridge if it keeps something */
        PHASE_COUNT
    };
    #define HS_PHASE(phase) (1u << PHASE_##phase)
    #define HS_RECEIVING (HS_PHASE(SILENT) | HS_PHASE(IDLE) | HS_PHASE(HEAD) | HS_PHASE(BODY))
    /* From any of the phases on the left, the one in the middle; made by the owner on the right. */
    static const struct { unsigned int from; unsigned char to; char by; } hs_transitions[] = {
        {HS_PHASE(FREE), PHASE_HANDSHAKE, 'E'},                      /* accepted */
        {HS_PHASE(FREE) | HS_PHASE(HANDSHAKE), PHASE_SILENT, 'E'},   /* accepted or adopted; the handshake is done */
        {HS_PHASE(SILENT) | HS_PHASE(HEAD), PHASE_SILENT, 'E'},      /* the PROXY header is complete */
        {HS_PHASE(SILENT), PHASE_IDLE, 'E'},                         /* adopted between two requests */
        {HS_PHASE(SILENT) | HS_PHASE(IDLE), PHASE_HEAD, 'E'},        /* the first bytes of a request */
        {HS_RECEIVING, PHASE_BODY, 'E'},                             /* more of a body is to come */
        {HS_RECEIVING, PHASE_TURN, 'E'},                             /* the request is complete, and queued */
        {HS_RECEIVING, PHASE_IDLE, 'E'},                             /* a static file was sent */
        {HS_RECEIVING | HS_PHASE(TURN), PHASE_SENDING, 'E'},         /* a file or a refusal does not fit the socket */
        {HS_PHASE(TURN), PHASE_IDLE, 'W'},                           /* the worker has sent all of the response */
        {HS_PHASE(TURN), PHASE_SENDING, 'W'},                        /* the response does not fit the socket */
        {HS_PHASE(TURN), PHASE_LINGER, 'W'},                         /* the last response, or a cut one, was sent */
        {HS_PHASE(SENDING), PHASE_SENDING, 'E'},                     /* taken back from a worker */
        {HS_PHASE(SENDING), PHASE_IDLE, 'E'},                        /* all of the response is sent */
        {HS_RECEIVING | HS_PHASE(TURN) | HS_PHASE(SENDING), PHASE_LINGER, 'E'},  /* the last response was sent */
        {HS_PHASE(LINGER), PHASE_LINGER, 'E'},                       /* taken back from a worker */
        {~(HS_PHASE(FREE) | HS_PHASE(CLOSED_NOTIFY)), PHASE_CLOSED_NOTIFY, 'E'},  /* closed, or handed off */
        {HS_PHASE(CLOSED_NOTIFY), PHASE_FREE, 'E'},                  /* the bridge keeps nothing of it */
    };
    static inline int hs_may_follow(int from, int to, int by) {
        unsigned int at;
        for (at = 0; at < sizeof(hs_transitions) / sizeof(hs_transitions[0]); at++)
            if (hs_transitions[at].to == to && hs_transitions[at].by == by && (hs_transitions[at].from >> from & 1))
                return 1;
        return 0;
    }
    """
    enum:
        PHASE_FREE
        PHASE_HANDSHAKE
        PHASE_SILENT
        PHASE_IDLE
        PHASE_HEAD
        PHASE_BODY
        PHASE_TURN
        PHASE_SENDING
        PHASE_LINGER
        PHASE_CLOSED_NOTIFY
        PHASE_COUNT
    bint may_follow "hs_may_follow" (int before, int after, int by)


cdef inline void change_phase(Connection *connection, int after) noexcept nogil:
    """Make a transition. The calling thread must own the connection."""
    if CHECKS:
        check(
            (owner_is(&connection.request.owner, OWNER_ENGINE) and may_follow(connection.phase, after, c"E"))
            or (owner_is(&connection.request.owner, OWNER_WORKER) and may_follow(connection.phase, after, c"W")),
            "a connection changes to a phase that cannot follow, or that its owner does not begin")
    connection.phase = <uint8_t> after
