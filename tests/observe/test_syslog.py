"""The access log to a syslog: its messages, and what happens if it is slow, restarted or gone."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import halfsync
from halfsync.errors import UsageError
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.wsgi import EVENT_TIMEOUT_S, hello

LOCAL = re.compile(r"<(\d+)>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) halfsync\[(\d+)\]: (.*)", re.DOTALL)
REMOTE = re.compile(
    r"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) halfsync (\d+) - - (.*)", re.DOTALL
)
INFORMATIONAL = 6
MODELS = ["proactor", "process"]  # with a thread that writes, and without


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Give a syslog at this path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(path))
        syslog.settimeout(EVENT_TIMEOUT_S)
        yield syslog


@contextmanager
def listening_on(family: socket.AddressFamily, host: str) -> Iterator[tuple[socket.socket, str]]:
    """Give a syslog that listens by UDP, and its address as settings name it."""
    with socket.socket(family, socket.SOCK_DGRAM) as syslog:
        syslog.bind((host, 0))
        syslog.settimeout(EVENT_TIMEOUT_S)
        shown = f"[{host}]" if ":" in host else host
        yield syslog, f"syslog:{shown}:{syslog.getsockname()[1]}"


def received(syslog: socket.socket) -> str:
    """Return the next message."""
    return syslog.recv(65_536).decode()


@pytest.mark.parametrize("model", [{"model": model} for model in MODELS], ids=MODELS)
def test_a_local_syslog_gets_messages_as_the_c_library_writes_them(serve: Serve, tmp_path: Path) -> None:
    target = f"syslog:{tmp_path}/log"
    form = '%(pid)s %(r)s "%(a)s"'
    with listening(tmp_path / "log") as syslog, serve(hello, access_log=target, log_format=form) as server:
        for number in range(3):
            fetch(server.address, f"/{number}", fields=[("User-Agent", "a\tb\xe9")])
            found = LOCAL.fullmatch(received(syslog))
            assert found
            assert int(found[1]) == 3 * 8 + INFORMATIONAL
            # The year is not in it; a time of day is enough to see that it is ours.
            at = datetime.strptime(f"{datetime.now().year} {found[2]}", "%Y %b %d %H:%M:%S")
            assert abs(datetime.now() - at) < timedelta(minutes=2)
            assert found[4] == rf'{found[3]} GET\x20/{number}\x20HTTP/1.1 "a\x09b\xe9"'
            assert (int(found[3]) == os.getpid()) == (server.settings.model == "proactor")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
@pytest.mark.parametrize(("facility", "number"), [("daemon", 3), ("local7", 23), ("kern", 0)])
def test_a_remote_syslog_gets_messages_of_rfc_5424(
    serve: Serve, family: socket.AddressFamily, host: str, facility: str, number: int
) -> None:
    with listening_on(family, host) as (syslog, target):
        with serve(hello, access_log=target, log_format="json", syslog_facility=facility) as server:
            fetch(server.address, "/a")
            found = REMOTE.fullmatch(received(syslog))
        assert found
        assert int(found[1]) == number * 8 + INFORMATIONAL
        at = datetime.fromisoformat(found[2])
        assert abs(datetime.now(UTC) - at) < timedelta(minutes=2)
        assert (found[3], int(found[4])) == (socket.gethostname(), os.getpid())
        assert '"request": "GET /a HTTP/1.1"' in found[5]
        assert found[5].endswith("}")


def test_a_host_is_looked_up_by_its_name(serve: Serve) -> None:
    with (
        listening_on(socket.AF_INET, "127.0.0.1") as (syslog, target),
        serve(hello, access_log=target.replace("127.0.0.1", "localhost")) as server,
    ):
        fetch(server.address)
        assert REMOTE.fullmatch(received(syslog))


def test_no_message_is_longer_than_a_syslog_takes(serve: Serve, tmp_path: Path) -> None:
    wire = build("/" + '"' * 3000, fields=[("User-Agent", "\xff" * 3000), ("Referer", "\\" * 3000)])
    limits = {"max_request_line": 16_384, "max_field": 16_384}
    with listening(tmp_path / "log") as syslog:
        for form in ("combined", "json", "logfmt"):
            with serve(hello, access_log=f"syslog:{tmp_path}/log", log_format=form, **limits) as server:
                with Connection(server.address) as connection:
                    connection.send(wire)
                    assert connection.response().status == 200
                message = received(syslog)
                assert 4000 < len(message) < 8192
                assert message.rstrip("}")[-1] in '"0123456789'


def test_a_syslog_that_was_restarted_gets_the_next_lines(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "log"
    form = "%(U)s."
    with listening(path) as first, serve(hello, access_log=f"syslog:{path}", log_format=form) as server:
        fetch(server.address, "/1")
        assert received(first).endswith(": /1.")
        first.close()
        path.unlink()
        with listening(path) as second:
            fetch(server.address, "/2")
            assert received(second).endswith(": /2.")


@pytest.mark.parametrize("model", [{"model": "process"}], ids=["process"])
def test_lines_are_counted_while_no_syslog_is_there(serve: Serve, tmp_path: Path) -> None:
    """In a model without a writer thread, where a request's line is written before the next request is read."""
    path = tmp_path / "log"
    with (
        listening(path) as first,
        serve(hello, access_log=f"syslog:{path}", log_format="%(U)s.") as server,
        Connection(server.address) as client,
    ):
        first.shutdown(socket.SHUT_RDWR)  # the server's processes have been forked with it
        path.unlink()
        for number in range(4):
            client.send(build(f"/{number}"))
            assert client.response().status == 200
        with listening(path) as second:
            client.send(build("/4") + build("/5"))
            messages = [received(second)]
            while not messages[-1].endswith("/5."):
                messages.append(received(second))
        found = re.search(
            r": halfsync: (\d) lines were dropped: the syslog was too slow or refused them$", messages[0]
        )
        assert found
        told = int(found[1])
        assert told >= 3
        assert [message[-3:] for message in messages[1:]] == [f"/{number}." for number in range(told, 6)]


