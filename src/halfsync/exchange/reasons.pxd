# Why requests are refused, cut or given up, if the code that ends them knows it. What a parser has found wrong is in
# the exchange, as a text: refusal_text (exchange/refusal.pxd) chooses.

cdef enum Reason:
    REASON_NONE               # there is none, or the exchange has it
    REASON_PEER
    REASON_LATE_PROXY
    REASON_CLIENT
    REASON_REQUESTS           # of the proactor
    REASON_CONNECTIONS        # of the pool
    REASON_WAIT
    REASON_OVERLOAD
    REASON_THREAD
    REASON_PROCESS
    REASON_ROOM
    REASON_STALLED
    REASON_TURN
    REASON_GONE
    REASON_READING
    REASON_APPLICATION
    REASON_CUT
    REASON_RESOURCES
    REASON_FILE
    REASON_STOP
    REASONS_END               # behind the last one

cdef extern from * nogil:
    """
    /* In the order of Reason. About the request, or the connection, as "it". */
    static inline const char *hs_reason_text(int reason) {
        static const char *const texts[] = {
            0,
            "proxy_allow_ips does not name it",
            "its PROXY header did not come in time",
            "its client has max_connections_per_client connections",
            "queue_size requests wait already",
            "queue_size connections wait already",
            "it waited for queue_timeout",
            "it waited too long in an overloaded queue",
            "the system gives no thread for it",
            "the system gives no process for it",
            "its connection was closed to make room for a new one",
            "its client took nothing, and others needed the disk or a worker",
            "the application took longer than request_timeout",
            "its client disconnected",
            "its client took the response too slowly",
            "the application failed",
            "the application did not complete the response",
            "memory or descriptors are short",
            "its file became shorter, or could not be read",
            "the server stopped",
        };
        return texts[reason];
    }
    """
    # Return a reason in words, a constant text; NULL: REASON_NONE.
    const char *reason_text "hs_reason_text" (int reason)
