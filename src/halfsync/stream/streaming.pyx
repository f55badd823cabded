"""One turn of a stream's handler: give it what was received, and send what it returns (see handler.py)."""
from posix.uio cimport iovec

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from halfsync.exchange.bridging cimport Origin, TURN_COMPLETE, TURN_RESET, send_vectors
from halfsync.native.forks cimport exit_forked_copy

from halfsync.log import report_handler_error
from halfsync.stream.handler import EndStream


cdef class StreamBridge(Bridge):
    """Runs the handlers that one factory makes, one for each connection. It keeps the handler between turns."""

    def __init__(self, factory):
        """factory: called without arguments for each connection, returns a StreamHandler."""
        self.factory = factory
        self.raw = True

    cdef int do_turn(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1:
        cdef bytes data
        cdef object handler
        cdef bint whole = True
        try:
            data = exchange.data[:exchange.filled]
            if exchange.app_state == NULL:
                handler = self.factory()
                exit_forked_copy(self.began)
                Py_INCREF(handler)
                exchange.app_state = <void *> handler
            else:
                handler = <object> <PyObject *> exchange.app_state
            try:
                result = handler.received(data)
                if result is None or isinstance(result, bytes):
                    whole = self.send(result, exchange, sink)
                else:
                    for piece in result:
                        whole = self.send(piece, exchange, sink)
                        if not whole:
                            break
            except EndStream as end:
                sink.stays = False
                whole = self.send(end.data, exchange, sink)
            return TURN_COMPLETE if whole else TURN_RESET
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything; its worker must survive
            self.exit_forked_copy_with(error)
            report_handler_error(error)
            return TURN_RESET

    cdef int send(self, object data, Exchange *exchange, Sink *sink) except -1:
        """Send a piece of what the handler returned.

        Returns 1, or 0 if it could not be sent: the client is gone, or the disk is full.
        """
        cdef iovec vector
        exit_forked_copy(self.began)
        if data is None:
            return 1
        if not isinstance(data, bytes):
            raise TypeError(f"a handler must send bytes, not {type(data).__name__}")
        vector.iov_base = PyBytes_AS_STRING(data)
        vector.iov_len = PyBytes_GET_SIZE(data)
        if vector.iov_len == 0:
            return 1
        exchange.sent += vector.iov_len
        return 1 if send_vectors(sink, &vector, 1, vector.iov_len) == 0 else 0

    cdef void do_discard_state(self, void *app_state) noexcept:
        cdef object handler = <object> <PyObject *> app_state
        Py_DECREF(handler)
        try:
            handler.closed()
        except BaseException as error:  # noqa: BLE001 - as in run
            self.exit_forked_copy_with(error)
            report_handler_error(error)
