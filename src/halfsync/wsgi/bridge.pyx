"""One turn of a WSGI application: make its environ, call it, and give what it returns to the response (PEP 3333).

A model gives a complete request and a sink. Whatever the application does, the turn ends here: with a whole response, a
500, or a cut.
"""
from halfsync.exchange.bridging cimport Origin, Sink, TURN_CUT, send_error
from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.native_settings cimport native_fields
from halfsync.native.forks cimport exit_forked_copy
from halfsync.wsgi.body cimport INPUT_ENDED, Input, input_for
from halfsync.wsgi.request_timeline cimport RequestTimeline
from halfsync.wsgi.response cimport response_for

from halfsync.log import report_application_error, report_unprepared


cdef class WsgiBridge(Bridge):
    """Runs one application. A server has one, which its workers share."""

    def __init__(self, application, EnvironFactory environs, settings):
        native_fields(&self.fields, settings)
        self.application = application
        self.environs = environs
        environs.renew_empty()

    cdef int do_turn(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1:
        """Run the application for a complete request and send its response. Keeps nothing between requests."""
        cdef Response response = None
        cdef Input body = None
        cdef RequestTimeline timeline = None
        cdef dict environ = None
        cdef bint lent = False
        cdef int end, status
        try:
            response = response_for(exchange, sink, &self.fields, self.began)
            if exchange.body_length > 0:
                body = input_for(exchange)
            environ = self.environs.make(exchange, origin, waited_s, body, &lent)
            timeline = self.environs.begin_timeline(environ, exchange)
            if self.activity.table != NULL and exchange.client_length > 0:
                self.note_client(exchange)
            if body is None and not lent:
                body = environ["wsgi.input"] = input_for(exchange)
            environ["halfsync.disconnected"] = response  # the object itself costs less than a bound method
        except BaseException as error:  # noqa: BLE001 - descriptors or memory are short; the worker must survive
            self.exit_forked_copy_with(error)
            status = 503 if isinstance(error, (OSError, MemoryError)) else 500
            report_refusal(error, status)
            end = self.refuse(exchange, sink, status)
        else:
            end = self.call(environ, response)
        finally:
            if response is not None:
                response.close()
            if body is not None:
                body.shut(INPUT_ENDED)
            elif lent:
                self.environs.take_empty_back(environ)
            if timeline is not None:
                environ = None
                self.environs.end_timeline(timeline)
        return end

    cdef int call(self, dict environ, Response response) noexcept:
        """Call the application, and send what it returns. Returns a TurnEnd.

        Every exception of the application is reported here and ends in a 500 or a cut. `close()` of what it returned is
        called exactly once.
        """
        cdef object result = None
        cdef int end = TURN_CUT
        try:
            try:
                result = self.application(environ, response.start_response)
                exit_forked_copy(self.began)
                response.answer(result)
                response.ended = True
                end = response.finish()
            except BaseException as error:  # noqa: BLE001 - in a forked copy, close() must not run
                self.exit_forked_copy_with(error)
                raise
            finally:
                response.ended = True  # close() may call write or start_response
                if result is not None and type(result) is not list:
                    close = getattr(result, "close", None)
                    if close is not None:
                        close()
        except BaseException as error:  # noqa: BLE001 - an application may raise anything; its worker must survive
            self.exit_forked_copy_with(error)
            report_failure(error, environ)
            if not response.finished:
                end = response.fail()
        return end

    cdef int refuse(self, Exchange *exchange, Sink *sink, int status) noexcept:
        sink.stays = False
        return send_error(exchange, sink, &self.fields, self.began, status)


cdef void report_failure(object error, dict environ) noexcept:
    """Log what the application raised, unless memory is too short even for that."""
    try:
        report_application_error(error, environ)
    except BaseException:  # noqa: BLE001 - as above
        pass


cdef void report_refusal(object error, int status) noexcept:
    """Log why the application could not be called. As report_failure: even the status takes memory as an object."""
    try:
        report_unprepared(error, status)
    except BaseException:  # noqa: BLE001 - as above
        pass
