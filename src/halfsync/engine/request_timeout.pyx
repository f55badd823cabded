"""Requests that wait too long for a worker (overload, queue_timeout), or whose application takes too long."""
from libc.stdint cimport INT64_MAX, int64_t

from halfsync.engine.connection_close cimport close_now, note_outcome
from halfsync.engine.engine cimport Connection, connection_of, engine_end_request
from halfsync.engine.lane_rules cimport lane_of
from halfsync.engine.lease cimport HOLD_BUSY, HOLD_TAKEN, Lease, lease_hold, lease_release, lease_revoke
from halfsync.engine.ownership cimport owner_seize
from halfsync.engine.phases cimport REQUEST_NOTIFY, REQUEST_TURN
from halfsync.engine.poller cimport RECEIVE_MORE
from halfsync.engine.responses cimport send_refusal, shed
from halfsync.exchange.exchange cimport Exchange, drop_response_head
from halfsync.exchange.outbox cimport OUTBOX_WAITS_NOT, outbox_waits
from halfsync.exchange.outcome cimport OUTCOME_EXPIRED, OUTCOME_TIMED_OUT, outcome_note
from halfsync.exchange.reasons cimport REASON_OVERLOAD, REASON_TURN, REASON_WAIT
from halfsync.http.request_start cimport forwarded_age, proxy_clock_note
from halfsync.http.response_head cimport RETRY_AFTER_S
from halfsync.native.sync cimport load_uchar, sem_post
from halfsync.pool.queue_slot cimport QueueSlot
from halfsync.pool.request_queue cimport (
    queue_expire, queue_overload_s, queue_put, queue_put_in_lane, queue_withdraw,
)
from halfsync.shared.client_counts cimport client_key
from halfsync.transport.transport cimport PEER_GONE, transport_abort

cdef enum:
    SHEDS_PER_CYCLE = 256  # before other connections have their turn

cdef int64_t SECOND = 1000000000


