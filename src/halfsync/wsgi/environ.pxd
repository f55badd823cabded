from libc.stdint cimport int64_t, uint8_t

from halfsync.bridging cimport Origin
from halfsync.exchange cimport Exchange

cdef enum:
    NAME_SLOTS = 512          # of the table of field names; half of it is ever filled
    NAME_BYTES = 40           # of a name that is remembered
    VALUE_BYTES = 200         # of a value that is remembered

# A field name seen before: its environ key, and the last value that came with it where that may be shared.
ctypedef struct NameSlot:
    uint8_t length            # 0: free
    uint8_t shares            # its values are often the same and are no secrets
    uint8_t value_length      # 0: none remembered
    char name[NAME_BYTES]
    char value[VALUE_BYTES]
    void *key                 # str, owned
    void *last                # str, owned


cdef class EnvironFactory:
    cdef list templates       # one dict a listener
    cdef NameSlot *names
    cdef int names_count
    cdef uint8_t last_address[16]
    cdef int last_address_length
    cdef str last_address_text
    cdef object no_body

    cdef dict make(self, Exchange *exchange, const Origin *origin, double waited_s, object body)
    cdef NameSlot *slot_of(self, const char *name, int length)
    cdef object value_of(self, NameSlot *slot, const char *data, int length)
    cdef object add_fields(self, dict environ, Exchange *exchange)
    cdef str address_text(self, const Origin *origin, int *port)