def test_a_slow_syslog_delays_no_request_and_drops_are_counted(serve: Serve, tmp_path: Path) -> None:
    agent = "x" * 2000
    requests = 3000  # more than the socket and the buffer of a megabyte hold
    target = f"syslog:{tmp_path}/log"
    with (
        listening(tmp_path / "log") as syslog,
        serve(hello, access_log=target, log_format='"%(a)s"') as server,
        Connection(server.address) as client,
    ):
        for _ in range(requests):
            client.send(build("/", fields=[("User-Agent", agent)]))
            assert client.response().status == 200
        taken = dropped = 0
        while taken + dropped < requests:
            message = received(syslog)
            found = re.search(r"halfsync: (\d+) lines were dropped: the syslog was too slow", message)
            dropped += int(found[1]) if found else 0
            taken += message.endswith(f'"{agent}"')
    assert dropped > 0
    assert taken + dropped == requests


def test_a_stopped_syslog_does_not_hold_up_the_end(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        listening(tmp_path / "log"),
        serve(hello, access_log=f"syslog:{tmp_path}/log") as server,
        Connection(server.address) as client,
    ):
        for _ in range(2000):  # more than the socket holds
            client.send(build())
            assert client.response().status == 200
        server.drain()
        assert server.wait(EVENT_TIMEOUT_S)
        assert server.close(EVENT_TIMEOUT_S)
    assert "the access log lost" in caplog.text


def test_udp_lines_that_nobody_takes_are_counted(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with listening_on(socket.AF_INET, "127.0.0.1") as (syslog, target):
        pass
    assert syslog.fileno() == -1
    with serve(hello, access_log=target) as server:
        for _ in range(5):
            fetch(server.address)
        server.drain()
        assert server.wait(EVENT_TIMEOUT_S)
        assert server.close(EVENT_TIMEOUT_S)
    assert "the access log lost 5 lines at its end" in caplog.text


def test_reopening_connects_to_the_syslog_that_has_the_name_now(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with listening(path) as first, serve(hello, access_log=f"syslog:{path}", log_format="%(U)s") as server:
        fetch(server.address, "/1")
        assert received(first).endswith("/1")
        path.rename(tmp_path / "old")
        with listening(path) as second:
            server.reopen_logs()
            fetch(server.address, "/2")
            assert received(second).endswith("/2")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "no such file or directory"),
        (lambda path: path.touch(), "connection refused"),
        (lambda path: path.mkdir(), "connection refused"),
    ],
    ids=["missing", "file", "directory"],
)
def test_a_syslog_that_is_not_there_is_refused_at_the_start(
    tmp_path: Path, make: Callable[[Path], Any], told: str
) -> None:
    make(tmp_path / "log")
    with pytest.raises(UsageError) as refused:
        halfsync.Server(hello, bind="127.0.0.1:0", access_log=f"syslog:{tmp_path}/log")
    assert f"the access log 'syslog:{tmp_path}/log' cannot be opened: {told}" in str(refused.value)


def test_a_host_without_an_address_is_refused_at_the_start() -> None:
    with pytest.raises(UsageError, match=r"the access log 'syslog:no-such-host\.invalid' cannot be opened: "):
        halfsync.Server(hello, bind="127.0.0.1:0", access_log="syslog:no-such-host.invalid")


def test_lines_come_in_order(serve: Serve, tmp_path: Path) -> None:
    with (
        listening(tmp_path / "log") as syslog,
        serve(hello, access_log=f"syslog:{tmp_path}/log", log_format="%(U)s") as server,
        Connection(server.address) as client,
    ):
        for number in range(200):
            client.send(build(f"/{number}"))
            assert client.response().status == 200
        numbers = [int(received(syslog).rpartition("/")[2]) for _ in range(200)]
    assert numbers == list(range(200))
