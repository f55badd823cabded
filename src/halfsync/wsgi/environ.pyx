"""Make the WSGI environ of a request (PEP 3333, "environ Variables"), fast.

What never changes is in a template that is copied, and field names have their keys in a table (field_names.pyx). All of
it is used under the GIL.

The fields in which proxies describe their client (Forwarded and the X-Forwarded- fields) are believed only from trusted
peers. From any other peer they are left out, so that no application believes a client. The table marks their names, so
that a request without them costs no check.
"""
from libc.string cimport memchr, memcmp, memcpy

from cpython.dict cimport PyDict_Copy, PyDict_SetItem, PyDict_Size
from cpython.object cimport PyObject

from halfsync.exchange.exchange cimport exchange_is_get
from halfsync.http.forwarded cimport SCHEME_HTTPS, SCHEME_UNKNOWN, ForwardedInfo, forwarded_read
from halfsync.http.grammar cimport DECIMAL_BYTES, decode_path, write_decimal
from halfsync.http.parser cimport Field, Head
from halfsync.http.trust cimport HOST_TEXT, TrustedPeers, host_bytes, host_text, trust_has
from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport cas_llong
from halfsync.shared.client_counts cimport KEY_UNKNOWN, client_key
from halfsync.wsgi.environ_templates cimport EnvironTemplates, references
from halfsync.wsgi.field_names cimport (
    NameSlot, PROXY_FIELD_FORWARDED, PROXY_FIELD_X, key_of, names_close, names_find, names_open, proxy_field_of,
    text_of, value_of,
)

from halfsync.log import logger

cdef extern from "Python.h":
    PyObject *PyDict_SetDefault(dict target, object key, object value) except NULL

cdef enum:
    IGNORED_PEERS = 8

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
cdef tuple SCHEMES = ("http", "https")
cdef tuple DEFAULT_PORTS = ("80", "443")
cdef str WSGI_INPUT = "wsgi.input"


cdef inline str port_text(int port):
    """Return a port number as text."""
    cdef char digits[DECIMAL_BYTES]
    return text_of(digits, write_decimal(digits, port) - digits)


cdef str decoded(const char *data, Py_ssize_t length):
    """Return a path with its percent-encoding decoded, as latin-1 (PEP 3333). Invalid encodings stay as they are."""
    cdef bytearray out
    cdef char *target
    if memchr(data, c'%', length) == NULL:
        return text_of(data, length)
    out = bytearray(length)
    target = out
    return text_of(target, decode_path(data, length, target))


cdef class EnvironFactory(EnvironTemplates):
    """Makes environs. A server has one, which its workers use under the GIL."""

    def __cinit__(self, *_args):
        self.ignored = <atomic_llong *> map_shared(IGNORED_PEERS * sizeof(atomic_llong))
        if names_open(&self.names) < 0 or self.ignored == NULL:
            raise MemoryError
        self.last_address_length = 0

    def __dealloc__(self):
        unmap_shared(self.ignored, IGNORED_PEERS * sizeof(atomic_llong))
        names_close(&self.names)

    def __init__(
        self, list servers, dict constants, no_body, TrustedPeers trusted not None, str root="",
        Endpoints endpoints=None, str id_field=None,
    ):
        """servers: SERVER_NAME, SERVER_PORT and the URLs' scheme of each listener.

        constants: keys that every environ has. no_body: the wsgi.input of requests without a body. trusted: the peers
        whose forwarded fields are believed. root: SCRIPT_NAME from the settings, which is removed from the paths that
        begin with it. endpoints: those of the listeners, and of other processes' listeners whose connections were
        adopted. id_field: the field from which ids of requests are taken; None: requests have no ids.
        """
        self.empty = no_body
        self.trusted = trusted
        self.root = root.encode("utf-8", "surrogateescape").decode("latin-1") if root else None
        self.set_templates({
            REQUEST_METHOD: GET, "SCRIPT_NAME": self.root or "", PATH_INFO: "/", QUERY_STRING: "",
            REQUEST_URI: "/", RAW_URI: "/", SERVER_NAME: "", SERVER_PORT: "", SERVER_PROTOCOL: "HTTP/1.1",
            REMOTE_ADDR: "", REMOTE_PORT: "", WSGI_INPUT: no_body, **constants,
        }, servers)
        self.endpoints = endpoints
        self.renew_wait()
        self.renew_timeline()
        if id_field is not None:
            self.id_key = "HTTP_" + id_field.upper().replace("-", "_")
            self.renew_id()

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
        self.add_wait(environ, max(waited_s, 0))
        if body is not None:
            PyDict_SetItem(environ, WSGI_INPUT, body)
        self.add_fields(environ, exchange, origin)
        if exchange.id_length > 0:
            self.add_id(environ, exchange)
        exchange.forwarded_seen = True
        return environ

    cdef object add_fields(self, dict environ, Exchange *exchange, const Origin *origin):
        """Add the head's fields: repeated ones joined, those with underscores left out, forwarded ones if trusted."""
        cdef Head *head = &exchange.head
        cdef const char *data = exchange.data
        cdef const Field *field
        cdef NameSlot *slot
        cdef int position, kind
        cdef int info = 0  # ProxyField bits of the fields that are believed
        cdef int trusted = -1  # not known yet
        cdef object key, value
        for position in range(head.fields_count):
            field = &head.fields[position]
            slot = names_find(&self.names, data + field.name, field.name_length)
            if slot != NULL:
                if slot.key == NULL:
                    continue
                key = <object> slot.key
                kind = slot.proxy_field
                value = value_of(slot, data + field.value, field.value_length)
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
            add_field(environ, key, value)
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


cdef inline int add_field(dict environ, object key, object value) except -1:
    """Add a field, joined to what a field of the same name has added before (RFC 9110 5.3, RFC 6265 5.4)."""
    cdef Py_ssize_t size = PyDict_Size(environ)
    cdef PyObject *present = PyDict_SetDefault(environ, key, value)
    if PyDict_Size(environ) == size:
        joined = "; " if key == HTTP_COOKIE else ", "
        PyDict_SetItem(environ, key, f"{<object> present}{joined}{value}")
    return 0


cdef tuple split_host(str text):
    """Return the name and the port of host[:port], "" if it has no port. An IPv6 address keeps its brackets."""
    name, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        return text, ""
    return name, port
