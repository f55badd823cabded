"""Make the WSGI environ of a request (PEP 3333, "environ Variables"), fast.

What never changes is in a template that is copied. Field names are looked up in a small table of names seen before, so
their environ keys are made once. The values of a few fields (Host, User-Agent, Accept ...) repeat from request to
request and are no secrets: for these the table also keeps the last value's string. The table is bounded: a client
cannot make it grow. All of it is used under the GIL.

The fields in which proxies describe their client (Forwarded and the X-Forwarded- fields) are believed only from trusted
peers. From any other peer they are left out, so that no application believes a client. The table marks their names, so
that a request without them costs no check.
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from cpython.dict cimport PyDict_Copy, PyDict_SetItem, PyDict_Size
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF

from halfsync.exchange.exchange cimport exchange_is_get
from halfsync.http.forwarded cimport SCHEME_HTTPS, SCHEME_UNKNOWN, ForwardedInfo, forwarded_read
from halfsync.http.grammar cimport DECIMAL_BYTES, hex_pair, write_decimal
from halfsync.http.parser cimport Field, Head
from halfsync.http.trust cimport HOST_TEXT, TrustedPeers, host_bytes, host_text, trust_has
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport cas_llong
from halfsync.shared.client_counts cimport KEY_UNKNOWN, client_key
from halfsync.wsgi.body cimport INPUT_ENDED, INPUT_OPEN, Input

from halfsync.log import logger

cdef extern from "Python.h":
    Py_ssize_t references "Py_REFCNT" (PyObject *counted)  # of a pointer: an object passed on may count once more
    str PyUnicode_DecodeLatin1(const char *data, Py_ssize_t length, const char *errors)
    PyObject *PyDict_SetDefault(dict target, object key, object value) except NULL

cdef enum:
    IGNORED_PEERS = 8

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
cdef dict METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
}
cdef str GET = "GET"
cdef str REQUEST_METHOD = "REQUEST_METHOD"
cdef str PATH_INFO = "PATH_INFO"
cdef str QUERY_STRING = "QUERY_STRING"
cdef str REQUEST_URI = "REQUEST_URI"
cdef str RAW_URI = "RAW_URI"
cdef str SERVER_PROTOCOL = "SERVER_PROTOCOL"
cdef str HTTP_10 = "HTTP/1.0"
cdef str REMOTE_ADDR = "REMOTE_ADDR"
cdef str REMOTE_PORT = "REMOTE_PORT"
cdef str CONTENT_LENGTH = "CONTENT_LENGTH"
cdef str HTTP_COOKIE = "HTTP_COOKIE"
cdef str HTTP_TRANSFER_ENCODING = "HTTP_TRANSFER_ENCODING"
cdef str HTTP_HOST = "HTTP_HOST"
cdef str SERVER_NAME = "SERVER_NAME"
cdef str SERVER_PORT = "SERVER_PORT"
cdef str URL_SCHEME = "wsgi.url_scheme"
cdef str HTTP_FORWARDED = "HTTP_FORWARDED"
cdef tuple FORWARDED_KEYS = (
    "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT",
)
cdef tuple SCHEMES = ("http", "https")
cdef tuple DEFAULT_PORTS = ("80", "443")
cdef str WSGI_INPUT = "wsgi.input"
cdef str QUEUE_WAIT = "halfsync.queue_wait"


cdef inline str text_of(const char *data, Py_ssize_t length):
    return PyUnicode_DecodeLatin1(data, length, NULL)


cdef inline str port_text(int port):
    """Return a port number as text."""
    cdef char digits[DECIMAL_BYTES]
    return text_of(digits, write_decimal(digits, port) - digits)


cdef str decoded(const char *data, Py_ssize_t length):
    """Return a path with its percent-encoding decoded, as latin-1 (PEP 3333). Invalid encodings stay as they are."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t end = 0
    cdef int value
    cdef bytearray out
    cdef char *target
    while at < length and data[at] != b"%":
        at += 1
    if at == length:
        return text_of(data, length)
    out = bytearray(length)
    target = out
    memcpy(target, data, at)
    end = at
    while at < length:
        value = hex_pair(data + at + 1) if data[at] == b"%" and at + 2 < length else -1
        if value >= 0:
            target[end] = <char> value
            at += 3
        else:
            target[end] = data[at]
            at += 1
        end += 1
    return text_of(target, end)


