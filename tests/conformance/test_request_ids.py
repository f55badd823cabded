"""The id of a request is the same wherever it is seen, under every model; and its trace."""

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client import Connection, Response, build
from tests.conformance.conftest import Entries
from tests.conftest import Serve
from tests.sharing import Logged
from tests.wsgi import TEXT, Environ, Gate, hello, until

MADE = re.compile("[0-9a-f]{32}")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIELD = "X-Request-Id"


@pytest.fixture
def logs(log: Path) -> dict[str, Any]:
    """Return the settings of a server that has an access log."""
    return {"access_log": str(log), "log_format": "json"}


@pytest.fixture
def informed(logged: Logged, caplog: pytest.LogCaptureFixture) -> Iterator[Logged]:
    """Return what the server logs, from the level info on."""
    with caplog.at_level(logging.INFO, "halfsync"):
        yield logged


def fail(message: str) -> Iterator[bytes]:
    """Fail once it is iterated: the record of an error in the call itself would keep the server alive."""
    raise ValueError(message)
    yield b""


def tell(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Answer with what the environ has of ids, or fail."""
    if environ["PATH_INFO"] == "/fails":
        return fail(environ["halfsync.request_id"])
    start_response("200 OK", [*TEXT])
    names = ("halfsync.request_id", "HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT")
    return [json.dumps([environ.get(name) for name in names]).encode()]


def ask(address: tuple[str, int], *fields: tuple[str, str], target: str = "/") -> Response:
    """Return the response to a request with these fields, on a connection of its own."""
    with Connection(address) as connection:
        connection.send(build(target, fields=list(fields)))
        return connection.response()


def test_an_id_that_is_made_is_in_environ_and_log(
    serve: Serve, logs: dict[str, Any], entries: Entries
) -> None:
    with serve(tell, **logs) as server:
        seen = [json.loads(ask(server.address).body) for _ in range(3)]
        logged = [entry["request_id"] for entry in entries(3)]
    assert sorted(one[0] for one in seen) == sorted(logged)
    assert all(MADE.fullmatch(one) for one in logged)
    assert len(set(logged)) == 3
    assert {one[1] for one in seen} == {None}


def test_a_trusted_proxy_gives_ids(serve: Serve, logs: dict[str, Any], entries: Entries) -> None:
    with serve(tell, **logs) as server:
        response = ask(server.address, (FIELD, "forged"), (FIELD, "Root=1-a:b/c"))
        (entry,) = entries(1)
    assert json.loads(response.body)[:2] == ["Root=1-a:b/c", "Root=1-a:b/c"]
    assert entry["request_id"] == "Root=1-a:b/c"
    assert response.one(FIELD) is None, "only error pages have the id"


@pytest.mark.parametrize("trusted", [True, False])
def test_what_anybody_may_have_sent_is_not_in_the_environ(serve: Serve, trusted: bool) -> None:
    sent = 'no "id"' if trusted else "an-id"
    with serve(tell, forwarded_allow_ips="127.0.0.1" if trusted else "none") as server:
        own, passed_on, _ = json.loads(ask(server.address, (FIELD, sent)).body)
    assert MADE.fullmatch(own)
    assert passed_on == own


def test_the_field_may_have_another_name(serve: Serve) -> None:
    with serve(tell, request_id_field="X-Amzn-Trace-Id") as server:
        own, other, _ = json.loads(ask(server.address, (FIELD, "a"), ("X-Amzn-Trace-Id", "b")).body)
        page = ask(server.address, ("X-Amzn-Trace-Id", "c"), target="/fails")
    assert (own, other) == ("b", "a")
    assert (page.status, page.one("X-Amzn-Trace-Id"), page.one(FIELD)) == (500, "c", None)


def test_requests_may_have_no_ids(serve: Serve, logs: dict[str, Any], entries: Entries) -> None:
    def keys(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [json.dumps(sorted(key for key in environ if "request_id" in key.lower())).encode()]

    with serve(keys, request_id_field=None, **logs) as server:
        response = ask(server.address, (FIELD, "as it was"))
        with Connection(server.address) as connection:
            connection.send(b"GET / HTTP/1.1\r\n\r\n")
            page = connection.response()
        logged = entries(2)
    assert json.loads(response.body) == ["HTTP_X_REQUEST_ID"]
    assert (page.status, page.one(FIELD)) == (400, None)
    assert [entry["request_id"] for entry in logged] == [None, None]


def test_each_pipelined_request_has_its_own(serve: Serve, logs: dict[str, Any], entries: Entries) -> None:
    wire = build("/1", fields=[(FIELD, "one")]) + build("/2", method="POST", body=b"abc") + build("/3")
    with serve(tell, **logs) as server, Connection(server.address) as connection:
        connection.send(wire)
        seen = [json.loads(connection.response().body)[0] for _ in range(3)]
        logged = {entry["path"]: entry["request_id"] for entry in entries(3)}
    assert [logged["/1"], logged["/2"], logged["/3"]] == seen
    assert seen[0] == "one"
    assert len(set(seen)) == 3


@pytest.mark.parametrize("sent", [None, "of-a-proxy"])
def test_an_application_s_failure_has_it_on_its_page_and_in_both_logs(
    serve: Serve, logs: dict[str, Any], entries: Entries, informed: Logged, sent: str | None
) -> None:
    fields = [] if sent is None else [(FIELD, sent)]
    with serve(tell, **logs) as server:
        page = ask(server.address, *fields, target="/fails")
        (entry,) = entries(1)
        until(lambda: "the application failed" in informed.text)
    assert page.status == 500
    assert page.one(FIELD) == entry["request_id"]
    assert f"the application failed on GET /fails (request id {page.one(FIELD)})" in informed.text
    assert f"ValueError: {page.one(FIELD)}" in informed.text
    assert sent in (None, page.one(FIELD))


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"GET / HTTP/1.1\r\nX-Request-Id: sent\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: sent\r\nContent-Length: 101\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: sent\r\nX: " + b"y" * 300, 431),
        (b"no request\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: sent\r\n", 408),
    ],
)
def test_a_refused_request_has_it_on_its_page_and_in_both_logs(
    serve: Serve, logs: dict[str, Any], entries: Entries, informed: Logged, wire: bytes, status: int
) -> None:
    with serve(hello, max_body=100, max_field=256, head_timeout=0.2, **logs) as server:
        with Connection(server.address) as connection:
            connection.send(wire)
            (page,) = connection.last_responses()
        (entry,) = entries(1)
        until(lambda: "refused a request" in informed.text)
    assert page.status == entry["status"] == status
    assert page.one(FIELD) == entry["request_id"]
    assert f"; request id {page.one(FIELD)}" in informed.text
    if b"sent" in wire:
        assert page.one(FIELD) == "sent"
    else:
        assert MADE.fullmatch(page.one(FIELD) or "")


@pytest.mark.only_on("proactor", reason="the others have no queue of requests")
def test_a_request_that_no_worker_took_has_it(serve: Serve, logs: dict[str, Any], entries: Entries) -> None:
    gate = Gate()
    with serve(gate, threads=1, queue_timeout=0.1, **logs) as server, Connection(server.address) as first:
        first.send(build("/first"))
        gate.wait_entered(1)
        page = ask(server.address, (FIELD, "late"))
        (entry,) = entries(1)
        gate.opened.set()
        assert first.response().status == 200
    assert (page.status, page.one(FIELD)) == (503, "late")
    assert (entry["outcome"], entry["request_id"]) == ("expired", "late")


@pytest.mark.only_on("proactor", reason="only it ends turns")
@pytest.mark.parametrize("traceparent", [None, TRACEPARENT])
def test_a_request_whose_turn_took_too_long_has_it(
    serve: Serve, logs: dict[str, Any], entries: Entries, logged: Logged, traceparent: str | None
) -> None:
    gate = Gate()
    with serve(gate, request_timeout=0.2, **logs) as server:
        page = ask(server.address, *([] if traceparent is None else [("traceparent", traceparent)]))
        until(lambda: "took longer than request_timeout" in logged.text)
        gate.opened.set()
        (entry,) = entries(1)
    ids = f"request id {entry['request_id']}"
    if traceparent is not None:
        ids += f", trace id {traceparent.split('-')[1]}"
    assert f"GET / ({ids}) took longer than request_timeout, 0.2 s, in " in logged.text
    assert page.status == 504
    assert MADE.fullmatch(page.one(FIELD) or "")
    assert (entry["outcome"], entry["request_id"]) == ("timed_out", page.one(FIELD))


def test_a_request_that_was_cut_has_it(serve: Serve, logs: dict[str, Any], entries: Entries) -> None:
    with serve(hello, **logs) as server:
        with Connection(server.address) as connection:
            connection.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: cut\r\nContent-Length: 9\r\n\r\nabc"
            )
        (entry,) = entries(1)
    assert (entry["outcome"], entry["request_id"]) == ("disconnected", "cut")


def test_a_missing_file_has_it_on_its_page_and_a_file_has_not(
    serve: Serve, logs: dict[str, Any], entries: Entries, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("text")
    with serve(hello, static={"/files": tmp_path / "files"}, **logs) as server:
        assert ask(server.address, target="/files/a.txt").one(FIELD) is None
        page = ask(server.address, target="/files/b.txt")
        logged = sorted(entries(2), key=lambda entry: int(entry["status"]))
    assert page.status == 404
    assert [entry["status"] for entry in logged] == [200, 404]
    assert logged[1]["request_id"] == page.one(FIELD)
    assert MADE.fullmatch(logged[0]["request_id"])


def test_processes_make_different_ids(serve: Serve) -> None:
    def tell_process(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [f"{os.getpid()} {environ['halfsync.request_id']}".encode()]

    with serve(tell_process) as server:
        told = [ask(server.address).body.decode().split() for _ in range(8)]
    assert len({made for _, made in told}) == 8


@pytest.mark.not_on("process", reason="the test looks at what an application in this process has kept")
@pytest.mark.parametrize("keep", ["id", "environ", "popped", "interned", "hashed"])
def test_an_id_that_is_kept_stays_that_of_its_request(serve: Serve, keep: str) -> None:
    kept: list[Any] = []
    told: list[str] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        own = environ.pop("halfsync.request_id") if keep == "popped" else environ["halfsync.request_id"]
        told.append("".join(own))
        if keep == "interned":
            sys.intern(own)  # in Python 3.11 this adds no reference
        elif keep == "hashed":
            assert {told[-1]: 1}[own] == 1
        else:
            kept.append(environ if keep == "environ" else own)
        start_response("200 OK", [*TEXT])
        return [own.encode()]

    with serve(app) as server, Connection(server.address) as connection:
        for number in range(5):
            connection.send(build(f"/{number}", method="POST" if number % 2 else "GET"))
            assert connection.response().body.decode() == told[-1]
    assert len(set(told)) == 5
    if keep == "interned":
        assert [sys.intern(one[:1] + one[1:]) for one in told] == told
    elif keep != "hashed":
        assert [one["halfsync.request_id"] if keep == "environ" else one for one in kept] == told


@pytest.mark.not_on("process", reason="each of its processes has one request at a time")
def test_requests_at_one_time_have_ids_of_their_own(serve: Serve) -> None:
    both = threading.Barrier(2, timeout=30)

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        before = "".join(environ["halfsync.request_id"])
        both.wait()
        start_response("200 OK", [*TEXT])
        return [f"{before} {environ['halfsync.request_id']}".encode()]

    with (
        serve(app, threads=2) as server,
        Connection(server.address) as one,
        Connection(server.address) as other,
    ):
        seen = set()
        for _ in range(3):
            one.send(build("/a"))
            other.send(build("/b"))
            for connection in (one, other):
                before, after = connection.response().body.decode().split()
                assert before == after
                seen.add(after)
    assert len(seen) == 6


@pytest.mark.parametrize("value", [TRACEPARENT, "no trace"])
def test_traceparent_is_passed_on_and_its_trace_is_logged(
    serve: Serve, logs: dict[str, Any], entries: Entries, value: str
) -> None:
    with serve(tell, **logs) as server:
        own, _, passed_on = json.loads(ask(server.address, ("traceparent", value)).body)
        (entry,) = entries(1)
    assert passed_on == value
    assert entry["trace_id"] == (TRACEPARENT[3:35] if value == TRACEPARENT else None)
    assert entry["request_id"] == own != TRACEPARENT[3:35]


def test_no_id_can_forge_a_field_of_a_log(serve: Serve, log: Path) -> None:
    form = "%(request_id)s:%({halfsync.request_id}e)s:%(trace_id)s:%(status)s"
    with serve(hello, access_log=str(log), log_format=form) as server:
        for sent in ("a:200", "a b", 'a"b'):
            assert ask(server.address, (FIELD, sent)).status == 200
        until(lambda: log.read_text().count("\n") == 3)
    lines = log.read_text().splitlines()
    assert lines[0] == r"a\x3a200:a\x3a200:-:200"
    assert all(re.fullmatch(r"([0-9a-f]{32}):\1:-:200", line) for line in lines[1:])