cdef int64_t check_queued(Engine *engine, Request *request) noexcept nogil:
    """Check a request that waits for a worker. Returns when to check again; 0: it has waited for too long.

    In that case the client has been answered, and the connection may be freed.
    """
    cdef int64_t again = engine.now + SECOND
    cdef int64_t deadline = request.since + engine.timeouts.queue
    if engine.timeouts.turn > 0:  # which begins whenever a worker takes the request
        again = min(again, engine.now + max(engine.timeouts.turn // 16, CHECK_AGAIN))
    if engine.timeouts.queue == 0 or request.phase != REQUEST_TURN:
        return again
    if deadline > engine.now or not queue_withdraw(engine.queue, request.ticket, request):
        return min(again, max(deadline, engine.now + CHECK_AGAIN))
    shed_and_resume(engine, request, REASON_WAIT)
    return 0


cdef void shed_and_resume(Engine *engine, Request *request, int reason) noexcept nogil:
    """Answer 503 to a request that was taken out of the queue, and let its connection go on. May free it."""
    cdef Connection *connection = connection_of(request)
    if shed(engine, request, OUTCOME_EXPIRED, reason) == RECEIVE_MORE:
        engine.poller.resume(&engine.poller, &connection.handle)


cdef int64_t waited_before(Engine *engine, Request *request) noexcept nogil:
    """Return for how long a complete request has waited at its proxies, in ns, if requests wait here too."""
    cdef Connection *connection = connection_of(request)
    cdef Exchange *exchange = request.exchange
    cdef int64_t age_ns
    if not engine.watch.waits or not forwarded_age(
        engine.forwarders, connection.address, connection.address_length, &exchange.head, exchange.data, &age_ns
    ):
        return 0
    return proxy_clock_note(&engine.proxy_clock, engine.now, age_ns)


cdef int64_t put_in_lane(Engine *engine, Request *request) noexcept nogil:
    """Put a complete request into the lane that its method and path name. Returns as queue_put."""
    cdef Connection *connection = connection_of(request)
    request.lane = lane_of(engine.lane_rules, request.exchange)
    return queue_put_in_lane(
        engine.queue, request, engine.now, waited_before(engine, request), request.lane,
        client_key(connection.address, connection.address_length))


cdef void shed_overdue(Engine *engine) noexcept nogil:
    """Refuse requests that have waited for too long in an overloaded queue, SHEDS_PER_CYCLE at most."""
    cdef QueueSlot slot
    cdef Request *request
    cdef int _sheds
    for _sheds in range(SHEDS_PER_CYCLE):
        if not queue_expire(engine.queue, engine.now, &slot):
            break
        request = <Request *> slot.item
        if request.phase == REQUEST_NOTIFY:  # of a closed connection: it waits on
            request.ticket = queue_put(engine.queue, request, engine.now, 0)
        else:
            engine.fields.retry_after_s = queue_overload_s(engine.queue, request.lane, engine.now)
            shed_and_resume(engine, request, REASON_OVERLOAD)
    engine.fields.retry_after_s = RETRY_AFTER_S


cdef int64_t check_turn(Engine *engine, Request *request) noexcept nogil:
    """Check a request that is with a worker. Returns when to check again; 0: its turn has passed its deadline.

    In that case the client has been answered, and the connection may be freed.
    """
    cdef int64_t deadline
    if engine.timeouts.turn == 0 or request.lease == NULL:
        return engine.now + SECOND
    deadline = request.lease.taken_ns + engine.timeouts.turn
    if deadline > engine.now:
        return min(deadline, engine.now + SECOND)
    if lease_hold(request.lease, request.lease_serial) != HOLD_TAKEN:
        return engine.now + CHECK_AGAIN  # it is just giving the request back, or sending
    if not owner_seize(&request.owner):
        lease_release(request.lease)  # it has left the rest of its response to an outbox: check_response is next
        return engine.now + CHECK_AGAIN
    expire_turn(engine, request)
    return 0


cdef void expire_turn(Engine *engine, Request *request) noexcept nogil:
    """End the turn of a worker that is stuck in the application, and answer 504 if that is still possible.

    The engine has seized the request, and holds the lease of the worker's turn. The exchange stays with the worker
    until the application returns. May free the connection.
    """
    cdef Connection *connection = connection_of(request)
    cdef Lease *lease = request.lease
    cdef Exchange copy = request.exchange[0]  # a copy, since the worker may be writing to it
    copy.response_head = NULL  # the worker's
    request.exchange = NULL
    engine.counters.timed_out += 1
    outcome_note(&copy.outcome, OUTCOME_TIMED_OUT, REASON_TURN)
    if engine.limits.raw or lease.response_begun or load_uchar(&connection.peer) == PEER_GONE:
        engine_end_request(engine, &copy, connection.address, connection.address_length, engine.now)
        transport_abort(&connection.handle.transport)
        close_now(engine, connection)
    else:
        send_refusal(engine, request, &copy, 504, REASON_TURN)
        engine.poller.resume(&engine.poller, &connection.handle)
    drop_response_head(&copy)
    lease_revoke(lease)
    sem_post(&engine.monitor_wakeup)


cdef int64_t check_response(Engine *engine, Request *request) noexcept nogil:
    """Check a response that is being sent. Returns when to check again, at the latest; 0: the connection is freed.

    It is freed if the application that makes the response passed its deadline: the response was then cut.
    """
    cdef Connection *connection = connection_of(request)
    cdef Lease *lease = request.lease
    cdef int hold
    if lease == NULL:
        return INT64_MAX
    # Check this first: a worker that goes on after it has already put off its deadline.
    if outbox_waits(request.outbox) != OUTBOX_WAITS_NOT:
        return engine.now + SECOND
    if engine.now < lease.taken_ns + engine.timeouts.turn:
        return INT64_MAX
    hold = lease_hold(lease, request.lease_serial)
    if hold != HOLD_TAKEN:  # the application has made all of it, unless its worker is just handing it over
        return engine.now + CHECK_AGAIN if hold == HOLD_BUSY else INT64_MAX
    engine.counters.timed_out += 1
    note_outcome(request, OUTCOME_TIMED_OUT, REASON_TURN)
    transport_abort(&connection.handle.transport)
    close_now(engine, connection)
    lease_revoke(lease)
    sem_post(&engine.monitor_wakeup)
    return 0
