"""The server as an object: its address, how it starts, drains and closes, several at once."""

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import halfsync
from halfsync.errors import BindError, UsageError
from halfsync.models.proactor import Proactor
from halfsync.runtime import originals
from halfsync.settings import Settings
from tests.leaks import held, leaked
from tests.seated import make_server
from tests.wsgi import EVENT_TIMEOUT_S, Environ, hello, wait

HELLO = (200, b"hello, you")
LOCAL: dict[str, Any] = {"bind": "127.0.0.1:0", "threads": 2}

Start = Callable[..., halfsync.Server]


@pytest.fixture
def make() -> Iterator[Start]:
    """Return a function that makes a server, not started; what it held is gone at the end."""
    before = held()
    made: list[halfsync.Server] = []

    def make_one(app: Any = hello, **settings: Any) -> halfsync.Server:
        made.append(halfsync.Server(app, **(LOCAL | settings)))
        return made[-1]

    yield make_one
    for server in made:
        assert server.close(EVENT_TIMEOUT_S)
    made.clear()
    del server
    assert not leaked(before)


def get(address: Any, path: str = "/") -> tuple[int, bytes]:
    """Ask for a path over a connection of its own."""
    if isinstance(address, str):
        connection = http.client.HTTPConnection("localhost", timeout=EVENT_TIMEOUT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(EVENT_TIMEOUT_S)
        connection.sock.connect(address)
    else:
        host, port = address
        connection = http.client.HTTPConnection(host, port, timeout=EVENT_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Host": "h", "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Slow:
    """An application that says when it runs, and answers when it is let."""

    def __init__(self) -> None:
        self.running, self.opened = threading.Event(), threading.Event()

    def __call__(self, environ: Environ, start_response: Any) -> list[bytes]:
        self.running.set()
        wait(self.opened)
        return hello(environ, start_response)


def in_thread(target: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run something in a thread and give its result, or what it raised, in a list."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(target())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_its_address_is_known_before_and_after_the_start(make: Start) -> None:
    server = make()
    host, port = server.address
    assert (host, server.url) == ("127.0.0.1", f"http://127.0.0.1:{port}")
    server.start()
    assert server.address == (host, port)
    assert get(server.address) == HELLO


@pytest.mark.parametrize("model", ["proactor", "thread", "pool", "process"])
def test_without_listeners_it_is_reached_nowhere(model: str) -> None:
    server = make_server(hello, listeners=[], model=model)
    assert (server.address, server.url) == (None, "")
    server.start()
    assert (server.address, server.url, server.ready) == (None, "", True)
    assert server.close(EVENT_TIMEOUT_S)
    assert server.url == ""


def test_ipv6(make: Start) -> None:
    server = make(bind="[::1]:0")
    host, port = server.address
    assert (host, server.url) == ("::1", f"http://[::1]:{port}")
    server.start()
    assert get(server.address) == HELLO


def test_a_unix_socket(make: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = make(bind=f"unix:{path}")
    assert server.address == str(path)
    assert server.url == f"unix:{path}"
    server.start()
    assert get(server.address) == HELLO
    server.close()
    assert not path.exists()


def test_several_listeners(make: Start, tmp_path: Path) -> None:
    server = make(bind=["127.0.0.1:0", f"unix:{tmp_path / 'socket'}"])
    server.start()
    assert [get(listener.socket.getsockname()) for listener in server.listeners] == [HELLO, HELLO]
    assert server.address == server.listeners[0].socket.getsockname()


def test_several_servers_in_one_process_keep_apart(make: Start) -> None:
    def naming(name: bytes) -> Any:
        def app(_environ: Environ, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [name]

        return app

    servers = [make(naming(name)) for name in (b"one", b"two", b"three")]
    for server in servers:
        server.start()
    assert [get(server.address)[1] for server in servers] == [b"one", b"two", b"three"]
    servers[0].close()
    assert [get(server.address)[1] for server in servers[1:]] == [b"two", b"three"]
    assert [server.statistics()["requests"] for server in servers] == [1, 2, 2]


def test_statistics(make: Start) -> None:
    slow = Slow()
    server = make(slow, threads=1)
    assert set(server.statistics().values()) == {0}
    server.start()
    requests = [in_thread(lambda: get(server.address)) for _ in range(2)]
    wait(slow.running)
    pause = threading.Event()
    while server.statistics()["queued"] < 1:
        assert not pause.wait(0.001)
    busy = server.statistics()
    assert (busy["running"], busy["open"], busy["accepted"], busy["requests"]) == (1, 2, 2, 2)
    slow.opened.set()
    for thread, results in requests:
        thread.join(EVENT_TIMEOUT_S)
        assert results == [HELLO]
    while server.statistics()["open"] > 0:
        assert not pause.wait(0.001)
    after = server.statistics()
    assert (after["running"], after["queued"], after["refused"], after["shed"], after["spooled"]) == (0,) * 5
    server.close()
    assert server.statistics()["requests"] == 2  # the counts are available after the end, too


def test_use_in_a_thread_of_its_own() -> None:
    serving, stop = threading.Event(), threading.Event()
    addresses: list[Any] = []

    def run() -> bool:
        with halfsync.Server(hello, **LOCAL) as server:
            addresses.append(server.address)
            serving.set()
            wait(stop)
        return True

    thread, results = in_thread(run)
    wait(serving)
    assert get(addresses[0]) == HELLO
    stop.set()
    thread.join(EVENT_TIMEOUT_S)
    assert results == [True]


def test_the_context_manager_answers_what_was_received(make: Start) -> None:
    slow = Slow()
    with make(slow) as server:
        thread, results = in_thread(lambda: get(server.address))
        wait(slow.running)
        slow.opened.set()
    thread.join(EVENT_TIMEOUT_S)
    assert results == [HELLO]


def test_a_draining_server_answers_what_it_has_and_takes_no_more(make: Start) -> None:
    slow = Slow()
    server = make(slow)
    address = server.address
    server.start()
    thread, results = in_thread(lambda: get(address))
    wait(slow.running)
    server.drain()
    server.drain()
    assert not server.wait(0)
    slow.opened.set()
    assert server.wait(EVENT_TIMEOUT_S)
    thread.join(EVENT_TIMEOUT_S)
    assert results == [HELLO]
    with pytest.raises(ConnectionRefusedError):
        get(address)
    assert server.close(EVENT_TIMEOUT_S)


def test_closing_lets_a_running_request_end_and_returns_false(make: Start) -> None:
    slow = Slow()
    server = make(slow)
    server.start()
    thread, results = in_thread(lambda: get(server.address))
    wait(slow.running)
    assert not server.close(timeout=0.01)
    assert results == []
    slow.opened.set()
    assert server.close(EVENT_TIMEOUT_S)
    thread.join(EVENT_TIMEOUT_S)
    assert results == [HELLO]


@pytest.mark.parametrize("started", [False, True])
def test_closing_twice_does_nothing(make: Start, started: bool) -> None:
    server = make()
    if started:
        server.start()
    assert server.close(EVENT_TIMEOUT_S)
    assert server.close(EVENT_TIMEOUT_S)
    assert server.wait(0)


def test_a_server_that_was_not_started_may_be_drained(make: Start) -> None:
    server = make()
    server.drain()
    assert server.wait(0)


def test_an_application_may_close_its_server_and_answers_at_once(make: Start) -> None:
    said: list[bool] = []

    def closing(environ: Environ, start_response: Any) -> list[bytes]:
        said.append(
            server.close(timeout=EVENT_TIMEOUT_S * 2)
        )  # were this waited for, the client would not wait
        return hello(environ, start_response)

    server = make(closing)
    server.start()
    assert get(server.address) == HELLO
    assert said == [False]  # its own thread had not ended


@pytest.mark.parametrize("closed", [False, True])
def test_a_server_starts_once(make: Start, closed: bool) -> None:
    server = make()
    server.start()
    if closed:
        server.close()
    with pytest.raises(RuntimeError, match="once"):
        server.start()
    assert closed or get(server.address) == HELLO


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_start_that_fails_leaves_nothing_behind(
    make: Start, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def limited(self: threading.Thread) -> None:
        if len(started) == allowed:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    server = make()
    with pytest.raises(RuntimeError, match="can't start new thread"), server:
        raise AssertionError("it must not start")
    assert not any(thread.is_alive() for thread in started)
    assert [listener.socket.fileno() for listener in server.listeners] == [-1]


def test_a_start_without_descriptors_leaves_no_thread(make: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(24, os.strerror(24))

    before = threading.active_count()
    server = make()
    with monkeypatch.context() as patch:
        patch.setattr(originals.os, "pipe", refuse)
        with pytest.raises(OSError, match="Too many open files"), server:
            raise AssertionError("it must not start")
    assert threading.active_count() == before


def test_when_it_cannot_be_made_its_listeners_are_closed(
    make: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halfsync.assembly._room_for_connections", lambda _settings: "none")
    with pytest.raises(TypeError):
        make()
    monkeypatch.undo()
    assert make().close()  # and the fixture sees what is left behind


def test_a_port_in_use_is_a_bind_error(make: Start) -> None:
    first = make()
    with pytest.raises(BindError, match=str(first.address[1])):
        make(bind=f"127.0.0.1:{first.address[1]}")


def test_settings_and_single_options_are_one_or_the_other() -> None:
    settings = Settings.from_options(bind="127.0.0.1:0")
    with pytest.raises(UsageError, match="both given"):
        halfsync.Server(hello, settings=settings, threads=3)  # type: ignore[call-overload]
    with halfsync.Server(hello, settings=settings) as server:
        assert server.settings is settings
        assert get(server.address) == HELLO


def test_a_directory_for_temporary_files_that_cannot_be_used_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="temp_dir"):
        halfsync.Server(hello, temp_dir=str(tmp_path / "missing"), **LOCAL)


def test_unknown_settings_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="thread"):
        halfsync.Server(hello, thread=3)  # type: ignore[call-overload]


def test_a_model_made_without_arguments_does_not_crash_when_it_is_collected() -> None:
    with pytest.raises(TypeError):
        Proactor()  # type: ignore[call-arg]
    before = held()
    Proactor.__new__(Proactor)
    assert not leaked(before)
