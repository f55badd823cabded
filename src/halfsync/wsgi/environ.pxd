from libc.stdint cimport int64_t, uint8_t

from halfsync.exchange.bridging cimport Origin
from halfsync.exchange.exchange cimport Exchange
from halfsync.http.trust cimport TrustedPeers
from halfsync.listening.endpoints cimport Endpoints
from halfsync.native.sync cimport atomic_llong
from halfsync.wsgi.body cimport Input

cdef enum:
    NAME_SLOTS = 512          # of the table of field names; half of it is ever filled
    NAME_BYTES = 40           # of a name that is remembered
    VALUE_BYTES = 200         # of a value that is remembered

# A field by which proxies tell of their client.
cdef enum ProxyField:
    PROXY_FIELD_FORWARDED = 1
    PROXY_FIELD_X = 2         # X-Forwarded-For, -Proto, -Host or -Port
    PROXY_FIELD_OTHER = 4     # another one whose name begins with X-Forwarded-; only applications read it

# A field name seen before: its environ key, and the last value that came with it where that may be shared.
ctypedef struct NameSlot:
    uint8_t length            # 0: free
    uint8_t shares            # its values are often the same and are no secrets
    uint8_t proxy_field       # ProxyField; 0: none
    uint8_t value_length      # 0: none remembered
    char name[NAME_BYTES]
    char value[VALUE_BYTES]
    void *key                 # str, owned
    void *last                # str, owned


cdef class EnvironFactory:
    cdef dict template        # what every environ begins with, without SERVER_NAME and SERVER_PORT
    cdef list templates       # the same with them, one dict a listener of the server's own
    cdef int templates_count
    cdef Endpoints endpoints  # None: no connection is adopted
    cdef NameSlot *names
    cdef int names_count
    cdef uint8_t last_address[16]
    cdef int last_address_length
    cdef str last_address_text
    cdef Input empty          # wsgi.input of a request without a body, in the templates
    cdef Py_ssize_t idle_references  # to it, while no request has it; 0: it is not lent
    cdef TrustedPeers trusted
    cdef str root             # latin-1, as PATH_INFO; None: there is none
    cdef atomic_llong *ignored  # keys of peers that were logged as not believed; forked processes share it

    cdef dict make(self, Exchange *exchange, const Origin *origin, double waited_s, object body, bint *lent)
    cdef int renew_empty(self) except -1
    cdef void take_empty_back(self, dict environ) noexcept
    cdef dict of_server(self, tuple server)
    cdef NameSlot *slot_of(self, const char *name, int length)
    cdef object value_of(self, NameSlot *slot, const char *data, int length)
    cdef object add_fields(self, dict environ, Exchange *exchange, const Origin *origin)
    cdef object believe(self, dict environ, Exchange *exchange)
    cdef object note_ignored(self, const Origin *origin, bytes name)
    cdef str address_text(self, const Origin *origin, int *port)
