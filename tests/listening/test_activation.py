"""Sockets that systemd passes: what is read, what the environment keeps, and a server that listens on them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from halfsync.errors import BindError
from halfsync.listening import activation
from halfsync.listening.activation import Activation, Passed, read, take
from halfsync.listening.opening import open_listeners
from tests.client import fetch
from tests.faults.serving import EXIT_TIMEOUT_S, environment
from tests.sharing import foreign_environment, own_environment
from tests.wsgi import until

ACTIVATE = shutil.which("systemd-socket-activate")
OURS = {"LISTEN_FDS": "2", "LISTEN_PID": "42", "LISTEN_FDNAMES": "web:admin"}

APP = """
import os, subprocess, sys
SEEN = {name for name in os.environ if name.startswith("LISTEN_")}
def app(environ, start_response):
    tell = "import os; print([n for n in os.environ if n[:7] == 'LISTEN_'], os.listdir('/proc/self/fd'))"
    child = subprocess.run(
        [sys.executable, "-c", tell], capture_output=True, text=True, close_fds=False, check=True
    ).stdout
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SERVER_PORT']} {sorted(SEEN)} {child}".encode()]
"""

# Passes the sockets that it inherits as systemd does, sets LISTEN_PID, and becomes the server.
BECOME = """
import os, sys
names, *numbers = sys.argv[1].split(",")
high = [os.dup(int(number)) for number in numbers]
while min(high) < 3 + len(numbers):
    high = [os.dup(number) for number in high]
for place, number in enumerate(high):
    os.dup2(number, 3 + place, inheritable=True)
owner = os.environ.get("FOR", str(os.getpid()))
os.environ.update(LISTEN_FDS=str(len(numbers)), LISTEN_PID=owner, LISTEN_FDNAMES=names)
os.execv(sys.executable, [sys.executable, "-m", "halfsync", "serve", "served:app", *sys.argv[2:]])
"""


@pytest.fixture(autouse=True)
def nothing_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "_taken", None)
    for variable in activation.VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def pass_on(monkeypatch: pytest.MonkeyPatch, names: str = "", *, count: int = 1) -> None:
    monkeypatch.setenv("LISTEN_FDS", str(count))
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDNAMES", names)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (OURS, [(3, "web"), (4, "admin")]),
        (OURS | {"LISTEN_FDNAMES": "web"}, [(3, "web"), (4, "unknown")]),
        (OURS | {"LISTEN_FDNAMES": ":b"}, [(3, "unknown"), (4, "b")]),
        (OURS | {"LISTEN_FDNAMES": "a:b:c"}, [(3, "a"), (4, "b")]),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "42"}, [(3, "unknown")]),
    ],
)
def test_what_is_passed(environ: dict[str, str], expected: list[tuple[int, str]]) -> None:
    assert read(environ, 42) == Activation(tuple(Passed(*one) for one in expected), "")


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "LISTEN_FDS is not set"),
        (OURS | {"LISTEN_PID": "43"}, "LISTEN_PID is '43', and this process is 42"),
        ({"LISTEN_FDS": "1"}, "LISTEN_PID is '', and this process is 42"),
        (OURS | {"LISTEN_FDS": "0"}, "LISTEN_FDS is '0', and not a number from 1 to 1024"),
        (OURS | {"LISTEN_FDS": "-1"}, "LISTEN_FDS is '-1', and not"),
        (OURS | {"LISTEN_FDS": "1025"}, "LISTEN_FDS is '1025', and not"),
        (OURS | {"LISTEN_FDS": "9" * 30}, "LISTEN_FDS is '999"),
        (OURS | {"LISTEN_FDS": "٣"}, "LISTEN_FDS is '٣', and not"),
    ],
)
def test_why_nothing_is_passed(environ: dict[str, str], problem: str) -> None:
    found = read(environ, 42)
    assert found.sockets == ()
    assert found.problem.startswith(problem)


def test_what_was_taken_is_remembered_and_the_environment_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert take().problem == "LISTEN_FDS is not set"
    pass_on(monkeypatch, "web")
    first = take()
    assert first.sockets == (Passed(3, "web"),)
    assert not [name for name in os.environ if name.startswith("LISTEN_")]
    assert take() is first


def test_sockets_for_another_process_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_on(monkeypatch)
    monkeypatch.setenv("LISTEN_PID", "1")
    assert take().sockets == ()
    assert os.environ["LISTEN_FDS"] == "1"


@contextmanager
def listening(*names: str) -> Iterator[list[int]]:
    """Give the ports of sockets that seem to have been passed under these names."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        passed = [
            Passed(os.dup(one.fileno()), name) for one, name in zip(made, names, strict=True)
        ]  # as the listeners will own them
        activation._taken = Activation(tuple(passed), "")
        yield [one.getsockname()[1] for one in made]


