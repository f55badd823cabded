"""Read what trusted proxies report about a request's client: Forwarded (RFC 7239) and the X-Forwarded- fields.

A proxy appends at the right, and anything to the left of what the trusted proxies wrote may be forged. So every list is
read from its right end, and repeated fields from the last one back: no quote or comma that a client sends can change
how the elements to its right are read. The walk continues to the left while the hops are trusted; the first one that is
not trusted is the client. At an identifier that is no address, the walk ends early, and the last hop that it could read
is the client. Such identifiers are "unknown", obfuscated ones (RFC 7239 6.2, 6.3) and malformed ones.

If the number of proxies is known (`Trust.hops`), so many hops to the left is the client, whatever their addresses are.

If one of X-Forwarded-For, -Proto, -Host and -Port is there, Forwarded is ignored (docs/proxies.md has the reasons). Of
each X-Forwarded- field except -For, the right-most word counts, whichever proxy wrote it. Of Forwarded, the element at
which the walk ended counts.

These are malformed: brackets around anything but IPv6; a port that is not 1 to 5 digits or is above 65535; and in
Forwarded a value that is neither a token nor a quoted-string, a repeated parameter, and IPv6 without brackets. Blanks
around the semicolons of Forwarded are accepted, since people write them, and so are empty elements, as RFC 9110 5.6.1
requires.
"""
from libc.string cimport memcpy, memset

from halfsync.http.grammar cimport BYTE_DIGIT, BYTE_TOKEN, authority_is_valid, byte_is, is_blank, name_is, port_of, trim
from halfsync.http.parser cimport Field, field_is
from halfsync.http.trust cimport address_of, host_read, trust_has

cdef enum:
    NODE_BYTES = 128          # the longest node identifier (RFC 7239 6) that is read

# The parameters of an element of Forwarded, each with a bit.
cdef enum:
    PARAMETER_FOR = 1
    PARAMETER_BY = 2
    PARAMETER_HOST = 4
    PARAMETER_PROTO = 8


cdef void forwarded_read(const Head *head, const char *data, const Trust *trust, ForwardedInfo *info) noexcept nogil:
    """Read what proxies report. See the declaration."""
    cdef const Field *field
    cdef const char *value
    cdef bint walking_for = True, walking = True
    cdef bint has_proto = False, has_host = False, has_port = False
    cdef bint has_legacy = False
    cdef int hops = 0
    cdef int position
    info.address_length = info.has_port = 0
    info.scheme = SCHEME_UNKNOWN
    info.port = -1
    info.host_length = 0
    for position in range(head.fields_count - 1, -1, -1):
        field = &head.fields[position]
        value = data + field.value
        if field_is(data, field, b"x-forwarded-for"):
            has_legacy = True
            walking_for = walking_for and walk(value, value + field.value_length, False, trust, &hops, info)
        elif field_is(data, field, b"x-forwarded-proto"):
            if not has_proto:
                has_legacy = has_proto = True
                note_last_word(value, field.value_length, PARAMETER_PROTO, info)
        elif field_is(data, field, b"x-forwarded-host"):
            if not has_host:
                has_legacy = has_host = True
                note_last_word(value, field.value_length, PARAMETER_HOST, info)
        elif field_is(data, field, b"x-forwarded-port"):
            if not has_port:
                has_legacy = has_port = True
                info.port = last_port(value, field.value_length)
    if has_legacy:
        return
    for position in range(head.fields_count - 1, -1, -1):
        field = &head.fields[position]
        if walking and field_is(data, field, b"forwarded"):
            value = data + field.value
            walking = walk(value, value + field.value_length, True, trust, &hops, info)


cdef bint walk(
    const char *start, const char *end, bint standard, const Trust *trust, int *hops, ForwardedInfo *info
) noexcept nogil:
    """Walk through a field's value from its right end. Return False if the walk ends.

    standard: it is Forwarded. hops: those taken so far.
    """
    cdef const char *comma
    cdef const char *at
    cdef const char *stop
    while True:
        comma = comma_before(start, end, standard)
        at = start if comma == NULL else comma + 1
        stop = end
        trim(&at, &stop)
        if at < stop:
            if standard:
                if not take_element(at, stop, trust, hops, info):
                    return False
            elif not take_hop(at, stop - at, False, trust, hops, info):
                return False
        if comma == NULL:
            return True
        end = comma


