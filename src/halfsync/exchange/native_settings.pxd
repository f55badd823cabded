from libc.stdint cimport int64_t

from halfsync.exchange.exchange cimport Limits
from halfsync.exchange.native_handler cimport NativeHandler
from halfsync.exchange.spool cimport Store
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.http.request_id cimport RequestIds
from halfsync.http.response_head cimport ServerFields
from halfsync.http.trust cimport TrustedPeers
from halfsync.pool.overload cimport Overload
from halfsync.pool.queue_records cimport Queue
from halfsync.shared.slots cimport SlotRef

cdef int native_store(Store *store, object settings) except -1
cdef int native_limits(Limits *limits, object settings, Store *store, bint raw) except -1
cdef const NativeHandler *native_files(object files) except? NULL
cdef int native_timeouts(Timeouts *timeouts, object settings) except -1
cdef int native_overload(Overload *overload, object settings) except -1
cdef int native_lanes(Queue *queue, object settings, tuple lanes) except -1
cdef int native_fields(ServerFields *fields, object settings) except -1
cdef RequestIds native_ids(object settings, TrustedPeers trusted)
cdef TrustedPeers native_proxies(object settings)
cdef const SlotRef *native_slot(object slot) except NULL
cdef int64_t nanoseconds(double seconds) noexcept