@pytest.mark.parametrize(
    ("bind", "places"),
    [("systemd", [0, 1, 2]), ("systemd:web", [0, 2]), ("systemd:admin", [1])],
)
def test_a_bind_takes_those_of_its_name(bind: str, places: list[int]) -> None:
    with listening("web", "admin", "web") as ports:
        listeners = open_listeners([bind], 8)
        assert [listener.server_port for listener in listeners] == [str(ports[place]) for place in places]
        for listener in listeners:
            assert not listener.socket.getblocking()
            listener.close()
    for place, passed in enumerate(take().sockets):
        if place not in places:
            os.close(passed.descriptor)


def test_a_name_that_was_not_passed() -> None:
    with listening("web", "admin", "web"):
        with pytest.raises(BindError) as caught:
            open_listeners(["systemd:api"], 8)
        assert str(caught.value) == (
            "bind systemd:api: systemd has passed no socket of this name, only web, admin; "
            "set FileDescriptorName= in the socket unit"
        )
    for passed in take().sockets:
        os.close(passed.descriptor)


def test_nothing_was_passed() -> None:
    with pytest.raises(
        BindError, match="systemd has passed no socket: LISTEN_FDS is not set; start the server by"
    ):
        open_listeners(["systemd"], 8)


@pytest.mark.parametrize(
    "binds", [("systemd", "systemd:web"), ("systemd", "fd://{}"), ("fd://{}", "systemd")]
)
def test_no_descriptor_is_bound_twice(binds: tuple[str, str]) -> None:
    with listening("web"):
        number = take().sockets[0].descriptor
        with pytest.raises(BindError, match=f"descriptor {number} is bound already; name each socket once"):
            open_listeners([bind.format(number) for bind in binds], 8)


def test_what_is_passed_must_be_a_listening_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as idle:
        activation._taken = Activation((Passed(idle.fileno(), "x"),), "")
        with pytest.raises(BindError, match="is a socket that does not listen; pass a listening socket"):
            open_listeners(["systemd"], 8)


@contextmanager
def started(
    folder: Path, names: str, sockets: list[socket.socket], *options: str, **extra: str
) -> Iterator[subprocess.Popen[str]]:
    """Start a server as systemd would: with these sockets, and the variables that announce them."""
    (folder / "served.py").write_text(APP)
    numbers = [str(one.fileno()) for one in sockets]
    process = subprocess.Popen(
        [sys.executable, "-c", BECOME, ",".join([names, *numbers]), *options],
        cwd=folder,
        env=environment() | extra,
        pass_fds=[one.fileno() for one in sockets],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=EXIT_TIMEOUT_S)


def wait_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def ports(line: str) -> list[int]:
    return [int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", line)]


@pytest.fixture
def pair() -> Iterator[list[socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        yield [one, two]


def test_a_server_uses_the_sockets_that_it_was_given(tmp_path: Path, pair: list[socket.socket]) -> None:
    expected = [one.getsockname()[1] for one in pair]
    with started(tmp_path, "web:admin", pair) as process:
        assert ports(wait_line(process)) == expected
        for one in pair:
            one.close()  # what answers now is the server's own copy
        for port in expected:
            text = fetch(("127.0.0.1", port)).body.decode()
            # Neither the application, nor the programs that it starts, see the variables or the sockets.
            assert text.startswith(f"{port} [] [] "), text
            assert not {"'3'", "'4'"} <= set(re.findall(r"'\d+'", text)), text
        process.send_signal(signal.SIGTERM)
        assert process.wait(EXIT_TIMEOUT_S) == 0


def test_a_server_takes_one_by_its_name(tmp_path: Path, pair: list[socket.socket]) -> None:
    with started(tmp_path, "web:admin", pair, "--bind", "systemd:admin") as process:
        assert ports(wait_line(process)) == [pair[1].getsockname()[1]]


def test_a_server_without_passed_sockets_says_why(tmp_path: Path, pair: list[socket.socket]) -> None:
    with started(tmp_path, "web", pair[:1], "--bind", "systemd", FOR="1") as process:
        wanted = (
            "halfsync: bind systemd: systemd has passed no socket: LISTEN_PID is '1', and this process is "
        )
        assert wanted in wait_line(process)
        assert process.wait(EXIT_TIMEOUT_S) == 4


@pytest.mark.skipif(ACTIVATE is None, reason="systemd-socket-activate is not on this machine")
def test_as_systemd_does_it(tmp_path: Path) -> None:
    assert ACTIVATE
    (tmp_path / "served.py").write_text(APP)
    path = tmp_path / "x.sock"
    variables = {"PYTHONPATH": environment()["PYTHONPATH"], **own_environment()}
    with subprocess.Popen(
        [
            *(ACTIVATE, f"--listen={path}", "--fdname=web"),
            *(f"--setenv={name}={value}" for name, value in variables.items()),
            *(sys.executable, "-m", "halfsync", "serve", "served:app", "--chdir", str(tmp_path)),
        ],
        cwd=tmp_path,
        env=foreign_environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            until(path.exists)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(EXIT_TIMEOUT_S)
                client.connect(str(path))  # which is what it waits for before it starts the server
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: client.recv(4096), b""))
        finally:
            process.terminate()
    assert b"\r\n\r\n80 [] [] " in answer