cdef const char *comma_before(const char *start, const char *end, bint quotes) noexcept nogil:
    """Return the last comma of start..end, or NULL. quotes: skip quoted strings."""
    cdef const char *at = end
    while at > start:
        at -= 1
        if at[0] == c',':
            return at
        if quotes and at[0] == c'"':
            at = opening_quote(start, at)
            if at == NULL:
                return NULL
    return NULL


cdef const char *opening_quote(const char *start, const char *closing) noexcept nogil:
    """Return the opening quote of the string that ends at `closing`: the next without a backslash. NULL: none."""
    cdef const char *at = closing
    cdef const char *slash
    while at > start:
        at -= 1
        if at[0] == c'"':
            slash = at
            while slash > start and slash[-1] == c'\\':
                slash -= 1
            if (at - slash) % 2 == 0:
                return at
            at = slash
    return NULL


cdef bint take_hop(
    const char *at, size_t length, bint standard, const Trust *trust, int *hops, ForwardedInfo *info
) noexcept nogil:
    """Take the next hop to the left as the client. Return False if the walk ends: no trusted proxy, or no address."""
    cdef uint8_t host[16]
    cdef int port = -1
    cdef int host_length = node_read(at, length, standard, host, &port)
    if host_length == 0:
        return False
    info.address_length = <uint8_t> address_of(info.address, host, host_length, max(port, 0))
    info.has_port = port >= 0
    hops[0] += 1
    if trust.hops > 0:
        return hops[0] < trust.hops
    return trust_has(trust, info.address, info.address_length)


cdef int node_read(const char *at, size_t length, bint standard, uint8_t *host, int *port) noexcept nogil:
    """Read a node identifier. Returns the bytes of its address (4 or 16), or 0 if it is no address.

    In X-Forwarded-For, IPv6 commonly has no brackets.
    """
    cdef const char *end = at + length
    cdef const char *stop = at
    cdef int colons = 0
    cdef size_t position
    if length > 0 and at[0] == c'[':
        while stop < end and stop[0] != c']':
            stop += 1
        if stop == end or not host_read(at + 1, stop - at - 1, 16, host):
            return 0
        return 16 if port_read(stop + 1, end, standard, port) else 0
    for position in range(length):
        colons += at[position] == c':'
    if colons > 1:
        return 16 if not standard and host_read(at, length, 16, host) else 0
    while stop < end and stop[0] != c':':
        stop += 1
    if not host_read(at, stop - at, 4, host):
        return 0
    return 4 if port_read(stop, end, standard, port) else 0


cdef bint port_read(const char *at, const char *end, bint standard, int *port) noexcept nogil:
    """Read what follows an address: nothing, or a colon and a port, obfuscated or not in Forwarded (RFC 7239 6)."""
    if at == end:
        return True
    if at[0] != c':':
        return False
    at += 1
    if standard and end - at >= 2 and at[0] == c'_':
        return obfuscated(at + 1, end)
    port[0] = port_of(at, end - at)
    return port[0] >= 0


cdef bint obfuscated(const char *at, const char *end) noexcept nogil:
    """Tell whether a text may follow the underscore of an obfuscated identifier (RFC 7239 6.3)."""
    while at < end:
        if not byte_is(at[0], BYTE_DIGIT) and not c'a' <= (at[0] | 32) <= c'z' and at[0] not in (c'.', c'_', c'-'):
            return False
        at += 1
    return True


cdef void last_word(const char **at, size_t *length) noexcept nogil:
    """Move to the last word of a list that is not empty."""
    cdef const char *start = at[0]
    cdef const char *end = start + length[0]
    cdef const char *comma
    cdef const char *stop
    while True:
        comma = comma_before(start, end, False)
        at[0] = start if comma == NULL else comma + 1
        stop = end
        trim(at, &stop)
        length[0] = stop - at[0]
        if length[0] > 0 or comma == NULL:
            return
        end = comma


cdef void note_last_word(const char *at, size_t length, int parameter, ForwardedInfo *info) noexcept nogil:
    """Take the scheme or the host from the last word of an X-Forwarded- field."""
    last_word(&at, &length)
    note_parameter(at, length, parameter, info)


