"""Many clients, and the application's own descriptors: select(2) can only name those below 1024."""

import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving, children
from tests.wsgi import pattern, until

SELECTABLE = 1024  # FD_SETSIZE
CROWD = 1100

APP = """
import os, select
def app(environ, start_response):
    environ["wsgi.input"].read()
    reader, writer = os.pipe()
    os.write(writer, b"x")
    ready, _, _ = select.select([reader], [writer], [], 0)
    assert ready == [reader]
    for fd in (reader, writer):
        os.close(fd)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % max(reader, writer)]
"""


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    """Let this process have a connection to each place of the server's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4 * CROWD:
        pytest.skip("the limit on open files is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * CROWD, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def come(stack: ExitStack, serving: Serving, first: bytes = b"") -> socket.socket:
    client = stack.enter_context(socket.create_connection(serving.address, timeout=15))
    client.sendall(first)
    return client


def highest(serving: Serving) -> int:
    """Have the application open descriptors and select them. Returns the highest number that it got."""
    response = fetch(serving.address)
    assert response.status == 200, response
    return int(response.body)


def numbers(pid: int) -> list[int]:
    return sorted(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.parametrize("name", ["proactor", "proactor-poll", "thread", "pool"])
def test_idle_connections_do_not_take_low_numbers(tmp_path: Path, name: str) -> None:
    with Serving(tmp_path, APP, *MODELS[name]) as serving, ExitStack() as stack:
        half = build(method="POST", body=b"half")[:-2] if name != "pool" else b""
        for _ in range(CROWD):
            come(stack, serving, half)
        until(lambda: name == "pool" or len(numbers(serving.process.pid)) > CROWD)
        assert highest(serving) < 400
        stack.close()
        until(lambda: len(numbers(serving.process.pid)) < 100)
        assert highest(serving) < 100
        assert numbers(serving.process.pid)[-1] < SELECTABLE


def test_children_have_low_numbers(tmp_path: Path) -> None:
    with Serving(tmp_path, APP, *MODELS["process"]) as serving, ExitStack() as stack:
        for _ in range(50):
            come(stack, serving)
        assert highest(serving) < 100


@pytest.mark.parametrize("name", ["proactor", "thread"])
def test_temporary_files_do_not_take_low_numbers(tmp_path: Path, name: str) -> None:
    options = (*MODELS[name], "--body-memory", "1k", "--temp-dir", str(tmp_path))
    with Serving(tmp_path, APP, *options) as serving, ExitStack() as stack:
        upload = build(method="POST", body=pattern(20_000))
        clients = [come(stack, serving, upload[:-1]) for _ in range(CROWD // 2)]
        until(lambda: len(numbers(serving.process.pid)) > CROWD)
        assert highest(serving) < 400
        for client in clients[::50]:  # what was moved is whole
            client.sendall(upload[-1:])
            assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("name", ["proactor", "thread"])
def test_static_files_do_not_take_low_numbers(tmp_path: Path, name: str) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "large").write_bytes(pattern(8_000_000))
    with (
        Serving(tmp_path, APP, *MODELS[name], "--static", "/static=files") as serving,
        ExitStack() as stack,
    ):
        for _ in range(CROWD // 2):
            come(stack, serving, build("/static/large"))
        until(lambda: len(numbers(serving.process.pid)) > CROWD)
        assert highest(serving) < 400


@pytest.mark.parametrize("name", ["proactor", "thread"])
def test_adopted_connections_do_not_take_low_numbers(tmp_path: Path, name: str) -> None:
    with Serving(tmp_path, APP, *MODELS[name], "--workers", "1") as serving, ExitStack() as stack:
        before = children(serving.process.pid)
        clients = [come(stack, serving, build()) for _ in range(CROWD)]
        for client in clients:
            assert client.recv(12) == b"HTTP/1.1 200"
        serving.signal(signal.SIGHUP)
        until(lambda: not before & children(serving.process.pid))
        for _ in range(10):
            assert highest(serving) < 400
        clients[-1].recv(1 << 16)
        clients[-1].sendall(build())
        assert clients[-1].recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("name", ["proactor", "thread"])
@pytest.mark.parametrize(
    ("limit", "crowd"),
    [(300, 200), (1000, 900), (1024, 950), (1025, 950), (1100, 950), (1800, 950), (2000, 1150)],
)
def test_some_low_numbers_stay_free_with_any_limit(tmp_path: Path, name: str, limit: int, crowd: int) -> None:
    """A limit that leaves no numbers above lets connections have the low ones, but for the reserve."""
    under = ("bash", "-c", f'ulimit -n {limit}; exec "$@"', "bash")
    with Serving(tmp_path, APP, *MODELS[name], under=under) as serving, ExitStack() as stack:
        for _ in range(crowd + 200):  # the last of these wait in the backlog, or others are closed for them
            come(stack, serving)
        until(lambda: len(numbers(serving.process.pid)) > crowd - 50)
        until(lambda: highest(serving) < SELECTABLE)
        with Connection(serving.address) as connection:
            connection.send(build())
            assert connection.response().status == 200
