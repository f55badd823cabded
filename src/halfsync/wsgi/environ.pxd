from libc.stdint cimport int64_t, uint8_t

from halfsync.exchange.bridging cimport Origin
from halfsync.exchange.exchange cimport Exchange
from halfsync.http.trust cimport TrustedPeers
from halfsync.listening.endpoints cimport Endpoints
from halfsync.native.sync cimport atomic_llong
from halfsync.wsgi.body cimport Input

cdef enum:
    NAME_SLOTS = 512          # of the table of field names; at most half of them are filled
    NAME_BYTES = 40           # the longest name that is remembered
    VALUE_BYTES = 200         # the longest value that is remembered

# A field in which proxies describe their client.
cdef enum ProxyField:
    PROXY_FIELD_FORWARDED = 1
    PROXY_FIELD_X = 2         # X-Forwarded-For, -Proto, -Host or -Port
    PROXY_FIELD_OTHER = 4     # another field that begins with X-Forwarded-; only applications read it

# A field name seen before: its environ key, and its last value, if that may be shared.
ctypedef struct NameSlot:
    uint8_t length            # 0: free
    uint8_t shares            # its values repeat and are no secrets
    uint8_t proxy_field       # ProxyField; 0: none
    uint8_t value_length      # 0: none remembered
    char name[NAME_BYTES]
    char value[VALUE_BYTES]
    void *key                 # str, owned
    void *last                # str, owned


cdef class EnvironFactory:
    cdef dict template        # the keys of every environ, without SERVER_NAME and SERVER_PORT
    cdef list templates       # the same with them, one dict for each listener of the server
    cdef int templates_count
    cdef Endpoints endpoints  # None: no connection is adopted
    cdef NameSlot *names
    cdef int names_count
    cdef uint8_t last_address[16]
    cdef int last_address_length
    cdef str last_address_text
    cdef Input empty          # wsgi.input of a request without a body, in the templates
    cdef Py_ssize_t idle_references  # references to it while no request has it; 0: it is never lent
    cdef TrustedPeers trusted
    cdef str root             # latin-1, as PATH_INFO; None: not set
    cdef atomic_llong *ignored  # keys of peers logged as not trusted; shared with forked processes

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
