"""The load generator, against a server that does what a path says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from bench.load import LoadError
from bench.openloop import Answer, Attempt, Job, Outcome, Player, parse, percentile
from bench.running import free_port
from tests.lab.scripted import BUSY, DROP, NEVER, ODD, OK, Reply, Scripted, scripted

from bench import openloop

PATIENCE_S = 5.0
REPLIES = {
    "/ok": OK,
    "/half": Reply((OK.pieces[0][:-1], OK.pieces[0][-1:])),
    "/bye": Reply((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",), closes=True),
    "/leave": Reply(OK.pieces, closes=True),  # without a word before
    "/busy": BUSY,
    "/odd": ODD,
    "/no-http": Reply((b"hello\r\n\r\n",), closes=True),
    "/never": NEVER,
    "/drop": DROP,
}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted(REPLIES) as running:
        yield running


def played(server: Scripted, *paths: str, apart_s: float = 0.02, **options: object) -> list[Attempt]:
    """Ask for the paths one after the other; return the requests in the order in which they were due."""
    schedule = tuple((at * apart_s, at) for at in range(len(paths)))
    job = Job(server.port, paths, schedule, **{"patience_s": PATIENCE_S, **options})  # type: ignore[arg-type]
    return sorted(Player(job).play(), key=lambda attempt: attempt.at_s)


def outcomes(attempts: list[Attempt]) -> list[Outcome | None]:
    return [attempt.outcome for attempt in attempts]


def test_requests_are_sent_at_their_times_on_a_connection_that_is_kept(server: Scripted) -> None:
    attempts = played(server, "/ok", "/half", "/ok", apart_s=0.5)
    assert outcomes(attempts) == [Outcome.IN_TIME] * 3
    assert [attempt.at_s for attempt in attempts] == [0.0, 0.5, 1.0]
    assert all(0 <= attempt.late_s <= attempt.took_s < PATIENCE_S for attempt in attempts)
    assert server.asked == [["/ok", "/half", "/ok"]]


def test_fresh_requests_have_a_connection_each(server: Scripted) -> None:
    assert outcomes(played(server, "/ok", "/ok", fresh=True)) == [Outcome.IN_TIME] * 2
    assert server.asked == [["/ok"], ["/ok"]]


def test_a_connection_that_the_answer_closes_is_not_used_again(server: Scripted) -> None:
    assert outcomes(played(server, "/bye", "/ok", apart_s=0.2)) == [Outcome.IN_TIME] * 2
    assert server.asked == [["/bye"], ["/ok"]]


def test_a_request_without_an_answer_delays_no_other_and_its_client_gives_up(server: Scripted) -> None:
    attempts = played(server, "/never", "/ok", patience_s=1.0)
    assert outcomes(attempts) == [Outcome.LATE, Outcome.IN_TIME]
    assert attempts[0].took_s >= 1.0 > attempts[1].took_s


def test_other_answers_are_refusals_or_failures(server: Scripted) -> None:
    attempts = played(server, "/busy", "/odd", "/no-http", "/drop", "/ok")
    failures = [Outcome.FAILED] * 3
    assert outcomes(attempts) == [Outcome.REFUSED, *failures, Outcome.IN_TIME]


def test_nobody_listens() -> None:
    job = Job(free_port(), ("/ok",), ((0.0, 0),), PATIENCE_S, retries=1)
    assert outcomes(Player(job).play()) == [Outcome.FAILED] * 2


def test_a_kept_connection_that_ended_meanwhile_costs_a_request_nothing(server: Scripted) -> None:
    assert outcomes(played(server, "/leave", "/ok")) == [Outcome.IN_TIME] * 2
    assert server.asked == [["/leave"], ["/ok"]]


@pytest.mark.parametrize(
    ("path", "outcome", "patience_s", "delay_s"),
    [("/busy", Outcome.REFUSED, PATIENCE_S, 0.0), ("/never", Outcome.LATE, 0.1, 0.1)],
)
def test_a_client_asks_again_at_once_and_so_often(
    server: Scripted, path: str, outcome: Outcome, patience_s: float, delay_s: float
) -> None:
    attempts = played(server, path, retries=2, patience_s=patience_s)
    assert outcomes(attempts) == [outcome] * 3
    assert [attempt.retry for attempt in attempts] == [0, 1, 2]
    begins = [attempt.at_s for attempt in attempts]
    assert begins[1] - begins[0] >= delay_s
    assert begins[2] - begins[1] >= delay_s


def test_latency_counts_from_when_a_request_was_due(server: Scripted) -> None:
    # Due before the start by more than what there is between the loop and the first request.
    (attempt,) = Player(Job(server.port, ("/ok",), ((-0.3, 0),), 30.0)).play()
    assert 0.2 <= attempt.late_s <= attempt.took_s
    (attempt,) = Player(Job(server.port, ("/ok",), ((-0.3, 0),), 0.2)).play()
    assert attempt.outcome is Outcome.LATE


def test_a_job_runs_in_a_process_of_its_own(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openloop, "LATE_S", 30.0)  # the machine of the tests may be busy
    before = os.sched_getaffinity(0)
    job = Job(server.port, ("/ok", "/busy"), ((0.0, 0), (0.02, 1)), 30.0, fresh=True, retries=1)
    attempts = openloop.run(job, max(before))
    assert [(a.path, a.retry, a.outcome) for a in attempts] == [
        (0, 0, Outcome.IN_TIME),
        (1, 0, Outcome.REFUSED),
        (1, 1, Outcome.REFUSED),
    ]
    assert os.sched_getaffinity(0) == before


def test_what_stops_the_process_is_an_error_that_says_why() -> None:
    with pytest.raises(LoadError, match="port must be 0-65535"):
        openloop.run(Job(99_999, ("/ok",), ((0.0, 0),), 1.0), max(os.sched_getaffinity(0)))


def test_the_process_reads_a_job_and_writes_requests(server: Scripted) -> None:
    job = {"port": server.port, "paths": ["/ok"], "schedule": [[0.0, 0]], "patience_s": 30.0}
    child = [sys.executable, "-m", "bench.openloop"]
    output = subprocess.run(child, input=json.dumps(job), capture_output=True, text=True, check=True).stdout
    ((at_s, path, retry, late_s, took_s, outcome),) = json.loads(output)
    assert (at_s, path, retry, outcome) == (0.0, 0, 0, "in time")
    assert 0 <= late_s <= took_s


def test_a_generator_that_is_late_is_an_error() -> None:
    attempts = [Attempt(0.0, 0, late_s=0.001)] * 98 + [
        Attempt(0.0, 0, late_s=late_s) for late_s in (0.019, 9.0)
    ]
    assert openloop.check_lateness(attempts) == 0.019
    late = [*attempts, Attempt(0.0, 0, late_s=0.021)]
    with pytest.raises(LoadError, match="late: p99 21 ms, at most 20"):
        openloop.check_lateness(late)
    # A retry is due when it is sent, and says nothing.
    openloop.check_lateness([*attempts, Attempt(0.0, 0, retry=1, late_s=9.0)])


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Answer(200, keeps=True)),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nCONNECTION: Close\r\n\r\n", Answer(503, keeps=False)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", Answer(200, keeps=False)),
        (b"HTTP/1.1 200 OK\r\n\r\n", Answer(200, keeps=False)),
    ],
)
def test_an_answer_is_read_when_it_is_whole(data: bytes, answer: Answer | None) -> None:
    assert parse(data) == answer


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"HTTP/1.1 ok\r\n\r\n", b"\r\n\r\n"])
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        parse(data)


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([5.0], 0.99) == 5.0
