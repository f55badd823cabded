"""The access log: one line for each request, that no client can forge and no slow file can delay."""

import fcntl
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import halfsync
from halfsync.errors import UsageError
from halfsync.settings.access_format import FIELDS
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.faults.serving import Serving
from tests.sharing import foreign_environment
from tests.wsgi import EVENT_TIMEOUT_S, TEXT, Environ, hello, pattern, until

COMBINED = re.compile(
    r'(?P<remote>\S+) - - \[(?P<time>[^]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)" (?P<queue>\d+\.\d{6}) (?P<total>\d+\.\d{6})'
    r'(?: (?P<outcome>[a-z_]+) "(?P<reason>[^"]+)")?'
)
LOGFMT = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=]*)(?: |$)')
ESCAPED = re.compile(r'(?:[^\x00-\x1f"\\\x7f-\xff]|\\x[0-9a-f]{2})*')  # a text in a combined line
SEED = int(os.environ.get("HALFSYNC_TEST_SEED", "20261129"))
SHOWN = 2048  # bytes of a text, if none of them must be escaped
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


def test_a_combined_line_has_the_request_and_its_times(serve: Serve, log: Path) -> None:
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
    assert (entry["referer"], entry["agent"]) == (None, None)
    assert (entry["path"], entry["host"], entry["bytes"]) == ("/x", "test.example", 10)
    assert entry["pid"] > 0 and entry["remote_port"] > 0
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


def unescaped(text: str) -> bytes:
    """Return the part of a combined line that the client sent; the rest must match exactly."""
    assert ESCAPED.fullmatch(text), text
    return re.sub(rb"\\x(..)", lambda match: bytes([int(match[1], 16)]), text.encode())


def texts_of(line: str, form: str) -> tuple[bytes, bytes, bytes]:
    """Parse a line and return what it shows of the client's texts: request line, referer, agent."""
    if form == "json":
        entry = json.loads(line)
        assert line.isascii()
        assert list(entry) == [one.name for one in FIELDS if one.key]
        found = entry["request"], entry["referer"] or "-", entry["agent"] or "-"
        return found[0].encode("latin-1"), found[1].encode("latin-1"), found[2].encode("latin-1")
    if form == "logfmt":
        pairs = LOGFMT.findall(line)
        assert "".join(f"{key}={value} " for key, value in pairs) == f"{line} ", line
        keys = [one.name for one in FIELDS if one.key]
        assert [key for key, _ in pairs] == [key for key in keys if key in dict(pairs)]
        values = {key: json.loads(value) for key, value in pairs if value.startswith('"')}
        request, referer, agent = (values.get(key, "-") for key in ("request", "referer", "agent"))
        return request.encode("latin-1"), referer.encode("latin-1"), agent.encode("latin-1")
    match = COMBINED.fullmatch(line)
    assert match, line
    return unescaped(match["request"]), unescaped(match["referer"]), unescaped(match["agent"])


def shows(shown: bytes, sent: bytes) -> bool:
    """Tell whether a log shows a text: all of it, or much of its beginning."""
    return shown == sent or (sent.startswith(shown) and len(shown) >= 600)


TARGET = [bytes([byte]) for byte in range(0x21, 0x7F) if byte != ord("#")]  # what is not refused
VALUE = [b"\t", *(bytes([byte]) for byte in (*range(0x20, 0x7F), *range(0x80, 0x100)))]
TOKEN = [bytes([byte]) for byte in b"!#$%&'*+-.^_`|~09AZaz"]


def client_text(chance: random.Random, alphabet: list[bytes], most: int) -> bytes:
    """Return a text that begins and ends with no white space: of few kinds of bytes, and often a long one."""
    kinds = chance.sample(alphabet, chance.choice((1, 3, len(alphabet))))
    length = chance.choice((1, 10, 340, 512, 682, 2047, 2048, 2049, most))
    return b"".join(chance.choices(kinds, k=length)).strip() or b"x"


@pytest.mark.parametrize("form", ["combined", "json", "logfmt"])
@pytest.mark.parametrize("model", [{"model": "proactor"}, {"model": "process"}], ids=["buffered", "direct"])
def test_every_line_can_be_parsed_whatever_a_client_sends(serve: Serve, log: Path, form: str) -> None:
    print(f"HALFSYNC_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    sent = [
        (b"GET", b"/", byte * 2048, byte * 2048)
        for byte in (b"\xff", b"\xc3\xa9", b'"', b"\\", b"a\tb", b"\x80")
    ]
    sent += [(b"M" * 32, b"/" + b'"' * 5000, b"\xff" * 5000, b"\\" * 5000)]
    sent += [
        (
            client_text(chance, TOKEN, 3000)[:32],
            b"/" + client_text(chance, TARGET, 3000),
            client_text(chance, VALUE, 5000),
            client_text(chance, VALUE, 5000),
        )
        for _ in range(150)
    ]
    limits = {"max_request_line": 16_384, "max_field": 16_384}
    with serve(hello, access_log=str(log), log_format=form, **limits) as server:
        for method, target, referer, agent in sent:
            with Connection(server.address) as client:
                client.send(
                    method + b" " + target + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\nReferer: " + referer
                    + b"\r\nUser-Agent: " + agent + b"\r\n\r\n"
                )  # fmt: skip
                assert client.cut()
        found = lines(log, len(sent))
    assert len(found) == len(sent)
    refused = 0
    for line in found:
        request, referer, agent = texts_of(line, form)
        refused += b"-" in (referer, agent)
        assert any(
            shows(referer, one[2]) and shows(agent, one[3]) and request.startswith(one[0][:100])
            for one in sent
        ), line
    assert refused < 3, "the requests were meant to be good ones"


