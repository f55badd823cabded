from libc.stdint cimport uint8_t

from halfsync.exchange.bridging cimport Origin
from halfsync.exchange.exchange cimport Exchange
from halfsync.http.trust cimport TrustedPeers
from halfsync.listening.endpoints cimport Endpoints
from halfsync.native.sync cimport atomic_llong
from halfsync.wsgi.body cimport Input
from halfsync.wsgi.field_names cimport FieldNames
from halfsync.wsgi.request_timeline cimport RequestTimeline


cdef class EnvironFactory:
    cdef dict template        # the keys of every environ, without SERVER_NAME and SERVER_PORT
    cdef list templates       # the same with them, one dict for each listener of the server
    cdef int templates_count
    cdef Endpoints endpoints  # None: no connection is adopted
    cdef FieldNames names
    cdef uint8_t last_address[16]
    cdef int last_address_length
    cdef str last_address_text
    cdef Input empty          # wsgi.input of a request without a body, in the templates
    cdef Py_ssize_t idle_references  # references to it while no request has it; 0: it is never lent
    cdef RequestTimeline timeline  # halfsync.timeline of one request at a time, in the templates
    cdef Py_ssize_t timeline_references  # as idle_references, of the timeline
    cdef str id_key           # of the field from which ids are taken; None: requests have no ids
    cdef TrustedPeers trusted
    cdef str root             # latin-1, as PATH_INFO; None: not set
    cdef atomic_llong *ignored  # keys of peers logged as not trusted; shared with forked processes

    cdef dict make(self, Exchange *exchange, const Origin *origin, double waited_s, object body, bint *lent)
    cdef int renew_empty(self) except -1
    cdef void take_empty_back(self, dict environ) noexcept
    cdef RequestTimeline begin_timeline(self, dict environ, Exchange *exchange)
    cdef int renew_timeline(self) except -1
    cdef void end_timeline(self, RequestTimeline timeline) noexcept
    cdef dict of_server(self, tuple server)
    cdef object add_fields(self, dict environ, Exchange *exchange, const Origin *origin)
    cdef object believe(self, dict environ, Exchange *exchange)
    cdef object note_ignored(self, const Origin *origin, bytes name)
    cdef str address_text(self, const Origin *origin, int *port)
