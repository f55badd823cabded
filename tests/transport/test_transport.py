"""The transport: plain sockets, and what every kind of transport must do."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.testing import transports
from halfsync.testing.transports import BYTES, ENDED, GONE, HERE, NOTHING, READ, SILENT, WRITE, Transport

SEEDS = range(8)
Pair = tuple[Transport, socket.socket]


def connect() -> Pair:
    """Return a transport on one end of a TCP connection, and the socket at the other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    far.settimeout(10)
    return Transport(near.detach()), far


@pytest.fixture
def pair() -> Iterator[Pair]:
    transport, peer = connect()
    yield transport, peer
    transport.close()
    peer.close()


@pytest.fixture(params=[None, *SEEDS], ids=str)
def any_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Return a pair of each kind, after its handshake."""
    if request.param is not None:
        transports.use(request.param)
    transport, peer = connect()
    transports.use_plain()
    while transport.handshake() < 0:
        pass
    yield transport, peer
    transport.close()
    peer.close()


def arrive(transport: Transport) -> None:
    """Wait until something can be received: the loopback of a kernel may be late."""
    while transport.peek == NOTHING:
        pass


def receive_all(transport: Transport, room: int = 100) -> bytes:
    """Receive until the peer's end."""
    received = b""
    while (piece := transport.receive(room)) != b"":
        if isinstance(piece, bytes):
            received += piece
        else:
            assert piece in (READ, WRITE)
    return received


def send_all(transport: Transport, data: bytes) -> None:
    while data:
        sent = transport.send(data)
        assert sent > 0 or sent in (READ, WRITE)
        data = data[max(sent, 0) :]


def receive_from(peer: socket.socket) -> bytes:
    return b"".join(iter(lambda: peer.recv(65_536), b""))


def test_a_short_receive_drains_a_plain_socket(pair: Pair) -> None:
    transport, peer = pair
    peer.sendall(b"12345678")
    arrive(transport)
    assert (transport.receive(4), transport.drained) == (b"1234", False)
    assert (transport.receive(100), transport.drained) == (b"5678", True)
    assert (transport.receive(100), transport.drained) == (READ, True)


def test_what_is_sent_arrives_whole_and_in_order(any_pair: Pair) -> None:
    transport, peer = any_pair
    data = os.urandom(50_000)
    send_all(transport, data)
    while transport.finish() != 0:
        pass
    assert receive_from(peer) == data


def test_what_comes_is_received_whole_and_in_order(any_pair: Pair) -> None:
    transport, peer = any_pair
    data = os.urandom(50_000)
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
    assert receive_all(transport) == data


def test_a_part_of_a_file_is_sent(any_pair: Pair, tmp_path: Path) -> None:
    transport, peer = any_pair
    (tmp_path / "file").write_bytes(data := os.urandom(100_000))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    offset, end = 1_000, 60_000
    while offset < end:
        sent = transport.send_file(fd, offset, end - offset)
        assert sent > 0 or sent in (READ, WRITE)
        offset += max(sent, 0)
    while (result := transport.send_file(fd, len(data), 1)) in (READ, WRITE):
        pass
    assert result == 0, "the file is shorter than that"
    os.close(fd)
    transport.cut(False)
    assert receive_from(peer) == data[1_000:60_000]


def test_a_full_socket_wants_to_write(pair: Pair) -> None:
    transport, _ = pair
    while (sent := transport.send(bytes(1_000_000))) > 0:
        pass
    assert sent == WRITE
    assert transport.unacknowledged > 0


def test_a_peek_shows_bytes_and_the_end(any_pair: Pair) -> None:
    transport, peer = any_pair
    assert transport.peek == NOTHING
    peer.sendall(b"12")
    arrive(transport)
    assert transport.peek == BYTES
    while (got := transport.receive(1)) != b"1":
        assert got in (READ, WRITE)
    assert transport.peek == BYTES, "one that the transport holds, or the socket"
    while (got := transport.receive(1)) != b"2":
        assert got in (READ, WRITE)
    peer.close()
    arrive(transport)
    assert transport.peek == ENDED


def test_the_presence_of_the_peer(pair: Pair) -> None:
    transport, peer = pair
    assert transport.presence == HERE
    peer.shutdown(socket.SHUT_WR)
    arrive(transport)
    assert transport.presence == SILENT
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    while transport.presence != GONE:
        pass


def test_an_aborted_transport_resets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    transport = Transport(near.detach())
    transport.send(b"a part")
    transport.abort()
    transport.close()
    with far, pytest.raises(ConnectionResetError):
        receive_from(far)


def test_a_cut_ends_both_directions(pair: Pair) -> None:
    transport, peer = pair
    transport.cut(True)
    assert peer.recv(1) == b""
    assert transport.receive(1) == b""


def test_an_interim_response_is_sent_whole_or_not_at_all(pair: Pair) -> None:
    transport, peer = pair
    sent = 0
    while (piece := transport.send(bytes(1_000_000))) > 0:
        sent += piece
    transport.send_whole(interim := b"all of it, or none")
    transport.cut(False)
    rest = receive_from(peer)[sent:]
    assert rest in (b"", interim)


def test_one_that_holds_bytes_may_not_move() -> None:
    transports.use(3)
    transport, peer = connect()
    transports.use_plain()
    while transport.handshake() < 0:
        pass
    peer.sendall(bytes(1000))
    arrive(transport)
    while transport.pending == 0:
        transport.receive(1)
    assert not transport.may_move
    while transport.pending:
        transport.receive(1000)
    assert transport.may_move
    transport.close()
    peer.close()
