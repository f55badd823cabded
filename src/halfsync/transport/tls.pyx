"""TLS, the second kind of transport (decisions/0041). Nothing outside this package knows OpenSSL.

A connection is an SSL object over a socket, through a BIO of our own: it never blocks, raises no SIGPIPE, and notes
what it saw of the socket. The owner of the connection calls these functions, one thread at a time; only `pending` may
be called by another thread that keeps the owner from closing, so it asks nothing of OpenSSL. Results are those of
transport.pxd.

What differs from a plain socket:
- A record that was encrypted and could not be sent whole stays in the SSL object. The caller is told to wait, and then
  repeats the send, perhaps with fewer of the same bytes at a time. So the rest of the record is sent first, and its
  bytes are then credited to the caller's sends until they are used up.
- OpenSSL reads ahead, so that a record needs one system call. `pending` reports what it holds, unless a receive has
  shown that it is only a part of a record.
- A connection whose TLS has failed sends nothing more, not even close_notify.
"""
from libc.errno cimport EAGAIN, ECONNRESET, EINTR, ENOMEM, EPROTO, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy
from posix.uio cimport iovec

from halfsync.http.response_head cimport (
    ERROR_BYTES, ServerFields, begin_head, end_with_text, server_fields_init,
)
from halfsync.native.checks cimport check
from halfsync.native.sync cimport (
    monotonic_ns, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)
from halfsync.transport.openssl cimport *
from halfsync.transport.profiles cimport Profile
from halfsync.transport.transport cimport (
    MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, Transport, TransportKind, TransportState, WANT_READ, WANT_WRITE, c_recv,
    c_send,
)

cdef extern from "<sys/socket.h>" nogil:
    const int SHUT_WR
    int shutdown(int fd, int how)

cdef enum:
    RECORD_BYTES = 16384          # the most that a record holds (RFC 8446 5.1)
    RECORDS_PER_SEND = 16         # of one send, before others have their turn
    DISCARD_BYTES = 4096
    KEY_BYTES = 32                # of what ticket keys are made of: a SHA-256
    KEY_NAME_BYTES = 16           # of a ticket (RFC 5077 4)
    KEYS_KEPT = 3
    SNI_HOST = 0                  # TLSEXT_NAMETYPE_host_name
    TLS1_2 = 0x0303
    TLS1_3 = 0x0304

cdef int64_t KEY_LIFE_NS = 3600000000000
cdef bytes SSL_LIBRARY = b"libssl.so.3"
cdef bytes CRYPTO_LIBRARY = b"libcrypto.so.3"
cdef const char *PLAIN_TEXT = b"This port speaks HTTPS, and the request came without TLS. Use https:// in its URL.\n"
cdef const char *PROTOCOLS = b"\x08http/1.1"  # as ALPN has it: each name after its length

# What all connections of a listener share. Read-only once made.
ctypedef struct Shared:
    SSL_CTX **contexts            # one for each certificate; the first is for clients that name no other
    int count
    bint raw                      # a stream, and no HTTP
    ServerFields fields           # of the answer to a request without TLS

ctypedef struct State:
    TransportState base
    SSL *ssl
    const Shared *shared
    int fd
    int error                     # errno of the socket call that failed; 0: none did
    uint32_t waiting              # bytes of a record that is encrypted and not sent whole
    uint32_t credit               # bytes that were sent, and that the caller does not know of yet
    uint8_t interim               # those that wait are of send_whole: its caller does not repeat them
    uint8_t more                  # further bytes follow at once
    uint8_t drained               # a receive from the socket, during this call, has emptied it
    uint8_t partial               # what OpenSSL holds is no whole record
    uint8_t holds                 # OpenSSL holds bytes that a receive may return, without an event of the socket
    uint8_t ended                 # the socket's end was received
    uint8_t begun                 # something was received
    uint8_t plain                 # and it is no TLS, but text
    uint8_t broken                # TLS has failed
    uint8_t finished              # close_notify was sent


# --- the socket ---

