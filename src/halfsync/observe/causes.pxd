# The causes of refusals, by which metrics count them: few enough to be compared, where the reasons are words.
from halfsync.exchange.reasons cimport (
    REASON_CLIENT, REASON_CONNECTIONS, REASON_LATE_PROXY, REASON_OVERLOAD, REASON_PEER, REASON_PROCESS,
    REASON_REQUESTS, REASON_RESOURCES, REASON_THREAD, REASON_WAIT,
)
from halfsync.native.counting cimport count_shared
from halfsync.shared.metrics cimport SlotMetrics

cdef enum RefusalCause:
    CAUSE_OTHER
    CAUSE_MALFORMED           # 400
    CAUSE_LATE                # 408
    CAUSE_BODY                # 413
    CAUSE_TARGET              # 414
    CAUSE_EXPECTATION         # 417
    CAUSE_HEAD                # 431
    CAUSE_UNKNOWN             # 501
    CAUSE_VERSION             # 505
    CAUSE_PEER                # proxy_allow_ips
    CAUSE_PROXY               # a PROXY header did not come, or is malformed
    CAUSE_CLIENT              # max_connections_per_client
    CAUSE_QUEUE               # queue_size
    CAUSE_WAIT                # queue_timeout
    CAUSE_OVERLOAD            # overload_control
    CAUSE_RESOURCES           # memory, descriptors, the disk, threads or processes are short
    REFUSAL_CAUSES

cdef extern from *:
    """
    static inline const char *hs_cause_name(int cause) {
        static const char *const names[] = {
            "other", "malformed", "late", "body_too_large", "target_too_long", "expectation", "head_too_large",
            "not_implemented", "version", "peer", "proxy_header", "max_connections_per_client", "queue_size",
            "queue_timeout", "overload", "resources"};
        return names[cause];
    }
    """
    const char *cause_name "hs_cause_name" (int cause) nogil


cdef inline int cause_of_reason(int reason) noexcept nogil:
    """Return the RefusalCause of a Reason; CAUSE_OTHER: there is none."""
    if reason == REASON_OVERLOAD:
        return CAUSE_OVERLOAD
    if reason in (REASON_REQUESTS, REASON_CONNECTIONS):
        return CAUSE_QUEUE
    if reason == REASON_WAIT:
        return CAUSE_WAIT
    if reason == REASON_CLIENT:
        return CAUSE_CLIENT
    if reason == REASON_PEER:
        return CAUSE_PEER
    if reason in (REASON_THREAD, REASON_PROCESS, REASON_RESOURCES):
        return CAUSE_RESOURCES
    return CAUSE_PROXY if reason == REASON_LATE_PROXY else CAUSE_OTHER


cdef inline int cause_of_refusal(int status, int reason) noexcept nogil:
    """Return the RefusalCause of a refusal with this status. reason: a Reason, as for refusal_text."""
    cdef int cause = cause_of_reason(reason)
    if cause != CAUSE_OTHER:
        return cause
    if status == 400:
        return CAUSE_MALFORMED
    if status == 408:
        return CAUSE_LATE
    if status == 413:
        return CAUSE_BODY
    if status == 414:
        return CAUSE_TARGET
    if status == 417:
        return CAUSE_EXPECTATION
    if status == 431:
        return CAUSE_HEAD
    if status == 501:
        return CAUSE_UNKNOWN
    if status == 505:
        return CAUSE_VERSION
    return CAUSE_RESOURCES if status == 503 else CAUSE_OTHER


cdef inline void measure_refusal(SlotMetrics *metrics, int status, int reason) noexcept nogil:
    """Count a refusal, for metrics, if there are any. Arguments as for refusals_note."""
    if metrics != NULL:
        count_shared(&metrics.refusals[cause_of_refusal(status, reason)], 1)