@pytest.mark.parametrize("form", ["combined", "json"])
def test_what_is_plain_ascii_is_shown_up_to_its_bound(serve: Serve, log: Path, form: str) -> None:
    with serve(hello, access_log=str(log), log_format=form) as server:
        fetch(server.address, fields=[("Referer", "r" * SHOWN), ("User-Agent", "a" * (SHOWN + 1))])
        _, referer, agent = texts_of(lines(log, 1)[0], form)
    assert (referer, agent) == (b"r" * SHOWN, b"a" * SHOWN)


@pytest.mark.skipif(shutil.which("localedef") is None, reason="localedef is needed to make a locale")
@pytest.mark.parametrize("form", ["combined", "json"])
def test_no_line_depends_on_the_locale_of_the_application(tmp_path: Path, log: Path, form: str) -> None:
    made = subprocess.run(
        ["localedef", "-c", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"],
        capture_output=True,
        check=False,
        env=foreign_environment(),
    )
    if made.returncode != 0:
        pytest.skip("no sources of the locale de_DE are here")
    application = """
import locale
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
assert locale.localeconv()["decimal_point"] == ","

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
    options = ("--access-log", str(log), "--log-format", form)
    with Serving(tmp_path, application, *options, more={"LOCPATH": str(tmp_path)}) as serving:
        fetch(serving.address)
        texts_of(lines(log, 1)[0], form)


def test_what_the_engine_refuses_is_logged_too(serve: Serve, log: Path) -> None:
    with serve(hello, access_log=str(log)) as server:
        for wire in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", build("/ok")):
            with Connection(server.address) as client:
                client.send(wire)
                client.response()
        found = [COMBINED.fullmatch(line) for line in lines(log, 3)]
    assert [(line["request"], line["status"]) for line in found if line] == [
        ("nonsense", "400"), ("GET / HTTP/1.1", "400"), ("GET /ok HTTP/1.1", "200"),
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


def test_a_response_whose_client_disconnected_is_logged(serve: Serve, log: Path) -> None:
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
                assert client.response().status == 200  # the log has no reader, and no client notices
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


def test_a_reader_that_is_stopped_does_not_hold_up_the_end(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        with serve(hello, access_log=str(pipe)) as server:
            for _ in range(100):
                assert fetch(server.address).status == 200
            server.drain()
            assert server.wait(EVENT_TIMEOUT_S)
            assert server.close(EVENT_TIMEOUT_S), "the log is closed, and tells, once no thread can add to it"
        # A note may be short enough for what is free in the pipe, when a batch of lines was not.
        assert "the access log lost" in caplog.text or b" dropped: " in os.read(reader, 4096)
    finally:
        os.close(reader)


def test_a_log_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be opened: no such file or directory"):
        halfsync.Server(hello, bind="127.0.0.1:0", access_log=str(tmp_path / "no" / "log"))


def test_a_kept_connection_writes_to_the_log_that_was_opened_again(serve: Serve, log: Path) -> None:
    """Also in the model `process`, in which another process has it."""
    with serve(hello, access_log=str(log)) as server, Connection(server.address) as connection:
        for number in range(3):
            rotated = log.rename(f"{log}.{number}") if number else log
            server.reopen_logs()
            connection.send(build(f"/{number}"))
            assert connection.response().status == 200
            until(lambda: f"/{number} " in log.read_text())  # noqa: B023 - it is called at once
            assert number == 0 or f"/{number} " not in rotated.read_text()


def test_a_log_that_cannot_be_reopened_stays_in_use(
    serve: Serve, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(hello, access_log=str(log)) as server, Connection(server.address) as connection:
        rotated = log.rename(f"{log}.1")
        log.mkdir()
        server.reopen_logs()
        assert [record.getMessage() for record in caplog.records] == [
            f"the access log {str(log)!r} cannot be reopened: is a directory"
        ]
        connection.send(build("/after"))
        assert connection.response().status == 200
        until(lambda: "/after" in rotated.read_text())
