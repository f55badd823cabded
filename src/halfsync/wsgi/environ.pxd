from libc.stdint cimport uint8_t

from halfsync.exchange.bridging cimport Origin
from halfsync.exchange.exchange cimport Exchange
from halfsync.http.trust cimport TrustedPeers
from halfsync.listening.endpoints cimport Endpoints
from halfsync.native.sync cimport atomic_llong
from halfsync.wsgi.environ_templates cimport EnvironTemplates
from halfsync.wsgi.field_names cimport FieldNames


cdef class EnvironFactory(EnvironTemplates):
    cdef Endpoints endpoints  # None: no connection is adopted
    cdef FieldNames names
    cdef uint8_t last_address[16]
    cdef int last_address_length
    cdef str last_address_text
    cdef TrustedPeers trusted
    cdef str root             # latin-1, as PATH_INFO; None: not set
    cdef atomic_llong *ignored  # keys of peers logged as not trusted; shared with forked processes

    cdef dict make(self, Exchange *exchange, const Origin *origin, double waited_s, object body, bint *lent)
    cdef object add_fields(self, dict environ, Exchange *exchange, const Origin *origin)
    cdef object believe(self, dict environ, Exchange *exchange)
    cdef object note_ignored(self, const Origin *origin, bytes name)
    cdef str address_text(self, const Origin *origin, int *port)
