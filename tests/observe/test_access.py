"""The access log: one line for each request, that no client can forge and no slow file can hold up."""

import json
import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import halfsync
from halfsync.errors import UsageError
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.wsgi import TEXT, Environ, hello, pattern, until

COMBINED = re.compile(
    r'(?P<remote>\S+) - - \[(?P<time>[^]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)" (?P<queue>\d+\.\d{6}) (?P<total>\d+\.\d{6})'
)
LARGE = 20 * 1024 * 1024

Lines = Callable[[int], list[str]]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def lines(log: Path, number: int) -> list[str]:
    """Return the log's lines once there are so many: they are written a moment after the responses."""
    until(lambda: log.read_text().count("\n") >= number)
    return log.read_text().splitlines()


def large(environ: Environ, start_response: Any) -> list[bytes]:
    """Answer with more than a socket takes."""
    start_response("200 OK", TEXT)
    return [pattern(LARGE)]


def test_a_combined_line_tells_the_request_and_its_times(serve: Serve, log: Path) -> None:
    with serve(hello, access_log=str(log)) as server:
        fields = [("Referer", "http://a/"), ("User-Agent", "test 1.0")]
        body = fetch(server.address, "/a%20b?c=d", fields=fields).body
        line = COMBINED.fullmatch(lines(log, 1)[0])
        assert line, log.read_text()
    assert line["remote"] == "127.0.0.1"
    assert line["request"] == "GET /a%20b?c=d HTTP/1.1"
    assert (int(line["status"]), int(line["bytes"])) == (200, len(body))
    assert (line["referer"], line["agent"]) == ("http://a/", "test 1.0")
    assert 0 <= float(line["queue"]) <= float(line["total"]) < 15
    datetime.strptime(line["time"], "%d/%b/%Y:%H:%M:%S %z")


def test_a_json_line_is_json(serve: Serve, log: Path) -> None:
    with serve(hello, access_log=str(log), log_format="json") as server:
        fetch(server.address, "/x", method="POST", body=b"")
        entry = json.loads(lines(log, 1)[0])
    assert (entry["request"], entry["status"], entry["remote"]) == ("POST /x HTTP/1.1", 200, "127.0.0.1")
    assert (entry["referer"], entry["agent"]) == ("-", "-")
    assert 0 <= entry["queue_s"] <= entry["total_s"]
    assert datetime.fromisoformat(entry["time"]).tzinfo is not None


@pytest.mark.parametrize("form", ["combined", "json"])
def test_no_client_can_forge_a_line(serve: Serve, log: Path, form: str) -> None:
    evil = 'a" 200 1 "\\x\xe9\t{}'
    with serve(hello, access_log=str(log), log_format=form) as server:
        wire = b"GET /%22 HTTP/1.1\r\nHost: h\r\nUser-Agent: " + evil.encode("latin-1") + b"\r\n\r\n"
        with Connection(server.address) as client:
            client.send(wire)
            assert client.response().status == 200
        line = lines(log, 1)[0]
    if form == "json":
        assert json.loads(line)["agent"] == evil
    else:
        match = COMBINED.fullmatch(line)
        assert match
        assert match["agent"] == r"a\x22 200 1 \x22\x5cx\xe9\x09{}"


def test_what_the_engine_refuses_is_logged_too(serve: Serve, log: Path) -> None:
    with serve(hello, access_log=str(log)) as server:
        for wire in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", build("/ok")):
            with Connection(server.address) as client:
                client.send(wire)
                client.response()
        found = [COMBINED.fullmatch(line) for line in lines(log, 3)]
    assert [(line["request"], line["status"]) for line in found if line] == [
        ("-", "400"), ("GET / HTTP/1.1", "400"), ("GET /ok HTTP/1.1", "200"),
    ]  # fmt: skip


def test_a_response_that_the_engine_sends_is_logged_once_and_at_its_end(serve: Serve, log: Path) -> None:
    with serve(large, access_log=str(log)) as server:
        with Connection(server.address) as client:
            client.send(build("/large"))
            client.head()
            assert log.read_text() == ""
            client._exactly(LARGE)
            found = COMBINED.fullmatch(lines(log, 1)[0])
            assert found
            assert (found["status"], int(found["bytes"])) == ("200", LARGE)
        fetch(server.address)
        assert len(lines(log, 2)) == 2


def test_a_response_whose_client_left_is_logged(serve: Serve, log: Path) -> None:
    with serve(large, access_log=str(log)) as server:
        with Connection(server.address) as client:
            client.send(build("/left"))
            client.head()
            client.reset()
        assert "/left" in lines(log, 1)[0]


def test_lines_that_a_slow_file_does_not_take_are_dropped_and_counted(serve: Serve, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    agent = "x" * 2000
    try:
        with serve(hello, access_log=str(pipe)) as server, Connection(server.address) as client:
            for _ in range(2000):  # four megabytes: more than the pipe and both buffers hold
                client.send(build("/", fields=[("User-Agent", agent)]))
                assert client.response().status == 200  # nobody reads the log, and nobody notices
            os.set_blocking(reader, True)
            taken = b""
            while b"lines were dropped" not in taken:
                taken += os.read(reader, 1 << 20)
            taken += os.read(reader, 1 << 20) if not taken.endswith(b"\n") else b""
        dropped = re.search(rb"halfsync: (\d+) lines were dropped", taken)
        assert dropped
        assert taken.count(agent.encode()) + int(dropped[1]) == 2000
    finally:
        os.close(reader)


def test_a_log_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be opened: No such file or directory"):
        halfsync.Server(hello, bind="127.0.0.1:0", access_log=str(tmp_path / "no" / "log"))
