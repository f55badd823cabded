"""The environ keys of field names, each made once, and the last value of some fields.

The values of a few fields (Host, User-Agent, Accept ...) repeat from request to request and are no secrets: the table
keeps the last value's string of these too. It is bounded: a client cannot make it grow.
"""
from libc.stdlib cimport calloc, free

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF

cdef tuple SHARED = (
    "HTTP_HOST", "HTTP_USER_AGENT", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "HTTP_ACCEPT_LANGUAGE", "HTTP_CONNECTION",
    "HTTP_CACHE_CONTROL", "HTTP_PRAGMA", "HTTP_UPGRADE_INSECURE_REQUESTS", "HTTP_ORIGIN", "HTTP_DNT",
    "HTTP_SEC_FETCH_DEST", "HTTP_SEC_FETCH_MODE", "HTTP_SEC_FETCH_SITE", "HTTP_SEC_FETCH_USER", "HTTP_SEC_CH_UA",
    "HTTP_SEC_CH_UA_MOBILE", "HTTP_SEC_CH_UA_PLATFORM", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT", "CONTENT_TYPE",
)
# Keys that applications look up, as interned strings, which their code uses too. No other key is interned: a client
# chooses it, and from Python 3.12 on an interned string is never freed.
cdef dict KNOWN = {
    key: key for key in (
        *SHARED, "CONTENT_LENGTH", "HTTP_ACCEPT_CHARSET", "HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_DATE",
        "HTTP_EXPECT", "HTTP_FORWARDED", "HTTP_IF_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH",
        "HTTP_IF_RANGE",
        "HTTP_IF_UNMODIFIED_SINCE", "HTTP_MAX_FORWARDS", "HTTP_RANGE", "HTTP_REFERER", "HTTP_TE", "HTTP_TRACEPARENT",
        "HTTP_TRANSFER_ENCODING", "HTTP_UPGRADE", "HTTP_VIA", "HTTP_X_CSRFTOKEN", "HTTP_X_FORWARDED_FOR",
        "HTTP_X_REAL_IP", "HTTP_X_REQUESTED_WITH", "HTTP_X_REQUEST_ID",
    )
}
cdef tuple FORWARDED_KEYS = (
    "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT",
)


cdef int names_open(FieldNames *names) noexcept:
    """Make an empty table. Returns -1 if memory is short."""
    names.slots = <NameSlot *> calloc(NAME_SLOTS, sizeof(NameSlot))
    names.count = 0
    return 0 if names.slots != NULL else -1


cdef void names_close(FieldNames *names) noexcept:
    """Free a table."""
    cdef int position
    if names.slots != NULL:
        for position in range(NAME_SLOTS):
            Py_XDECREF(<PyObject *> names.slots[position].key)
            Py_XDECREF(<PyObject *> names.slots[position].last)
        free(names.slots)


cdef NameSlot *names_add(FieldNames *names, NameSlot *slot, const char *name, int length) except? NULL:
    """Fill a free slot for a name, and return it. NULL: the table is full, and the name is not remembered."""
    if names.count >= NAME_SLOTS // 2:
        return NULL
    key = key_of(name, length)
    names.count += 1
    slot.length = <uint8_t> length
    memcpy(slot.name, name, length)
    slot.shares = key in SHARED
    slot.proxy_field = proxy_field_of(key)
    if key is not None:
        Py_INCREF(key)
        slot.key = <void *> key
    return slot


cdef object new_value(NameSlot *slot, const char *data, int length):
    """Return a value as str, and remember it if it may be shared."""
    cdef str value = text_of(data, length)
    if slot.shares and 0 < length <= VALUE_BYTES:
        Py_INCREF(value)
        Py_XDECREF(<PyObject *> slot.last)
        slot.last = <void *> value
        slot.value_length = <uint8_t> length
        memcpy(slot.value, data, length)
    return value


cdef object key_of(const char *name, int length):
    """Return a field name's environ key. None: it has an underscore, so it could pass for another field."""
    text = name[:length].decode("latin-1").upper()
    if "_" in text:
        return None
    text = text.replace("-", "_")
    if text not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        text = "HTTP_" + text
    return KNOWN.get(text, text)


cdef uint8_t proxy_field_of(object key):
    """Return the ProxyField of an environ key, or 0 if proxies do not use it."""
    if key == "HTTP_FORWARDED":
        return PROXY_FIELD_FORWARDED
    if key in FORWARDED_KEYS:
        return PROXY_FIELD_X
    return PROXY_FIELD_OTHER if key is not None and key.startswith("HTTP_X_FORWARDED_") else 0