cdef inline bint begins_text(char first) noexcept nogil:
    """Return whether a first byte is that of a request without TLS. A record's is 22."""
    return c"A" <= first <= c"Z" or c"a" <= first <= c"z"


cdef int bio_read(BIO *bio, char *data, int room) noexcept nogil:
    cdef State *state = <State *> BIO_get_data(bio)
    cdef ssize_t length
    BIO_clear_flags(bio, HS_BIO_FLAGS_ALL)
    while True:
        length = c_recv(state.fd, data, room, MSG_DONTWAIT)
        if length >= 0 or errno != EINTR:
            break
    state.drained = length < room
    if length > 0:
        state.partial = False
        if not state.begun:
            state.begun = True
            state.plain = begins_text(data[0])
            if state.plain:
                return -1
        return <int> length
    if length == 0:
        state.ended = True
        return 0
    if errno == EAGAIN:
        BIO_set_flags(bio, HS_BIO_FLAGS_READ | HS_BIO_FLAGS_RETRY)
    else:
        state.error = errno
    return -1


cdef int bio_write(BIO *bio, const char *data, int length) noexcept nogil:
    cdef State *state = <State *> BIO_get_data(bio)
    cdef ssize_t sent
    BIO_clear_flags(bio, HS_BIO_FLAGS_ALL)
    if state.plain:
        return -1  # no alert: the peer would take it for an answer
    while True:
        sent = c_send(state.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL | (MSG_MORE if state.more else 0))
        if sent >= 0:
            return <int> sent
        if errno != EINTR:
            break
    if errno == EAGAIN:
        BIO_set_flags(bio, HS_BIO_FLAGS_WRITE | HS_BIO_FLAGS_RETRY)
    else:
        state.error = errno
    return -1


cdef long bio_ctrl(BIO *bio, int command, long _number, void *_data) noexcept nogil:
    if command == HS_BIO_CTRL_FLUSH:
        return 1
    if command == HS_BIO_CTRL_EOF:
        return (<State *> BIO_get_data(bio)).ended
    return 0


# --- the kind ---

cdef TransportKind kind
cdef BIO_METHOD *method = NULL


cdef inline State *state_of(Transport *transport) noexcept nogil:
    return <State *> transport.state


cdef int open(Transport *transport, void *settings) noexcept nogil:
    cdef const Shared *shared = <const Shared *> settings
    cdef State *state = <State *> calloc(1, sizeof(State))
    cdef BIO *bio
    if state == NULL:
        return -ENOMEM
    ERR_clear_error()
    state.ssl = SSL_new(shared.contexts[0])
    bio = NULL if state.ssl == NULL else BIO_new(method)
    if bio == NULL:
        if state.ssl != NULL:
            SSL_free(state.ssl)
        ERR_clear_error()
        free(state)
        return -ENOMEM
    BIO_set_data(bio, state)
    BIO_set_init(bio, 1)
    SSL_set_bio(state.ssl, bio, bio)
    SSL_set_accept_state(state.ssl)
    state.base.kind = &kind
    state.shared = shared
    state.fd = transport.fd
    transport.state = &state.base
    return 0


cdef void close(Transport *transport) noexcept nogil:
    cdef State *state = state_of(transport)
    SSL_free(state.ssl)
    free(state)
    transport.state = NULL


cdef void begin_call(State *state) noexcept nogil:
    """Forget errors of calls before: OpenSSL takes what it finds in the thread's queue for the error of this call."""
    ERR_clear_error()
    state.error = 0


cdef int failure_of(State *state, int result) noexcept nogil:
    """Return what a call that has not succeeded waits for; or -errno, and then TLS has failed; or 0: the peer's end."""
    cdef int error = SSL_get_error(state.ssl, result)
    if error == HS_SSL_ERROR_WANT_READ:
        return WANT_READ
    if error == HS_SSL_ERROR_WANT_WRITE:
        return WANT_WRITE
    ERR_clear_error()
    if error == HS_SSL_ERROR_ZERO_RETURN:
        return 0
    state.broken = True
    if state.error != 0:
        return -state.error
    return -EPROTO if error == HS_SSL_ERROR_SSL else -ECONNRESET


