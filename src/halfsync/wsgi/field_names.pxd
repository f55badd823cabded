# The environ keys of field names: a table of names seen before. All of it is used under the GIL.
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

cdef extern from "Python.h":
    str PyUnicode_DecodeLatin1(const char *data, Py_ssize_t length, const char *errors)

cdef enum:
    NAME_SLOTS = 512          # of the table; at most half of them are filled
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
    void *key                 # str, owned; NULL: the name has an underscore, and no key
    void *last                # str, owned

ctypedef struct FieldNames:
    NameSlot *slots
    int count                 # of filled slots

cdef int names_open(FieldNames *names) noexcept
cdef void names_close(FieldNames *names) noexcept
cdef NameSlot *names_add(FieldNames *names, NameSlot *slot, const char *name, int length) except? NULL
cdef object new_value(NameSlot *slot, const char *data, int length)
cdef object key_of(const char *name, int length)
cdef uint8_t proxy_field_of(object key)


cdef inline str text_of(const char *data, Py_ssize_t length):
    return PyUnicode_DecodeLatin1(data, length, NULL)


cdef inline NameSlot *names_find(FieldNames *names, const char *name, int length) except? NULL:
    """Return the slot of a field name, filled now if the name is new. NULL: the name is not remembered."""
    cdef unsigned int hashed = length
    cdef int at
    cdef NameSlot *slot
    if length > NAME_BYTES:
        return NULL
    for at in range(length):
        hashed = hashed * 31 + <unsigned char> name[at]
    while True:
        slot = &names.slots[hashed & (NAME_SLOTS - 1)]
        if slot.length == length and memcmp(slot.name, name, length) == 0:
            return slot
        if slot.length == 0:
            return names_add(names, slot, name, length)
        hashed += 1


cdef inline object value_of(NameSlot *slot, const char *data, int length):
    """Return a field's value as str, the last one again if it is the same."""
    if slot.value_length == length and length > 0 and memcmp(slot.value, data, length) == 0:
        return <object> slot.last
    return new_value(slot, data, length)
