# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Answer a complete request: by a static file, without the GIL, or by a turn of the application."""
from libc.stdint cimport int64_t
from posix.uio cimport iovec

from cpython.exc cimport PyErr_CheckSignals

from halfsync.blocking.connection cimport drop_exchange
from halfsync.blocking.records cimport is_ending
from halfsync.blocking.refusing cimport linger, log_turn
from halfsync.blocking.sink cimport BlockingSink, blocking_sink
from halfsync.exchange.bridging cimport Origin, Sink, TURN_COMPLETE, TURN_CUT, TURN_RESET
from halfsync.exchange.exchange cimport Exchange, exchange_has_more
from halfsync.exchange.native_handler cimport ANSWER_BYTES, Answer
from halfsync.exchange.persistence cimport may_stay
from halfsync.native.gate cimport gate_enter, gate_leave
from halfsync.native.sync cimport add_llong, monotonic_ns
from halfsync.transport.transport cimport transport_abort, transport_cut
from halfsync.host.handlers import contain_handlers

cdef enum:
    NOT_A_FILE = -1           # beside a TurnEnd: the request is the application's


cdef int answer_file(CarrierRecord *carrier, Exchange *exchange, Sink *sink) noexcept nogil:
    """Answer a request with a static file, if it is for one. Returns a TurnEnd, or NOT_A_FILE."""
    cdef char buffer[ANSWER_BYTES]
    cdef Answer answer
    cdef iovec vector
    cdef int result
    if not carrier.files.answer(carrier.files, exchange, sink.stays, buffer, &answer):
        return NOT_A_FILE
    if answer.length > 0:
        result = sink.send_file(sink, buffer, answer.ready, answer.fd, answer.offset, answer.length)
    else:
        vector.iov_base = buffer
        vector.iov_len = answer.ready
        result = sink.send(sink, &vector, 1)
    return TURN_COMPLETE if result == 0 else TURN_CUT


cdef bint turn(CarrierRecord *carrier, ClientRecord *client, Bridge bridge) except -1:
    """Answer a complete request: a file, or the application. Returns False when the connection shall not go on."""
    cdef Exchange *exchange = client.exchange
    cdef BlockingSink sink
    cdef Origin origin
    cdef int end = TURN_CUT
    cdef int64_t now = monotonic_ns()
    exchange.taken_ns = now
    exchange.framed_ns = now - client.waited_ns
    blocking_sink(&sink, &client.transport, carrier.stop_fd, &carrier.timeouts, &carrier.resuming)
    sink.asked = exchange.head.minor == 0  # which knows no interim responses
    sink.sink.stays = may_stay(
        exchange.head.keep_alive, carrier.timeouts.keep_alive > 0, is_ending(carrier), client.requests + 1, 0)
    origin.address = client.address
    origin.address_length = client.address_length
    origin.listener = client.listener
    exchange.kept = client.kept
    client.kept = NULL
    add_llong(&carrier.tally.requests, 1)
    if carrier.seat != NULL:
        add_llong(&carrier.seat.requests, 1)
    add_llong(&carrier.tally.running, 1)
    try:
        end = NOT_A_FILE
        if carrier.files != NULL:
            with nogil:
                end = answer_file(carrier, exchange, &sink.sink)
                gate_enter(&carrier.resuming)
            gate_leave(&carrier.resuming)
        if end == NOT_A_FILE:
            if carrier.is_child:  # signals that came meanwhile must not interrupt the application
                PyErr_CheckSignals()
            end = bridge.run(exchange, &origin, &sink.sink, client.waited_ns * 1e-9)
            if carrier.is_child:  # whose main thread this is: the application may have set some
                try:
                    contain_handlers()
                except BaseException:  # noqa: BLE001 - memory is short: the response was sent all the same
                    pass
    finally:
        client.waited_ns = 0
        add_llong(&carrier.tally.running, -1)
        add_llong(&carrier.tally.finished, 1)
        client.kept = exchange.kept
        exchange.kept = NULL
        log_turn(carrier, client)
    client.requests += 1
    if sink.gone:
        add_llong(&carrier.tally.left, 1)
    if end != TURN_COMPLETE or sink.gone:
        if end == TURN_RESET or sink.gone:
            transport_abort(&client.transport)  # the client must not take what it has for the whole
        else:
            transport_cut(&client.transport, False)
        return False
    if not sink.sink.stays:
        with nogil:
            drop_exchange(carrier, client)
            linger(carrier, client)
            gate_enter(&carrier.ending)
        gate_leave(&carrier.ending)
        return False
    client.idle_ns = monotonic_ns()
    client.sent_ns = sink.sent_ns
    if not exchange_has_more(exchange):
        drop_exchange(carrier, client)
    return True