cdef void answer_plain(const State *state) noexcept nogil:
    """Answer a request that came without TLS, if HTTP is spoken. What it sent is dropped, or closing would reset it."""
    cdef char answer[ERROR_BYTES]
    cdef char dropped[DISCARD_BYTES]
    cdef int64_t sent = 0
    cdef char *end
    cdef size_t length = 0
    cdef int _visits
    if state.shared.raw:
        return
    while PLAIN_TEXT[length] != 0:
        length += 1
    for _visits in range(64):
        if c_recv(state.fd, dropped, DISCARD_BYTES, MSG_DONTWAIT) <= 0:
            break
    end = begin_head(answer, &state.shared.fields, 400)
    end = end_with_text(end, &state.shared.fields, False, False, PLAIN_TEXT, length, &sent)
    c_send(state.fd, answer, end - answer, MSG_DONTWAIT | MSG_NOSIGNAL)
    shutdown(state.fd, SHUT_WR)


cdef inline void note_held(State *state) noexcept nogil:
    """Note whether OpenSSL holds something to receive. What it has read ahead counts until it proves to be a part."""
    state.holds = SSL_pending(state.ssl) > 0 or (not state.partial and SSL_has_pending(state.ssl))


cdef int handshake(Transport *transport) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef int result
    begin_call(state)
    result = SSL_do_handshake(state.ssl)
    if result == 1:
        note_held(state)
        return 0
    result = failure_of(state, result)
    if state.plain:
        answer_plain(state)
    if result == 0:
        state.broken = True  # the peer has ended before TLS has begun
        result = -ECONNRESET
    return result


cdef ssize_t receive(Transport *transport, void *data, size_t room) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef int length
    transport.drained = True
    if state.broken:
        return -ECONNRESET
    begin_call(state)
    state.drained = False  # what an earlier call saw of the socket is over: an event may have come and gone since
    length = SSL_read(state.ssl, data, <int> min(room, <size_t> 1 << 30))
    if length > 0:
        note_held(state)
        transport.drained = state.drained and not state.holds
        return length
    length = failure_of(state, length)
    state.holds = False
    if length == WANT_READ:
        state.partial = True
    return length


cdef int write_record(State *state, const void *data, int length) noexcept nogil:
    """Send a record. Returns 0, a WANT (the record is kept, and its bytes count as waiting), or -errno."""
    cdef int result
    begin_call(state)
    result = SSL_write(state.ssl, data, length)
    if result > 0:
        check(result == length, "OpenSSL has sent a part of a record")
        return 0
    result = failure_of(state, result)
    return result if result != 0 else -ECONNRESET


cdef char[RECORD_BYTES] no_bytes  # what a record that is encrypted already is repeated with


cdef int flush(State *state) noexcept nogil:
    """Send the rest of a record that had to wait. Returns 0, a WANT or -errno."""
    cdef int result
    if state.waiting == 0:
        return 0
    result = write_record(state, no_bytes, <int> state.waiting)
    if result == 0:
        if not state.interim:
            state.credit += state.waiting
        state.waiting = 0
        state.interim = False
    return result


cdef size_t gather(iovec *vectors, int count, size_t passed, char *record, const void **data) noexcept nogil:
    """Set `data` to the next bytes to send, past those that were passed. Returns their length, a record at most.

    Bytes of several vectors are copied into `record`; those of one are sent from where they are.
    """
    cdef size_t length = 0
    cdef size_t part
    cdef int position
    for position in range(count):
        part = vectors[position].iov_len
        if passed >= part:
            passed -= part
            continue
        part = min(part - passed, <size_t> RECORD_BYTES - length)
        if length == 0:
            data[0] = <char *> vectors[position].iov_base + passed
            if part == RECORD_BYTES or position == count - 1:
                return part
        memcpy(record + length, <char *> vectors[position].iov_base + passed, part)
        length += part
        passed = 0
        if length == RECORD_BYTES:
            break
    if length > 0:
        data[0] = record
    return length


