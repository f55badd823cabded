# What a refused request is answered, and the reasons for which requests are refused, cut or given up. Pure functions
# over the exchange, for any thread.
from libc.stdint cimport int64_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.http.response_head cimport ServerFields

# Reasons that the code which ends a request knows, but no exchange has. About the request, or the connection, as "it".
cdef extern from *:
    """
    #define HS_REASON_PEER "proxy_allow_ips does not name it"
    #define HS_REASON_LATE_PROXY "its PROXY header did not come in time"
    #define HS_REASON_CLIENT "its client has max_connections_per_client connections"
    #define HS_REASON_REQUESTS "queue_size requests wait already"
    #define HS_REASON_CONNECTIONS "queue_size connections wait already"
    #define HS_REASON_WAIT "it waited for queue_timeout"
    #define HS_REASON_OVERLOAD "it waited too long in an overloaded queue"
    #define HS_REASON_THREAD "the system gives no thread for it"
    #define HS_REASON_PROCESS "the system gives no process for it"
    #define HS_REASON_ROOM "its connection was closed to make room for a new one"
    #define HS_REASON_STALLED "its client took nothing, and others needed the disk or a worker"
    #define HS_REASON_TURN "the application took longer than request_timeout"
    #define HS_REASON_GONE "its client disconnected"
    #define HS_REASON_READING "its client took the response too slowly"
    #define HS_REASON_APPLICATION "the application failed"
    #define HS_REASON_CUT "the application did not complete the response"
    #define HS_REASON_RESOURCES "memory or descriptors are short"
    #define HS_REASON_FILE "its file became shorter, or could not be read"
    #define HS_REASON_STOP "the server stopped"
    """
    const char *REASON_PEER "HS_REASON_PEER"
    const char *REASON_LATE_PROXY "HS_REASON_LATE_PROXY"
    const char *REASON_CLIENT "HS_REASON_CLIENT"
    const char *REASON_REQUESTS "HS_REASON_REQUESTS"  # of the proactor
    const char *REASON_CONNECTIONS "HS_REASON_CONNECTIONS"  # of the pool
    const char *REASON_WAIT "HS_REASON_WAIT"
    const char *REASON_OVERLOAD "HS_REASON_OVERLOAD"
    const char *REASON_THREAD "HS_REASON_THREAD"
    const char *REASON_PROCESS "HS_REASON_PROCESS"
    const char *REASON_ROOM "HS_REASON_ROOM"
    const char *REASON_STALLED "HS_REASON_STALLED"
    const char *REASON_TURN "HS_REASON_TURN"
    const char *REASON_GONE "HS_REASON_GONE"
    const char *REASON_READING "HS_REASON_READING"
    const char *REASON_APPLICATION "HS_REASON_APPLICATION"
    const char *REASON_CUT "HS_REASON_CUT"
    const char *REASON_RESOURCES "HS_REASON_RESOURCES"
    const char *REASON_FILE "HS_REASON_FILE"
    const char *REASON_STOP "HS_REASON_STOP"

# Write an error page, and note in its exchange (NULL: nothing was received) what is sent. Every refusal goes through
# this function. stays: the connection stays. response: ERROR_BYTES. sent: bytes of its body. Returns its length.
cdef int exchange_error(Exchange *exchange, int status, const ServerFields *fields, bint stays, char *response,
                        int64_t *sent) noexcept nogil

# Return why a request was refused with this status, or a connection without an answer (0), if the caller has no better
# reason. A constant text.
cdef const char *exchange_reason(const Exchange *exchange, int status) noexcept nogil
