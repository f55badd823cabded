# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Judge whether the connections in the queue of a pool stand there, and refuse requests that have waited too long.

The rule is that of the request queue (pool/overload.pxd), but the queue of a pool has connections, with or without a
request. So only a connection that turns out to have a complete request counts, when a thread has taken it and received
that, and only from when the last bytes arrived: before, the client had not asked for anything. For a kept connection of
a unix socket the system does not tell that moment, and its requests are not refused.

The first connection is always taken first: those behind it may be silent, and would keep a new one from being looked
at. A request that is refused costs its thread a few system calls, and not the GIL.

If threads wait for silent connections longer than they serve requests, the queue moves slowly for that reason, and is
not overloaded, however long requests wait: to refuse some would let no other be served sooner.
"""
from libc.stdint cimport UINT32_MAX, int64_t, uint32_t
from libc.string cimport memset

from halfsync.blocking.idle_lists cimport idle_count_silent
from halfsync.exchange.native_settings cimport native_overload
from halfsync.http.request_start cimport forwarded_age, proxy_clock_init, proxy_clock_note
from halfsync.native.sync cimport (
    monotonic_ns, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)
from halfsync.pool.overload cimport (
    overload_is_due, overload_limit_of_first, overload_look, overload_note_empty, overload_note_turn,
    overload_note_wait, overload_retry_s,
)
from halfsync.pool.request_queue cimport queue_length
from halfsync.transport.transport cimport transport_quiet_ns


cdef class ConnectionOverload:
    """The record of one queue. trusted: the proxies whose fields are believed; None: none are."""

    def __cinit__(self, settings, TrustedPeers trusted):
        memset(&self.record, 0, sizeof(self.record))
        pthread_mutex_init(&self.record.lock, NULL)
        native_overload(&self.record.overload, settings)
        proxy_clock_init(&self.record.proxy_clock)
        self.trusted = trusted
        self.record.forwarders = &trusted.trust if trusted is not None else NULL

    def __dealloc__(self):
        pthread_mutex_destroy(&self.record.lock)


cdef ConnectionOverload connection_overload(object settings, TrustedPeers trusted):
    """Return the record of a queue of connections. None: there is no queue, or nothing is refused because of it."""
    if settings.model != "pool" or not settings.overload_control or settings.stream:
        return None
    return ConnectionOverload(settings, trusted)


cdef int64_t own_wait(DriverRecord *driver, BlockingConnection *connection) noexcept nogil:
    """Return for how long the request of a connection has waited for a thread, in ns."""
    cdef int64_t quiet
    if connection.waited_ns < driver.overload.overload.target_ns:
        return connection.waited_ns  # not long enough to matter
    quiet = transport_quiet_ns(&connection.transport)
    if quiet < 0:
        return connection.waited_ns if connection.requests == 0 else 0
    return min(connection.waited_ns, quiet)


cdef uint32_t waiting_requests(DriverRecord *driver) noexcept nogil:
    """Return how many connections in the queue have something to be served, or have just come."""
    cdef uint32_t length = queue_length(driver.waiting)
    return length - min(length, idle_count_silent(driver))


cdef void judge(DriverRecord *driver, int64_t now, int64_t waited) noexcept nogil:
    """Judge an interval that has ended. The caller holds the lock.

    Waiting requests are only counted if some have waited long. Otherwise their number is not known, and the next
    interval cannot show whether there are fewer.
    """
    cdef QueueOverload *overload = driver.overload
    cdef uint32_t waiting = UINT32_MAX
    if not overload_is_due(&overload.overload, now):
        return
    if overload.overload.overloaded or waited > overload_limit_of_first(&overload.overload, now):
        waiting = waiting_requests(driver)
    overload_look(&overload.overload, now, waiting, waited)
    if waiting == 0 or overload.silent_ns > overload.busy_ns:
        overload_note_empty(&overload.overload)
    overload.silent_ns = overload.busy_ns = 0


cdef bint is_overdue(DriverRecord *driver, BlockingConnection *connection, int *retry_after_s) noexcept nogil:
    """Count a request that was just received, and tell whether to refuse it since it has waited too long.

    retry_after_s: set if so.
    """
    cdef QueueOverload *overload = driver.overload
    cdef int64_t now, waited, age = 0
    cdef bint overdue, has_age
    if overload == NULL:
        return False
    now = monotonic_ns()
    waited = own_wait(driver, connection)
    has_age = waited > 0 and forwarded_age(
        overload.forwarders, connection.address, connection.address_length, &connection.exchange.head,
        connection.exchange.data, &age)
    pthread_mutex_lock(&overload.lock)
    if has_age:
        age = proxy_clock_note(&overload.proxy_clock, now, age - waited)
    overload_note_wait(&overload.overload, now, waited)
    judge(driver, now, waited)
    overdue = overload.overload.overloaded and waited + age >= overload_limit_of_first(&overload.overload, now)
    if overdue:
        retry_after_s[0] = overload_retry_s(&overload.overload, now)
    pthread_mutex_unlock(&overload.lock)
    return overdue


cdef void note_turn(DriverRecord *driver, int64_t began_ns) noexcept nogil:
    """Count a turn that has ended."""
    cdef QueueOverload *overload = driver.overload
    cdef int64_t length_ns
    if overload != NULL:
        length_ns = monotonic_ns() - began_ns
        pthread_mutex_lock(&overload.lock)
        overload_note_turn(&overload.overload, length_ns)
        overload.busy_ns += length_ns
        pthread_mutex_unlock(&overload.lock)


cdef void note_silence(DriverRecord *driver, int64_t since_ns, int64_t now) noexcept nogil:
    """Count the time since then in which a thread waited for a connection that stayed silent, while others waited."""
    cdef QueueOverload *overload = driver.overload
    if overload != NULL:
        pthread_mutex_lock(&overload.lock)
        overload.silent_ns += max(<int64_t> 0, now - max(since_ns, overload.overload.since_ns))
        pthread_mutex_unlock(&overload.lock)