cdef ssize_t send(Transport *transport, iovec *vectors, int count, bint more) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef char record[RECORD_BYTES]
    cdef const void *data = NULL
    cdef size_t total = 0
    cdef size_t passed
    cdef size_t length
    cdef int position, result, _record
    if state.broken:
        return -ECONNRESET
    for position in range(count):
        total += vectors[position].iov_len
    check(total > 0, "nothing is to be sent")
    state.more = more
    result = flush(state)
    if result != 0:
        return result
    passed = min(<size_t> state.credit, total)
    state.credit -= <uint32_t> passed
    for _record in range(RECORDS_PER_SEND):
        if passed == total:
            break
        length = gather(vectors, count, passed, record, &data)
        state.more = more or passed + length < total
        result = write_record(state, data, <int> length)
        if result == WANT_READ or result == WANT_WRITE:
            state.waiting = <uint32_t> length
        if result != 0:
            return <ssize_t> passed if passed > 0 else result
        passed += length
    return <ssize_t> passed


cdef bint send_whole(Transport *transport, const char *data, size_t length) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef int result
    if state.broken or state.waiting > 0 or state.credit > 0:
        return False
    state.more = False
    result = write_record(state, data, <int> length)
    if result == WANT_READ or result == WANT_WRITE:  # the rest goes before whatever is sent next
        state.waiting = <uint32_t> length
        state.interim = True
    return result == 0 or state.interim


cdef size_t pending(Transport *transport) noexcept nogil:
    return state_of(transport).holds


cdef int finish(Transport *transport) noexcept nogil:
    cdef State *state = state_of(transport)
    cdef int result
    if state.finished or state.broken:
        return 0
    state.more = False
    result = flush(state)
    if result == WANT_READ or result == WANT_WRITE:
        return result
    if result == 0:
        begin_call(state)
        result = SSL_shutdown(state.ssl)
        if result < 0:
            result = failure_of(state, result)
            if result == WANT_WRITE:
                return result
    state.finished = True
    ERR_clear_error()
    return 0


cdef int64_t unacknowledged(Transport *transport) noexcept nogil:
    return state_of(transport).waiting


cdef bint may_move(Transport *transport) noexcept nogil:
    return False  # its keys are in this process


kind.computes = True
kind.client_begins = True
kind.open = open
kind.handshake = handshake
kind.receive = receive
kind.send = send
kind.send_file = NULL
kind.send_whole = send_whole
kind.pending = pending
kind.finish = finish
kind.unacknowledged = unacknowledged
kind.may_move = may_move
kind.close = close


# --- session tickets ---

# The keys that encrypt the tickets of an hour. Each hour's secret is the hash of the one before, which is forgotten
# once its tickets are too old. So all processes forked from one have the same keys without telling each other, and
# none can open what was recorded more than KEYS_KEPT hours ago.
ctypedef struct TicketKey:
    uint8_t name[KEY_BYTES]       # KEY_NAME_BYTES of it count
    uint8_t cipher[KEY_BYTES]
    uint8_t mac[KEY_BYTES]
    bint made

cdef pthread_mutex_t tickets_lock  # guards what follows
cdef uint8_t[KEY_BYTES] secret
cdef int64_t key_since = 0        # ns; when the newest key began; 0: there is none
cdef TicketKey[KEYS_KEPT] keys    # the newest first

pthread_mutex_init(&tickets_lock, NULL)


cdef void derive(uint8_t label, uint8_t *to) noexcept nogil:
    """Write the hash of the secret with a label."""
    cdef uint8_t data[KEY_BYTES + 1]
    data[0] = label
    memcpy(data + 1, secret, KEY_BYTES)
    EVP_Digest(data, sizeof(data), to, NULL, EVP_sha256(), NULL)


cdef void make_key() noexcept nogil:
    """Make the newest key from the secret. The oldest one is forgotten."""
    cdef int position
    for position in range(KEYS_KEPT - 1, 0, -1):
        keys[position] = keys[position - 1]
    derive(c"n", keys[0].name)
    derive(c"c", keys[0].cipher)
    derive(c"m", keys[0].mac)
    keys[0].made = True