cdef int last_port(const char *at, size_t length) noexcept nogil:
    """Return the port that is the last word of X-Forwarded-Port, or -1."""
    last_word(&at, &length)
    return port_of(at, length)


cdef void note_parameter(const char *at, size_t length, int parameter, ForwardedInfo *info) noexcept nogil:
    """Take a scheme or a host, if it is valid."""
    if parameter == PARAMETER_PROTO:
        if name_is(at, length, b"http"):
            info.scheme = SCHEME_HTTP
        elif name_is(at, length, b"https"):
            info.scheme = SCHEME_HTTPS
    elif length <= FORWARDED_HOST_BYTES and authority_is_valid(at, at + length):
        memcpy(info.host, at, length)
        info.host_length = <int> length


cdef bint take_element(
    const char *at, const char *end, const Trust *trust, int *hops, ForwardedInfo *info
) noexcept nogil:
    """Take an element of Forwarded (RFC 7239 4). Return False if the walk ends.

    Its host and scheme belong to its client, and replace those of the elements to its right. An element that a trusted
    proxy wrote keeps its host and scheme even if its client has no address.
    """
    cdef ForwardedInfo own
    cdef char node[NODE_BYTES]
    cdef size_t node_length = 0
    cdef int seen = 0
    cdef bint goes_on
    memset(&own, 0, sizeof(own))
    while at < end:
        if at[0] == c';' or is_blank(at[0]):
            at += 1
            continue
        at = take_parameter(at, end, &seen, node, &node_length, &own)
        if at == NULL:
            return False
    info.scheme = own.scheme
    info.host_length = own.host_length
    memcpy(info.host, own.host, own.host_length)
    goes_on = take_hop(node, node_length, True, trust, hops, info)
    return goes_on


cdef const char *take_parameter(
    const char *at, const char *end, int *seen, char *node, size_t *node_length, ForwardedInfo *own
) noexcept nogil:
    """Take one parameter of an element. Returns where the next begins, or NULL if it is malformed."""
    cdef const char *name = at
    cdef char value[FORWARDED_HOST_BYTES]
    cdef int length
    cdef int parameter
    while at < end and byte_is(at[0], BYTE_TOKEN):
        at += 1
    parameter = parameter_of(name, at - name)
    if at == name or at == end or at[0] != c'=' or seen[0] & parameter:
        return NULL
    seen[0] |= parameter
    at = take_value(at + 1, end, value, &length)
    if at == NULL:
        return NULL
    if parameter == PARAMETER_FOR:
        if length > NODE_BYTES:
            return NULL
        memcpy(node, value, length)
        node_length[0] = length
    elif parameter == PARAMETER_HOST or parameter == PARAMETER_PROTO:
        note_parameter(value, length, parameter, own)
    while at < end and is_blank(at[0]):
        at += 1
    return at if at == end or at[0] == c';' else NULL


cdef int parameter_of(const char *name, size_t length) noexcept nogil:
    """Return the bit of a parameter that RFC 7239 5 defines, or 0 for an extension."""
    if name_is(name, length, b"for"):
        return PARAMETER_FOR
    if name_is(name, length, b"by"):
        return PARAMETER_BY
    if name_is(name, length, b"host"):
        return PARAMETER_HOST
    if name_is(name, length, b"proto"):
        return PARAMETER_PROTO
    return 0


cdef const char *take_value(const char *at, const char *end, char *value, int *length) noexcept nogil:
    """Read a token or a quoted-string (RFC 9110 5.6.4) of at most FORWARDED_HOST_BYTES. Returns its end, or NULL."""
    cdef bint quoted = at < end and at[0] == c'"'
    length[0] = 0
    if quoted:
        at += 1
    while at < end and (at[0] != c'"' if quoted else byte_is(at[0], BYTE_TOKEN)):
        if quoted and at[0] == c'\\':
            at += 1
            if at == end:
                return NULL
        if length[0] == FORWARDED_HOST_BYTES:
            return NULL
        value[length[0]] = at[0]
        length[0] += 1
        at += 1
    if quoted:
        return at + 1 if at < end else NULL
    return at if length[0] > 0 else NULL
