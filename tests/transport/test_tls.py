"""TLS as a transport: what OpenSSL does through the seam, one connection at a time."""

import fcntl
import os
import select
import socket
import ssl
import struct
import termios
from collections.abc import Callable, Iterator

import pytest

from halfsync.settings import Settings
from halfsync.testing.transports import BYTES, READ, WRITE, Transport
from halfsync.transport.certificates import load_tls
from halfsync.transport.tls import Tls, pass_hours
from tests import tls
from tests.wsgi import until

TIMEOUT_S = 10
READ_BYTES = 65_536
ALERT = 21  # of a record's first byte
Pair = tuple[Transport, ssl.SSLSocket]
Connect = Callable[..., Pair]


def make_tls(**settings: object) -> Tls:
    made = load_tls(Settings.from_options(**(tls.settings() | settings)))
    assert made is not None
    return made


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection: the server's, which does not block, and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    far.setblocking(False)
    near.settimeout(TIMEOUT_S)
    return far, near


def wait(fd: int, want: int) -> None:
    reads, writes = ([fd], []) if want == READ else ([], [fd])
    ready = select.select(reads, writes, [], TIMEOUT_S)
    assert ready != ([], [], []), "nothing happened"


def unacknowledged(client: ssl.SSLSocket) -> int:
    """Return how many bytes of a client the server's system has not got."""
    return int(struct.unpack("i", fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, bytes(4)))[0])


