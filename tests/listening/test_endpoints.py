"""What an application sees of a listening socket, and how a connection keeps that in another process."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from halfsync.listening.endpoints import Endpoints, name_server
from tests.client import Connection, build
from tests.conftest import Serve
from tests.seated import make_server
from tests.wsgi import TEXT, until

SERVERS, EACH = 6, 50  # with so many listeners: more endpoints than there is room for at first


def listening(address: Any, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """Return a listening socket."""
    made = socket.socket(family)
    made.bind(address)
    made.listen()
    made.setblocking(False)
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "0.0.0.0"])
def test_an_ipv4_listener_is_named_by_its_address(host: str) -> None:
    with listening((host, 0)) as sock:
        assert name_server(sock.fileno()) == (host, str(sock.getsockname()[1]))


@pytest.mark.parametrize("host", ["::1", "::", "::ffff:127.0.0.1"])
def test_an_ipv6_listener_is_named_by_its_address_in_brackets(host: str) -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        sock = listening((host, 0), socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with sock:
        assert name_server(sock.fileno()) == (f"[{host}]", str(sock.getsockname()[1]))


@pytest.mark.parametrize("name", ["socket", "\0abstract"])
def test_a_unix_listener_has_neither_host_nor_port(tmp_path: Path, name: str) -> None:
    address = f"{name}{tmp_path}" if name.startswith("\0") else str(tmp_path / name)
    with listening(address, socket.AF_UNIX) as sock:
        assert name_server(sock.fileno()) == ("localhost", "80")


def test_what_is_no_socket_has_no_endpoint() -> None:
    with Path("/dev/null").open() as file:
        with pytest.raises(OSError, match="socket"):
            name_server(file.fileno())
        with pytest.raises(OSError, match="socket"):
            Endpoints([file.fileno()])


def seen(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [*TEXT])
    return [f"{environ['SERVER_NAME']} {environ['SERVER_PORT']}".encode()]


@pytest.fixture
def queue() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ends[0], ends[1]:
        yield ends


def ask(connection: Connection) -> str:
    connection.send(build("/"))
    response = connection.response()
    assert response.status == 200
    return response.body.decode()


@pytest.mark.parametrize("model", [{"model": "proactor"}, {"model": "thread"}], ids=["proactor", "thread"])
def test_a_server_may_adopt_from_any_number_of_listeners_that_it_has_not(
    serve: Serve, queue: tuple[socket.socket, socket.socket], model: dict[str, Any]
) -> None:
    """Each connection names its listener in every request, and is handed off once more with it."""
    handover = (queue[0].fileno(), queue[1].fileno())
    with ExitStack() as stack:
        last = stack.enter_context(serve(seen, handover=handover, **model))
        kept: list[tuple[Connection, str]] = []
        for number in range(SERVERS):
            binds = [f"127.0.{number}.{place + 1}:0" for place in range(EACH)]
            with make_server(seen, bind=binds, handover=handover, threads=1) as first:
                for listener in first.listeners:
                    address = listener.socket.getsockname()
                    kept.append((stack.enter_context(Connection(address)), f"{address[0]} {address[1]}"))
                    assert ask(kept[-1][0]) == kept[-1][1]
                first.hand_off()
                assert first.wait(15)
            until(lambda: last.statistics()["adopted"] == len(kept))
        for one, sees in kept:
            assert ask(one) == sees
        following = stack.enter_context(serve(seen, handover=handover, **model))
        last.hand_off()
        assert last.wait(30)
        for one, sees in kept:
            assert ask(one) == sees
        until(lambda: following.statistics()["adopted"] == len(kept))