cdef int begin_tickets() except -1:
    """Draw the first secret of this process and of those that it forks, unless there is one."""
    global key_since
    if key_since == 0:
        if RAND_bytes(secret, KEY_BYTES) != 1:
            raise OSError("no random numbers")
        key_since = monotonic_ns()
        make_key()
    return 0


cdef void rotate_tickets(int64_t now) noexcept nogil:
    """Go on to the key of this hour. The lock must be held."""
    global key_since
    cdef uint8_t following[KEY_BYTES]
    while now - key_since >= KEY_LIFE_NS:
        derive(c"s", following)
        memcpy(secret, following, KEY_BYTES)
        key_since += KEY_LIFE_NS
        make_key()


cdef bint set_mac(EVP_MAC_CTX *mac, const TicketKey *key) noexcept nogil:
    cdef OSSL_PARAM params[3]
    params[0] = OSSL_PARAM_construct_octet_string("key", <void *> key.mac, KEY_BYTES)
    params[1] = OSSL_PARAM_construct_utf8_string("digest", <char *> "SHA256", 0)
    params[2] = OSSL_PARAM_construct_end()
    return EVP_MAC_CTX_set_params(mac, params) == 1


cdef int on_ticket(
    SSL *_ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypts
) noexcept nogil:
    """Choose the key of a ticket. Returns 1; 2: the ticket is good, and a newer one is due; 0: not ours; -1: failed."""
    cdef TicketKey key
    cdef int position = 0
    pthread_mutex_lock(&tickets_lock)
    rotate_tickets(monotonic_ns())
    if not encrypts:
        while position < KEYS_KEPT and (
            not keys[position].made or memcmp(keys[position].name, name, KEY_NAME_BYTES) != 0
        ):
            position += 1
    if position < KEYS_KEPT:
        key = keys[position]
    pthread_mutex_unlock(&tickets_lock)
    if position == KEYS_KEPT:
        return 0
    if encrypts:
        memcpy(name, key.name, KEY_NAME_BYTES)
        if RAND_bytes(iv, 16) != 1 or EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) != 1:
            return -1
    elif EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) != 1:
        return -1
    if not set_mac(mac, &key):
        return -1
    return 1 if encrypts or position == 0 else 2


def pass_hours(int count):
    """Let session tickets be that much older, for tests."""
    pthread_mutex_lock(&tickets_lock)
    rotate_tickets(key_since + count * KEY_LIFE_NS)
    pthread_mutex_unlock(&tickets_lock)


# --- contexts ---

cdef int on_protocols(
    SSL *_ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *offered,
    unsigned int length, void *_argument
) noexcept nogil:
    """Choose http/1.1 if the client offers it (RFC 7301); one that offers only others gets an alert."""
    cdef unsigned int position = 0
    while position < length:
        if (
            offered[position] == PROTOCOLS[0] and position + 1 + PROTOCOLS[0] <= length
            and memcmp(offered + position, PROTOCOLS, PROTOCOLS[0] + 1) == 0
        ):
            out[0] = offered + position + 1
            out_length[0] = PROTOCOLS[0]
            return HS_TLSEXT_OK
        position += offered[position] + 1
    return HS_TLSEXT_ALERT_FATAL


cdef int on_name(SSL *ssl, int *_alert, void *argument) noexcept nogil:
    """Choose the certificate of the server that the client names. One with an unknown name gets the first."""
    cdef const Shared *shared = <const Shared *> argument
    cdef const char *name = SSL_get_servername(ssl, SNI_HOST)
    cdef int position
    if name == NULL:
        return HS_TLSEXT_NOACK
    for position in range(shared.count):
        if X509_check_host(SSL_CTX_get0_certificate(shared.contexts[position]), name, 0, 0, NULL) == 1:
            if position > 0:
                SSL_set_SSL_CTX(ssl, shared.contexts[position])
            return HS_TLSEXT_OK
    return HS_TLSEXT_OK