def shake_hands(transport: Transport, fd: int, peer: ssl.SSLSocket) -> int:
    """Do both sides of a handshake in turn. Returns the server's last result."""
    peer.settimeout(0)
    done = False
    while True:
        if not done:
            try:
                peer.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                done = True
        if (result := transport.handshake()) not in (READ, WRITE):
            peer.settimeout(TIMEOUT_S)
            if not done:
                peer.do_handshake()
            return result


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that connects a transport with a client, and shakes hands."""
    made: list[Pair] = []

    def start(profile: Tls | None = None, context: ssl.SSLContext | None = None, **options: object) -> Pair:
        far, near = connected()
        client = (context or tls.authority().client()).wrap_socket(
            near, server_hostname="localhost", do_handshake_on_connect=False, suppress_ragged_eofs=False,
            **options,  # type: ignore[arg-type]
        )  # fmt: skip
        fd = far.detach()
        transport = Transport(fd, profile or make_tls())
        made.append((transport, client))
        assert shake_hands(transport, fd, client) == 0
        return transport, client

    yield start
    for transport, client in made:
        transport.close()
        client.close()


def receive(transport: Transport, room: int = READ_BYTES) -> bytes:
    """Receive what comes next."""
    while True:
        data = transport.receive(room)
        if isinstance(data, bytes):
            return data
        assert data in (READ, WRITE)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_go_both_ways(connect: Connect, version: ssl.TLSVersion) -> None:
    context = tls.authority().client()
    context.minimum_version = context.maximum_version = version
    transport, client = connect(context=context)
    client.sendall(b"ping")
    assert receive(transport) == b"ping"
    assert transport.send(b"pong") == 4
    assert client.recv(100) == b"pong"


def test_a_receive_of_all_that_came_drains_the_connection(connect: Connect) -> None:
    transport, client = connect()
    client.sendall(b"ping")
    assert receive(transport) == b"ping"
    assert transport.drained
    assert transport.pending == 0
    assert transport.receive(10) == READ


def test_what_is_left_of_a_record_is_pending(connect: Connect) -> None:
    transport, client = connect()
    client.sendall(b"12345678")
    assert receive(transport, 3) == b"123"
    assert not transport.drained
    assert transport.pending > 0
    assert transport.peek == BYTES
    assert receive(transport) == b"45678"
    assert transport.pending == 0
    assert transport.receive(1) == READ
    assert transport.drained


def test_records_that_were_read_ahead_are_pending(connect: Connect) -> None:
    transport, client = connect()
    for number in range(20):
        client.sendall(b"%02d" % number)
    until(lambda: unacknowledged(client) == 0)
    received = b""
    while len(received) < 40:
        received += receive(transport, 2)
        assert (transport.pending > 0) is (len(received) < 40)
        assert not transport.drained, "the socket was not looked at since"
    assert received == b"".join(b"%02d" % number for number in range(20))


def test_what_comes_while_read_ahead_bytes_are_left_is_not_overlooked(connect: Connect) -> None:
    """An event for it may have come and gone, so only a look at the socket during the call itself drains."""
    transport, client = connect()
    client.sendall(b"one")
    client.sendall(b"two")
    until(lambda: unacknowledged(client) == 0)
    assert receive(transport, 3) == b"one"
    client.sendall(b"three")
    until(lambda: unacknowledged(client) == 0)
    assert receive(transport, 3) == b"two"
    assert not transport.drained
    assert receive(transport) == b"three"


def test_a_part_of_a_record_is_not_pending_for_long(connect: Connect) -> None:
    transport, client = connect()
    # A record's header and half of what follows, below the client's TLS.
    raw = socket.socket(fileno=os.dup(client.fileno()))
    raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(16))
    assert transport.receive(10) == READ
    assert transport.pending == 0
    raw.sendall(bytes(16))
    result = READ
    while result == READ:
        got = transport.receive(10)
        assert not isinstance(got, bytes)
        result = got
    assert result < 0 and result != WRITE, "a forged record is refused"
    assert isinstance(transport.send(b"x"), int) and transport.send(b"x") < 0
    raw.close()


def test_a_send_that_had_to_wait_may_be_repeated_in_smaller_parts(connect: Connect) -> None:
    """An outbox has blocks, which may be smaller than the record that OpenSSL holds."""
    transport, client = connect()
    client.settimeout(0)
    data = os.urandom(8 << 20)
    sent = 0
    while (taken := transport.send(data[sent : sent + 100_000])) > 0:
        sent += taken
    assert taken == WRITE
    assert transport.unacknowledged > 0
    received = bytearray()
    while len(received) < len(data):
        try:
            received += client.recv(READ_BYTES)
        except ssl.SSLWantReadError:
            assert sent < len(data) or len(received) < len(data)
        if sent < len(data):
            taken = transport.send(data[sent : sent + 1_000])
            assert taken > 0 or taken in (READ, WRITE)
            sent += max(taken, 0)
    assert received == data


def test_an_end_in_good_order_says_so(connect: Connect) -> None:
    transport, client = connect()
    assert transport.send(b"all") == 3
    assert transport.finish() == 0
    assert transport.finish() == 0, "it may be asked again"
    assert client.recv(100) == b"all"
    assert client.recv(100) == b""


def test_a_cut_does_not_say_that_all_was_sent(connect: Connect) -> None:
    transport, client = connect()
    assert transport.send(b"part") == 4
    transport.cut(False)
    assert client.recv(100) == b"part"
    with pytest.raises(ConnectionResetError, match="no close_notify"):
        client.recv(100)


def test_the_peers_end_is_an_end_with_close_notify_or_without(connect: Connect) -> None:
    for orderly in (True, False):
        transport, client = connect()
        if orderly:
            client.settimeout(0)
            with pytest.raises(ssl.SSLError):
                client.unwrap()  # it would wait for the answer
        else:
            socket.socket.shutdown(client, socket.SHUT_WR)
        assert receive(transport) == b""


def test_an_interim_response_does_not_count_for_what_follows(connect: Connect) -> None:
    transport, client = connect()
    transport.send_whole(b"interim ")
    assert transport.send(b"final") == 5
    assert transport.finish() == 0
    assert b"".join(iter(lambda: client.recv(100), b"")) == b"interim final"


def test_a_request_without_tls_gets_an_answer_that_says_so() -> None:
    far, near = connected()
    fd = far.detach()
    transport = Transport(fd, make_tls())
    near.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    wait(fd, READ)
    assert transport.handshake() < 0
    transport.close()
    answer = b"".join(iter(lambda: near.recv(READ_BYTES), b""))
    near.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"HTTPS" in answer


@pytest.mark.parametrize("start", [b"\x16\x03\x01\xff\xff" + bytes(100), b"\x00" * 50, b"\x80\x2e\x01"])
def test_garbage_ends_the_handshake(start: bytes) -> None:
    far, near = connected()
    fd = far.detach()
    transport = Transport(fd, make_tls())
    near.sendall(start)
    near.shutdown(socket.SHUT_WR)
    wait(fd, READ)
    result = transport.handshake()
    assert result < 0 and result not in (READ, WRITE)
    assert isinstance(transport.receive(10), int)
    transport.close()
    answer = b"".join(iter(lambda: near.recv(READ_BYTES), b""))
    near.close()
    assert answer == b"" or answer[0] == ALERT


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), ([], None)], ids=["http/1.1", "none"]
)
def test_http_1_1_is_chosen(connect: Connect, offered: list[str], chosen: str | None) -> None:
    context = tls.authority().client()
    if offered:
        context.set_alpn_protocols(offered)
    _, client = connect(context=context)
    assert client.selected_alpn_protocol() == chosen


def test_a_client_that_speaks_no_http_1_1_is_told() -> None:
    far, near = connected()
    context = tls.authority().client()
    context.set_alpn_protocols(["h2"])
    client = context.wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
    fd = far.detach()
    transport = Transport(fd, make_tls())
    client.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    wait(fd, READ)
    assert transport.handshake() < 0
    client.settimeout(TIMEOUT_S)
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        client.do_handshake()
    transport.close()
    client.close()


def test_a_client_below_the_least_version_is_refused() -> None:
    far, near = connected()
    context = tls.authority().client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client = context.wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
    fd = far.detach()
    transport = Transport(fd, make_tls(tls_min_version="1.3"))
    with pytest.raises(ssl.SSLError, match="protocol version"):
        shake_hands(transport, fd, client)
    assert transport.handshake() not in (0, READ, WRITE)
    transport.close()
    client.close()


def test_the_client_chooses_the_certificate_by_name(connect: Connect) -> None:
    pairs = [tls.authority().issue("localhost"), tls.authority().issue("*.shop.example")]
    made = make_tls(certfile=[str(one.certificate) for one in pairs], keyfile=[str(one.key) for one in pairs])
    for name, expected in (("localhost", "localhost"), ("www.shop.example", "*.shop.example")):
        far, near = connected()
        client = tls.authority().client().wrap_socket(
            near, server_hostname=name, do_handshake_on_connect=False)  # fmt: skip
        fd = far.detach()
        transport = Transport(fd, made)
        assert shake_hands(transport, fd, client) == 0
        shown = client.getpeercert()
        assert shown is not None and ("DNS", expected) in shown["subjectAltName"]
        transport.close()
        client.close()


def session_of(connect: Connect, context: ssl.SSLContext, made: Tls) -> ssl.SSLSession:
    transport, client = connect(made, context)
    assert transport.send(b"x") == 1
    assert client.recv(1) == b"x"  # a ticket of TLS 1.3 comes before it
    assert client.session is not None
    return client.session


def test_a_ticket_is_good_for_any_server_of_the_process_for_three_hours(connect: Connect) -> None:
    context = tls.authority().client()
    session = session_of(connect, context, make_tls())
    for hours, reused in ((0, True), (2, True), (1, False)):
        pass_hours(hours)
        _, client = connect(make_tls(), context, session=session)
        assert client.session_reused is reused, f"{hours} hours later"


def test_it_cannot_move(connect: Connect) -> None:
    transport, _ = connect()
    assert not transport.may_move
