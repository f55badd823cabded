"""What the access log says of requests that did not end well: their outcome, the reason, and what was really sent."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.client import Connection, CutError, build
from tests.conformance.conftest import Entries
from tests.conftest import Serve
from tests.wsgi import TEXT, Environ, Gate, hello, pattern, until

LARGE = 64 << 20  # more than a socket takes


def large(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", str(LARGE))])
    return [pattern(1 << 20)] * (LARGE >> 20)


def breaking(environ: Environ, start_response: Any) -> Iterator[bytes]:
    """Send a part of the response, and fail."""
    start_response("200 OK", [*TEXT])
    yield b"a part"
    raise ValueError("on purpose")


def test_a_request_that_ended_well_has_its_times_and_no_reason(
    serve: Serve, log: Path, entries: Entries
) -> None:
    with serve(hello, access_log=str(log), log_format="json") as server, Connection(server.address) as client:
        client.send(build("/a", method="POST", body=b"text"))
        assert client.response().status == 200
        (entry,) = entries(1)
    assert (entry["outcome"], entry["reason"], entry["status"], entry["bytes"]) == ("ok", None, 200, 10)
    times = [entry[name] for name in ("receive_s", "queue_s", "app_s", "send_s")]
    assert all(0 <= one <= 15 for one in [*times, entry["total_s"]])
    assert entry["receive_s"] + entry["app_s"] <= entry["total_s"] + 0.01


@pytest.mark.parametrize(
    ("wire", "request_line"),
    [
        (b"GET /half", "GET /half"),
        (b"GET /head HTTP/1.1\r\nHost: a\r\n", "GET /head HTTP/1.1"),
        (b"POST /body HTTP/1.0\r\nContent-Length: 9\r\n\r\nabc", "POST /body HTTP/1.0"),
    ],
)
def test_a_request_whose_client_left_is_logged_as_far_as_it_came(
    serve: Serve, log: Path, entries: Entries, wire: bytes, request_line: str
) -> None:
    with serve(hello, access_log=str(log), log_format="json") as server:
        with Connection(server.address) as client:
            client.send(wire)
        (entry,) = entries(1)
    assert (entry["request"], entry["status"], entry["bytes"]) == (request_line, None, 0)
    assert (entry["outcome"], entry["reason"]) == ("disconnected", "its client disconnected")


def test_a_refused_request_has_its_reason(serve: Serve, log: Path, entries: Entries) -> None:
    with serve(hello, access_log=str(log), log_format="json") as server, Connection(server.address) as client:
        client.send(b"GET /x HTTP/1.1\r\n\r\n")
        body = client.response().body
        (entry,) = entries(1)
    assert (entry["request"], entry["status"], entry["bytes"]) == ("GET /x HTTP/1.1", 400, len(body))
    assert (entry["outcome"], entry["reason"]) == ("refused", "HTTP/1.1 without a Host field")


def test_a_broken_response_has_the_bytes_that_were_sent(serve: Serve, log: Path, entries: Entries) -> None:
    with (
        serve(breaking, access_log=str(log), log_format="json") as server,
        Connection(server.address) as client,
    ):
        client.send(build())
        with suppress(CutError):
            client.response()
        (entry,) = entries(1)
    assert (entry["status"], entry["bytes"]) == (200, len(b"a part"))
    assert (entry["outcome"], entry["reason"]) == ("error", "the application failed")


def test_a_response_that_its_client_does_not_take_has_the_bytes_that_were_sent(
    serve: Serve, log: Path, entries: Entries
) -> None:
    read = 1 << 20
    with serve(large, access_log=str(log), log_format="json") as server:
        with Connection(server.address) as client:
            client.send(build())
            client.head()
            client._exactly(read)
            client.reset()
        (entry,) = entries(1)
    assert entry["status"] == 200
    assert entry["outcome"] == "disconnected"
    assert read <= entry["bytes"] < LARGE


def test_a_combined_line_ends_with_what_went_wrong(serve: Serve, log: Path) -> None:
    with serve(hello, access_log=str(log)) as server:
        for wire in (build("/good"), b"GET /bad HTTP/1.1\r\n\r\n"):
            with Connection(server.address) as client:
                client.send(wire)
                client.response()
        until(lambda: log.read_text().count("\n") == 2)
    good, bad = sorted(log.read_text().splitlines(), key=lambda line: "/bad" in line)
    assert good[-1].isdigit()
    assert bad.endswith(' refused "HTTP/1.1 without a Host field"')


@pytest.mark.only_on("proactor", reason="only it has queue_timeout")
def test_a_request_that_waited_too_long_is_logged_as_expired(
    serve: Serve, log: Path, entries: Entries
) -> None:
    gate = Gate()
    options = {"threads": 1, "queue_timeout": 0.2, "access_log": str(log), "log_format": "json"}
    with serve(gate, **options) as server, Connection(server.address) as running:
        running.send(build())
        gate.wait_entered(1)
        with Connection(server.address) as waiting:
            waiting.send(build("/late"))
            body = waiting.response().body
        (entry,) = entries(1)
        gate.opened.set()
        assert running.response().status == 200
    assert (entry["request"], entry["status"], entry["bytes"]) == ("GET /late HTTP/1.1", 503, len(body))
    assert (entry["outcome"], entry["reason"]) == ("expired", "it waited for queue_timeout")
    assert 0.2 <= entry["queue_s"] <= entry["total_s"]
    assert entry["app_s"] is None


@pytest.mark.only_on("proactor", reason="only it has request_timeout")
def test_the_fields_of_a_response_that_timed_out_are_those_that_were_sent(serve: Serve, log: Path) -> None:
    gate = Gate()
    form = "%({content-type}o)s %(outcome)s %(s)s"
    options = {"request_timeout": 0.2, "access_log": str(log), "log_format": form}

    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/late")])
        return gate(environ, lambda *_: bytes)

    with serve(app, **options) as server, Connection(server.address) as client:
        client.send(build())
        assert client.response().status == 504
        until(lambda: log.read_text().endswith("\n"))
        gate.opened.set()
    assert log.read_text() == "text/plain;\\x20charset=utf-8 timed_out 504\n"