cdef int on_password(char *buffer, int size, int _writing, void *data) noexcept nogil:
    """Give OpenSSL the password of a key. data: the password, terminated; it is never asked for at a terminal."""
    cdef const char *password = <const char *> data
    cdef int length = 0
    if password == NULL:
        return -1
    while length < size and password[length] != 0:
        buffer[length] = password[length]
        length += 1
    return length


class TlsError(Exception):
    """OpenSSL has refused something. part: what, as a word; position: of the certificate; reason: as OpenSSL says."""

    def __init__(self, part, position=0, reason=""):
        super().__init__(part, position, reason)
        self.part, self.position, self.reason = part, position, reason


def take_reason():
    """Return why OpenSSL has failed, in its own words, and forget it."""
    cdef const char *text
    cdef unsigned long code = ERR_get_error()
    text = ERR_reason_error_string(code) if code != 0 else NULL
    ERR_clear_error()
    return (<bytes> text).decode("ascii", "replace") if text != NULL else "no reason given"


def load_library():
    """Load OpenSSL. Returns "", or what is missing. The first call must be made by one thread alone."""
    cdef const char *missing = openssl_load(SSL_LIBRARY, CRYPTO_LIBRARY)
    global method
    if missing != NULL:
        return (<bytes> missing).decode("utf-8", "replace")
    if method == NULL:
        method = BIO_meth_new(HS_BIO_TYPE_SOURCE_SINK, b"halfsync")
        if method == NULL:
            raise MemoryError
        BIO_meth_set_read(method, bio_read)
        BIO_meth_set_write(method, bio_write)
        BIO_meth_set_ctrl(method, bio_ctrl)
    return ""


cdef double seconds_between(const ASN1_TIME *start, const ASN1_TIME *end):
    """Return the seconds from one time to another. NULL: now."""
    cdef int days = 0, seconds = 0
    if ASN1_TIME_diff(&days, &seconds, start, end) != 1:
        ERR_clear_error()
        return 0.0
    return days * 86400.0 + seconds


