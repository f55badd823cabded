"""`halfsync.timeline`: an application can read when what happened to its request, during its turn and afterwards."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.client import Connection, build
from tests.conftest import Serve
from tests.wsgi import TEXT, Environ, hello, until

NAMES = ("accepted", "begun", "head", "body", "queued", "started", "first_byte", "last_byte")
TIMING = "Server-Timing"


def values(timeline: Any) -> dict[str, float | None]:
    """Return the times by their names."""
    return {name: getattr(timeline, name) for name in NAMES}


def in_order(times: dict[str, float | None], *names: str) -> bool:
    """Return whether these times are known, and none is before the one before it. A cycle's clock may lag a little."""
    known = [times[name] for name in names]
    assert None not in known, times
    return known == sorted(known)  # type: ignore[type-var]


class Teller:
    """An application that answers in two parts, and reports its timeline before, between and after them."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, environ: Environ, start_response: Any) -> Iterator[bytes]:
        timeline = environ["halfsync.timeline"]
        start_response("200 OK", [*TEXT])
        yield f"{values(timeline)}\n".encode()
        yield f"{values(timeline)}\n".encode()


def test_the_times_of_a_turn(serve: Serve, model: dict[str, Any]) -> None:
    before = time.monotonic()
    with serve(Teller()) as server, Connection(server.address) as connection:
        connection.send(build("/a", method="POST", body=b"abc"))
        first, second = [eval(line) for line in connection.response().body.splitlines()]
    after = time.monotonic()
    assert first["first_byte"] is first["last_byte"] is None
    assert second["first_byte"] == second["last_byte"]
    assert (first["queued"] is None) == (model["model"] in ("thread", "process"))
    assert {key: value for key, value in second.items() if "byte" not in key} == {
        key: value for key, value in first.items() if "byte" not in key
    }
    assert in_order(second, "accepted", "begun", "head", "body", "started", "first_byte", "last_byte")
    assert all(before - 0.1 <= value <= after for value in second.values() if value is not None), (
        before,
        second,
    )


@pytest.mark.not_on("process", reason="the test looks at what an application in this process has kept")
@pytest.mark.parametrize("keep", ["timeline", "environ", "popped"])
def test_a_timeline_that_is_kept_stays_that_of_its_request(serve: Serve, keep: str) -> None:
    kept: list[Any] = []
    during: list[dict[str, float | None]] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        timeline = environ.pop("halfsync.timeline") if keep == "popped" else environ["halfsync.timeline"]
        during.append(values(timeline))
        kept.append((timeline, environ if keep == "environ" else None))
        start_response("200 OK", [*TEXT])
        return [b"done"]

    with serve(app) as server, Connection(server.address) as connection:
        for number in range(4):
            connection.send(build(f"/{number}", method="POST" if number % 2 else "GET"))
            assert connection.response().status == 200
        until(lambda: server.statistics()["finished"] == 4)
        ended = [values(timeline) for timeline, _ in kept]
    assert len({id(timeline) for timeline, _ in kept}) == 4
    for then, now in zip(during, ended, strict=True):
        assert then["first_byte"] is None
        assert in_order(now, "accepted", "begun", "head", "body", "started", "first_byte", "last_byte")
        assert {key: value for key, value in now.items() if "byte" not in key} == {
            key: value for key, value in then.items() if "byte" not in key
        }
    assert [one["begun"] for one in ended] == sorted({one["begun"] for one in ended})  # type: ignore[type-var]
    assert repr(kept[0][0]).startswith(f"<halfsync.timeline accepted={ended[0]['accepted']} begun=")


@pytest.mark.not_on("process", reason="each of its processes has one request at a time")
def test_requests_at_one_time_have_timelines_of_their_own(serve: Serve) -> None:
    both = threading.Barrier(2, timeout=30)

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        both.wait()
        own = environ["halfsync.timeline"]
        begun = own.begun
        both.wait()
        start_response("200 OK", [*TEXT])
        return [f"{id(own)} {begun} {own.begun}".encode()]

    with (
        serve(app, threads=2) as server,
        Connection(server.address) as one,
        Connection(server.address) as other,
    ):
        for _ in range(3):
            one.send(build("/a"))
            other.send(build("/b"))
            first, second = (each.response().body.split() for each in (one, other))
            assert first[0] != second[0]
            assert first[1] == first[2]
            assert second[1] == second[2]


def test_it_can_be_read_in_close(serve: Serve, tmp_path: Any) -> None:
    class Parts:
        def __init__(self, timeline: Any) -> None:
            self.timeline = timeline

        def __iter__(self) -> Iterator[bytes]:
            yield b"a part"

        def close(self) -> None:
            (tmp_path / "times").write_text(repr(values(self.timeline)))

    def app(environ: Environ, start_response: Any) -> Parts:
        start_response("200 OK", [*TEXT])
        return Parts(environ["halfsync.timeline"])

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.response().body == b"a part"
        until(lambda: (tmp_path / "times").exists() and (tmp_path / "times").read_text().endswith("}"))
    times = eval((tmp_path / "times").read_text())
    assert in_order(times, "started", "first_byte", "last_byte")


def metrics(value: str | None) -> dict[str, float]:
    """Return the durations in a Server-Timing field, by their names."""
    assert value is not None
    pairs = [one.split(";dur=") for one in value.split(", ")]
    assert all(len(duration.partition(".")[2]) == 3 for _, duration in pairs), value
    return {name: float(duration) for name, duration in pairs}


def test_server_timing_is_sent_if_it_is_asked_for(serve: Serve, model: dict[str, Any]) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        time.sleep(0.02)
        start_response("200 OK", [*TEXT, (TIMING, "db;dur=5")])
        return [b"done"]

    with serve(app, server_timing=True) as server, Connection(server.address) as connection:
        connection.send(build())
        own, ours = connection.response().all(TIMING)
    found = metrics(ours)
    queue = {"queue"} if model["model"] in ("proactor", "pool") else set()
    assert own == "db;dur=5"
    assert set(found) == {"app", "total"} | queue
    assert 20 <= found["app"] <= found["total"] + 1


def test_server_timing_is_off_by_default(serve: Serve) -> None:
    with serve(hello) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.response().one(TIMING) is None


def test_error_pages_and_files_have_it_too(serve: Serve, tmp_path: Any, model: dict[str, Any]) -> None:
    def failing(environ: Environ, start_response: Any) -> Iterator[bytes]:
        raise ValueError("on purpose")
        yield b""

    (tmp_path / "a.txt").write_text("text")
    queue = {"queue"} if model["model"] == "pool" else set()
    found = {}
    with serve(failing, server_timing=True, static={"/files": tmp_path}) as server:
        for path in ("/", "/files/a.txt", "/files/none"):
            with Connection(server.address) as connection:
                connection.send(build(path))
                response = connection.response()
                found[response.status] = set(metrics(response.one(TIMING)))
        with Connection(server.address) as connection:
            connection.send(b"GET / HTTP/1.1\r\n\r\n")
            found[400] = set(metrics(connection.last_responses()[0].one(TIMING)))
    assert "app" in found.pop(500)
    assert found[200] == found[404] == {"total"} | queue
    assert {"total"} <= found[400] <= {"total", "queue"}