cdef class EnvironFactory:
    """Makes environs. A server has one, which its workers use under the GIL."""

    def __cinit__(self, *_args):
        self.names = <NameSlot *> calloc(NAME_SLOTS, sizeof(NameSlot))
        self.ignored = <atomic_llong *> map_shared(IGNORED_PEERS * sizeof(atomic_llong))
        if self.names == NULL or self.ignored == NULL:
            raise MemoryError
        self.last_address_length = 0

    def __dealloc__(self):
        cdef int position
        unmap_shared(self.ignored, IGNORED_PEERS * sizeof(atomic_llong))
        if self.names != NULL:
            for position in range(NAME_SLOTS):
                Py_XDECREF(<PyObject *> self.names[position].key)
                Py_XDECREF(<PyObject *> self.names[position].last)
            free(self.names)

    def __init__(
        self, list servers, dict constants, no_body, TrustedPeers trusted not None, str root="",
        Endpoints endpoints=None,
    ):
        """servers: a (SERVER_NAME, SERVER_PORT) pair for each listener. constants: keys that every environ has.

        no_body: the wsgi.input of requests without a body. trusted: the peers whose forwarded fields are believed.
        root: SCRIPT_NAME from the settings, which is removed from the paths that begin with it. endpoints: those of the
        listeners, and of other processes' listeners whose connections were adopted.
        """
        self.empty = no_body
        self.trusted = trusted
        self.root = root.encode("utf-8", "surrogateescape").decode("latin-1") if root else None
        self.template = {
            REQUEST_METHOD: GET, "SCRIPT_NAME": self.root or "", PATH_INFO: "/", QUERY_STRING: "",
            REQUEST_URI: "/", RAW_URI: "/", SERVER_NAME: "", SERVER_PORT: "", SERVER_PROTOCOL: "HTTP/1.1",
            REMOTE_ADDR: "", REMOTE_PORT: "", WSGI_INPUT: no_body, QUEUE_WAIT: 0.0, **constants,
        }
        self.templates = [self.of_server(server) for server in servers]
        self.templates_count = len(self.templates)
        self.endpoints = endpoints

    cdef dict make(self, Exchange *exchange, const Origin *origin, double waited_s, object body, bint *lent):
        """Return the environ of a complete request. body: its wsgi.input, or None for the empty one.

        lent: set to whether no other environ has the empty one. If so, the caller must call take_empty_back.
        """
        cdef Head *head = &exchange.head
        cdef const char *data = exchange.data
        cdef dict environ
        cdef int port = 0
        cdef str text
        if origin.listener < self.templates_count:
            environ = PyDict_Copy(self.templates[origin.listener])
        else:
            environ = self.of_server(self.endpoints.server(origin.listener))
        # Checked at once: no other thread can have run since the copy was made.
        lent[0] = references(<PyObject *> self.empty) == self.idle_references + 1
        if not exchange_is_get(exchange):
            method = data[head.method:head.method + head.method_length]
            PyDict_SetItem(environ, REQUEST_METHOD, METHODS.get(method) or method.decode("latin-1"))
        if head.target_length != 1 or data[head.target] != b"/":
            text = text_of(data + head.target, head.target_length)
            PyDict_SetItem(environ, REQUEST_URI, text)
            PyDict_SetItem(environ, RAW_URI, text)
            if head.path_length > 0:
                text = decoded(data + head.path, head.path_length)
                if self.root is not None and text.startswith(self.root) and text[len(self.root):][:1] in ("", "/"):
                    text = text[len(self.root):]
                PyDict_SetItem(environ, PATH_INFO, text)
            elif head.target_form != 1:
                PyDict_SetItem(environ, PATH_INFO, "")
            if head.query_length > 0:
                PyDict_SetItem(environ, QUERY_STRING, text_of(data + head.query, head.query_length))
        if head.minor == 0:
            PyDict_SetItem(environ, SERVER_PROTOCOL, HTTP_10)
        text = self.address_text(origin, &port)
        if text is not None:
            PyDict_SetItem(environ, REMOTE_ADDR, text)
            PyDict_SetItem(environ, REMOTE_PORT, port_text(port))
        if waited_s > 0:
            PyDict_SetItem(environ, QUEUE_WAIT, waited_s)
        if body is not None:
            PyDict_SetItem(environ, WSGI_INPUT, body)
        self.add_fields(environ, exchange, origin)
        exchange.forwarded_seen = True
        return environ

    # To make an input for each request without a body would cost more than everything else about the body. So one input
    # is in the templates, and is lent to one request at a time. The number of references to it shows whether it is
    # lent, and whether the application has kept it or the environ after its turn.

    cdef int renew_empty(self) except -1:
        """Replace the empty input by a new one."""
        self.empty = Input.__new__(Input)
        self.template[WSGI_INPUT] = self.empty
        for environ in self.templates:
            environ[WSGI_INPUT] = self.empty
        self.idle_references = 2 + self.templates_count
        return 0

    cdef void take_empty_back(self, dict environ) noexcept:
        """Take the empty input back from an environ whose turn has ended; if it was used or kept, close it for good.

        All references to the environ but the caller's one are the application's.
        """
        cdef Input lent = self.empty
        if (
            lent.state == INPUT_OPEN and lent.position == 0 and references(<PyObject *> environ) == 1
            and references(<PyObject *> lent) == self.idle_references + 2
        ):
            return
        try:
            self.renew_empty()
        except MemoryError:
            self.idle_references = 0  # it is never lent again
        lent.shut(INPUT_ENDED)

    cdef dict of_server(self, tuple server):
        """Return a new environ with the template's keys and the names of this server."""
        cdef dict environ = PyDict_Copy(self.template)
        environ[SERVER_NAME], environ[SERVER_PORT] = server
        return environ

    cdef object add_fields(self, dict environ, Exchange *exchange, const Origin *origin):
        """Add the head's fields: repeated ones joined, those with underscores left out, forwarded ones if trusted."""
        cdef Head *head = &exchange.head
        cdef const char *data = exchange.data
        cdef const Field *field
        cdef NameSlot *slot
        cdef PyObject *present
        cdef int position, kind
        cdef int info = 0  # ProxyField bits of the fields that are believed
        cdef int trusted = -1  # not known yet
        cdef Py_ssize_t size = PyDict_Size(environ)
        cdef object key, value
        for position in range(head.fields_count):
            field = &head.fields[position]
            slot = self.slot_of(data + field.name, field.name_length)
            if slot != NULL:
                if slot.key == NULL:
                    continue
                key = <object> slot.key
                kind = slot.proxy_field
                value = self.value_of(slot, data + field.value, field.value_length)
            else:
                key = key_of(data + field.name, field.name_length)
                if key is None:
                    continue
                kind = proxy_field_of(key)
                value = text_of(data + field.value, field.value_length)
            if kind:
                if trusted < 0:
                    trusted = trust_has(&self.trusted.trust, origin.address, origin.address_length)
                    if not trusted:
                        self.note_ignored(origin, data[field.name:field.name + field.name_length])
                if not trusted:
                    continue
                info |= kind
            present = PyDict_SetDefault(environ, key, value)
            if PyDict_Size(environ) == size:
                joined = "; " if key == HTTP_COOKIE else ", "
                PyDict_SetItem(environ, key, f"{<object> present}{joined}{value}")
            else:
                size += 1
        if head.chunked:
            # The body was decoded: for the application its length is known.
            environ.pop(HTTP_TRANSFER_ENCODING, None)
            PyDict_SetItem(environ, CONTENT_LENGTH, str(exchange.body_length))
        if head.target_form == 1:
            PyDict_SetItem(environ, HTTP_HOST, text_of(data + head.authority, head.authority_length))
        if info:
            if info & PROXY_FIELD_X and info & PROXY_FIELD_FORWARDED:
                environ.pop(HTTP_FORWARDED)
            self.believe(environ, exchange)

    cdef object note_ignored(self, const Origin *origin, bytes name):
        """Log that a peer is not trusted: otherwise a proxy that is missing in the settings is hard to find.

        One line for each of the first few peers, since any client may send such fields.
        """
        cdef long long key = <long long> (client_key(origin.address, origin.address_length) or KEY_UNKNOWN)
        cdef long long other
        cdef int port, position
        for position in range(IGNORED_PEERS):
            other = 0
            if cas_llong(&self.ignored[position], &other, key):
                logger().info(
                    "ignored %s from %s: forwarded_allow_ips does not name this peer (docs/proxies.md)",
                    name.decode("ascii"), self.address_text(origin, &port) or "a unix socket")
                return
            if other == key:
                return

    cdef object believe(self, dict environ, Exchange *exchange):
        """Put into the environ what trusted proxies report: client, scheme, host and port (docs/proxies.md)."""
        cdef ForwardedInfo info
        cdef const uint8_t *host
        cdef char address[HOST_TEXT]
        cdef int length, port
        forwarded_read(&exchange.head, exchange.data, &self.trusted.trust, &info)
        if info.address_length > 0:
            length = host_bytes(info.address, info.address_length, &host, &port)
            host_text(host, length, address)
            PyDict_SetItem(environ, REMOTE_ADDR, address.decode("ascii"))
            PyDict_SetItem(environ, REMOTE_PORT, port_text(port) if info.has_port else "")
            memcpy(exchange.client, info.address, info.address_length)
            exchange.client_length = info.address_length
        if info.scheme != SCHEME_UNKNOWN:
            PyDict_SetItem(environ, URL_SCHEME, SCHEMES[info.scheme == SCHEME_HTTPS])
        if info.host_length > 0:
            text = text_of(info.host, info.host_length)
            PyDict_SetItem(environ, HTTP_HOST, text)
            name, port_part = split_host(text)
            PyDict_SetItem(environ, SERVER_NAME, name)
        else:
            port_part = ""
        if info.port >= 0:
            PyDict_SetItem(environ, SERVER_PORT, port_text(info.port))
        elif port_part:
            PyDict_SetItem(environ, SERVER_PORT, port_part)
        elif info.scheme != SCHEME_UNKNOWN or info.host_length > 0:
            PyDict_SetItem(environ, SERVER_PORT, DEFAULT_PORTS[environ[URL_SCHEME] == "https"])

    cdef NameSlot *slot_of(self, const char *name, int length):
        """Return the slot of a field name, filled now if the name is new. NULL: the name is not remembered."""
        cdef unsigned int hashed = length
        cdef int at
        cdef NameSlot *slot
        if length > NAME_BYTES:
            return NULL
        for at in range(length):
            hashed = hashed * 31 + <unsigned char> name[at]
        while True:
            slot = &self.names[hashed & (NAME_SLOTS - 1)]
            if slot.length == length and memcmp(slot.name, name, length) == 0:
                return slot
            if slot.length == 0:
                break
            hashed += 1
        if self.names_count >= NAME_SLOTS // 2:
            return NULL
        key = key_of(name, length)
        self.names_count += 1
        slot.length = <uint8_t> length
        memcpy(slot.name, name, length)
        slot.shares = key in SHARED
        slot.proxy_field = proxy_field_of(key)
        if key is not None:
            Py_INCREF(key)
            slot.key = <void *> key
        return slot

    cdef object value_of(self, NameSlot *slot, const char *data, int length):
        """Return a field's value as str, the last one again if it is the same."""
        cdef str value
        if not slot.shares or length == 0 or length > VALUE_BYTES:
            return text_of(data, length)
        if slot.value_length == length and memcmp(slot.value, data, length) == 0:
            return <object> slot.last
        value = text_of(data, length)
        Py_INCREF(value)
        Py_XDECREF(<PyObject *> slot.last)
        slot.last = <void *> value
        slot.value_length = <uint8_t> length
        memcpy(slot.value, data, length)
        return value

    cdef str address_text(self, const Origin *origin, int *port):
        """Return the peer's address as text, and set its port. None: the socket has no addresses."""
        cdef const uint8_t *host
        cdef char text[HOST_TEXT]
        cdef int length = host_bytes(origin.address, origin.address_length, &host, port)
        if length == 0:
            return None
        if length != self.last_address_length or memcmp(host, self.last_address, length) != 0:
            host_text(host, length, text)
            self.last_address_text = text.decode("ascii")
            memcpy(self.last_address, host, length)
            self.last_address_length = length
        return self.last_address_text


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
    if key == HTTP_FORWARDED:
        return PROXY_FIELD_FORWARDED
    if key in FORWARDED_KEYS:
        return PROXY_FIELD_X
    return PROXY_FIELD_OTHER if key is not None and key.startswith("HTTP_X_FORWARDED_") else 0


cdef tuple split_host(str text):
    """Return the name and the port of host[:port], "" if it has no port. An IPv6 address keeps its brackets."""
    name, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        return text, ""
    return name, port