cdef class Tls(Profile):
    """TLS with one or more certificates, for the connections of a listener. Immutable: any thread may use it."""
    cdef Shared *shared
    cdef readonly tuple lifetimes

    def __init__(
        self, pairs, *, bytes password, str min_version, bytes ciphers, bytes ciphersuites, bytes curves, bint raw,
        bint server_header
    ):
        """pairs: paths of a certificate and its key, as bytes. password: of the keys; None: they have none.

        raw: no HTTP is spoken. `lifetimes`: the seconds for which each certificate has been valid, and those for which
        it still is. Raises TlsError, MemoryError. The library must be loaded.
        """
        cdef SSL_CTX *context
        self.shared = <Shared *> calloc(1, sizeof(Shared))
        if self.shared == NULL:
            raise MemoryError
        self.shared.contexts = <SSL_CTX **> calloc(len(pairs), sizeof(SSL_CTX *))
        if self.shared.contexts == NULL:
            raise MemoryError
        self.shared.raw = raw
        server_fields_init(&self.shared.fields, server_header, 0)
        begin_tickets()
        lifetimes = []
        for position, (certificate, key) in enumerate(pairs):
            ERR_clear_error()
            context = SSL_CTX_new(TLS_server_method())
            if context == NULL:
                raise MemoryError
            self.shared.contexts[position] = context
            self.shared.count += 1
            self.set_up(context, min_version, ciphers, ciphersuites, curves)
            lifetimes.append(self.certify(context, position, certificate, key, password))
        self.lifetimes = tuple(lifetimes)
        if len(pairs) > 1:
            SSL_CTX_callback_ctrl(
                self.shared.contexts[0], HS_CALLBACK_SERVERNAME, <void (*)() noexcept nogil> <NameCallback> on_name)
            SSL_CTX_ctrl(self.shared.contexts[0], HS_CTRL_SET_TLSEXT_SERVERNAME_ARG, 0, self.shared)
        self.native.kind = &kind
        self.native.settings = self.shared

    def __dealloc__(self):
        cdef int position
        if self.shared != NULL:
            for position in range(self.shared.count):
                SSL_CTX_free(self.shared.contexts[position])
            free(self.shared.contexts)
            free(self.shared)

    cdef int set_up(
        self, SSL_CTX *context, str min_version, bytes ciphers, bytes ciphersuites, bytes curves
    ) except -1:
        """Set what does not depend on the certificate."""
        SSL_CTX_set_options(
            context, HS_OP_NO_COMPRESSION | HS_OP_NO_RENEGOTIATION | HS_OP_IGNORE_UNEXPECTED_EOF
            | HS_OP_CIPHER_SERVER_PREFERENCE | HS_OP_PRIORITIZE_CHACHA)
        SSL_CTX_ctrl(
            context, HS_CTRL_MODE, HS_MODE_PARTIAL_WRITE | HS_MODE_MOVING_BUFFER | HS_MODE_RELEASE_BUFFERS, NULL)
        SSL_CTX_ctrl(context, HS_CTRL_READ_AHEAD, 1, NULL)
        SSL_CTX_ctrl(context, HS_CTRL_SESS_CACHE_MODE, 0, NULL)  # tickets only: no process keeps sessions
        SSL_CTX_set_session_id_context(context, b"halfsync", 8)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket)
        if not self.shared.raw:
            SSL_CTX_set_alpn_select_cb(context, on_protocols, NULL)
        SSL_CTX_ctrl(context, HS_CTRL_SET_MIN_PROTO_VERSION, TLS1_3 if min_version == "1.3" else TLS1_2, NULL)
        if SSL_CTX_set_cipher_list(context, ciphers) != 1:
            raise TlsError("ciphers", 0, take_reason())
        if ciphersuites is not None and SSL_CTX_set_ciphersuites(context, ciphersuites) != 1:
            raise TlsError("ciphersuites", 0, take_reason())
        if SSL_CTX_ctrl(context, HS_CTRL_SET_GROUPS_LIST, 0, <char *> curves) != 1:
            raise TlsError("curves", 0, take_reason())
        return 0

    cdef tuple certify(self, SSL_CTX *context, int position, bytes certificate, bytes key, bytes password):
        """Set a certificate with its chain and its key, and check that they belong together. Returns its lifetimes."""
        cdef X509 *leaf
        SSL_CTX_set_default_passwd_cb(context, on_password)
        SSL_CTX_set_default_passwd_cb_userdata(context, <char *> password if password is not None else NULL)
        if SSL_CTX_use_certificate_chain_file(context, certificate) != 1:
            raise TlsError("certificate", position, take_reason())
        self.check_chain(context, position)
        if SSL_CTX_use_PrivateKey_file(context, key, HS_FILETYPE_PEM) != 1:
            reason = take_reason()
            raise TlsError("match" if "mismatch" in reason else "key", position, reason)
        if SSL_CTX_check_private_key(context) != 1:
            raise TlsError("match", position, take_reason())
        SSL_CTX_set_default_passwd_cb_userdata(context, NULL)
        leaf = SSL_CTX_get0_certificate(context)
        return (
            seconds_between(X509_get0_notBefore(leaf), NULL), seconds_between(NULL, X509_get0_notAfter(leaf)))

    cdef int check_chain(self, SSL_CTX *context, int position) except -1:
        """Check that each certificate of a chain was issued by the one after it."""
        cdef void *chain = NULL
        cdef X509 *subject = SSL_CTX_get0_certificate(context)
        cdef X509 *issuer
        cdef int number
        SSL_CTX_ctrl(context, HS_CTRL_GET_CHAIN_CERTS, 0, &chain)
        for number in range(OPENSSL_sk_num(chain) if chain != NULL else 0):
            issuer = <X509 *> OPENSSL_sk_value(chain, number)
            if X509_check_issued(issuer, subject) != 0:
                raise TlsError("chain", position, str(number + 2))
            subject = issuer
        return 0
