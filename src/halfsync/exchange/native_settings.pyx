"""The settings that limit what a client may do, converted for the native half of every model: bytes and nanoseconds."""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from cpython.pycapsule cimport PyCapsule_GetPointer

from halfsync.exchange.spool cimport store_init
from halfsync.http.request_id cimport RequestIds
from halfsync.http.response_head cimport server_fields_init, server_fields_show
from halfsync.pool.lane_records cimport Lane, Lanes
from halfsync.pool.overload cimport overload_init
from halfsync.pool.request_queue cimport queue_divide

from halfsync.runtime.originals import os

cdef double LINGER_S = 2  # time for a client to take the last response and close; RFC 9112 9.6
cdef double NEWCOMER_S = 1  # a new client has a request to send, which may be on its way when we drain


cdef int native_store(Store *store, object settings) except -1:
    """Set the directory of temporary files, and how much they may hold. Raises ValueError if its path is too long."""
    if store_init(store, os.fsencode(settings.temp_dir), settings.spool_disk) < 0:
        raise ValueError(f"temp_dir is too long: {settings.temp_dir!r}")
    return 0


cdef int native_limits(Limits *limits, object settings, Store *store, bint raw) except -1:
    """Set the limits on the size of a request. raw: what is received is not HTTP."""
    limits.store = store
    limits.raw = raw
    limits.max_body = settings.max_body
    limits.body_memory = settings.body_memory
    limits.head.request_line = settings.max_request_line
    limits.head.field = settings.max_field
    limits.head.fields = settings.max_fields
    limits.head.head = settings.max_head
    return 0


cdef const NativeHandler *native_files(object files) except? NULL:
    """Return the handler of a server's static files; NULL for None. The object must live as long as it is used."""
    if files is None:
        return NULL
    return <const NativeHandler *> PyCapsule_GetPointer(files.capsule, b"halfsync.static")


cdef int native_timeouts(Timeouts *timeouts, object settings) except -1:
    """Set how long each phase may last."""
    timeouts.handshake = nanoseconds(settings.handshake_timeout)
    timeouts.first_byte = nanoseconds(settings.first_byte_timeout)
    timeouts.head = nanoseconds(settings.head_timeout)
    timeouts.body = nanoseconds(settings.body_timeout)
    timeouts.request = nanoseconds(settings.body_total_timeout)
    timeouts.queue = nanoseconds(settings.queue_timeout)
    timeouts.turn = nanoseconds(settings.request_timeout)
    timeouts.write = nanoseconds(settings.write_timeout)
    timeouts.keep_alive = nanoseconds(settings.keep_alive)
    timeouts.linger = nanoseconds(LINGER_S)
    timeouts.newcomer = nanoseconds(NEWCOMER_S)
    timeouts.window = nanoseconds(settings.rate_window)
    timeouts.least_received = <int64_t> (settings.min_body_rate * <double> settings.rate_window)
    timeouts.least_taken = <int64_t> (settings.min_write_rate * <double> settings.rate_window)
    return 0


cdef int native_overload(Overload *overload, object settings) except -1:
    """Let a queue judge whether it is overloaded, unless the settings turn that off."""
    if settings.overload_control:
        overload_init(overload, nanoseconds(settings.overload_interval), nanoseconds(settings.overload_target))
    return 0


cdef int native_lanes(Queue *queue, object settings, tuple lanes) except -1:
    """Divide a new queue into the lanes of the settings, the default one first. Raises MemoryError."""
    cdef Lanes native
    cdef Lane *lane
    memset(&native, 0, sizeof(native))
    native.threads = settings.threads
    native.share = threads_of_share(settings)
    for each in lanes:
        lane = &native.lanes[native.count]
        native.count += 1
        lane.guaranteed = each.threads
        lane.most = settings.threads if each.max_threads is None else each.max_threads
        lane.limit = settings.queue_size if each.queue_size is None else each.queue_size
        lane.priority = each.priority
        native_overload(&lane.overload, settings)
    if queue_divide(queue, &native) < 0:
        raise MemoryError
    return 0


cdef uint32_t threads_of_share(object settings) except? 0:
    """Return how many threads a client may hold while others wait; 0: all."""
    cdef uint32_t share = max(1, <int> (settings.client_share * settings.threads + 1e-9))
    return 0 if share >= settings.threads else share


cdef int native_fields(ServerFields *fields, object settings) except -1:
    """Make the fields that the server adds to responses."""
    cdef bytes name = None
    server_fields_init(fields, settings.server_header, settings.keep_alive)
    if settings.request_id_field is not None:
        name = settings.request_id_field.encode("ascii")
    server_fields_show(fields, settings.server_timing, NULL if name is None else <const char *> name)
    return 0


cdef RequestIds native_ids(object settings, TrustedPeers trusted):
    """Return where the ids of requests come from. trusted: the peers whose ids are taken. None: requests have none."""
    if settings.request_id_field is None or settings.stream:
        return None
    return RequestIds(settings.request_id_field, trusted)


cdef TrustedPeers native_proxies(object settings):
    """Return the peers that may connect and must send a PROXY header. None: any peer may connect, without one."""
    return TrustedPeers(settings.proxy_allow_ips) if settings.proxy_protocol else None


cdef const SlotRef *native_slot(object slot) except NULL:
    """Return a process's slot, with its scoreboard. The slot object must live as long as they are used."""
    return <const SlotRef *> PyCapsule_GetPointer(slot.capsule, b"halfsync.slot")


cdef int64_t nanoseconds(double seconds) noexcept:
    """Return seconds as whole nanoseconds."""
    return <int64_t> (seconds * 1e9)
