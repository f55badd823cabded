"""The load generator's process, and what is said of its figures."""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from halfsync.lab import generating, machine, server
from halfsync.lab.experiment import MeasureError
from halfsync.lab.generating import BUSY, LATE_S, bottleneck_of, latencies_of, reason_of, requests_of
from halfsync.lab.load import OWN, Load
from tests.lab.scripted import Scripted, accounted

CROWD = 10_000
APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""


def test_a_load_is_sent_by_a_process_of_its_own(peer: Scripted) -> None:
    cpu = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    load = Load(peer.port, 2, 1.0, warm_up_s=0.1, rate=50.0, paths=(("/", 2.0), ("/busy", 1.0)), grace_s=30.0)
    with generating.started(load, cpu=cpu) as generation:
        assert os.sched_getaffinity(generation.pid) == {cpu}
        assert os.sched_getaffinity(0) == before
        outcome = generation.wait()
    assert accounted(outcome) == outcome.due > 0
    assert outcome.answered > outcome.refused > 0
    assert outcome.rate == outcome.answered / 1.0


def test_it_ends_with_the_body_that_started_it(peer: Scripted) -> None:
    with generating.started(Load(peer.port, 1, 60.0)) as generation:
        pass
    assert not Path(f"/proc/{generation.pid}").exists()


def test_it_can_be_ended_before_its_time(peer: Scripted) -> None:
    with generating.started(Load(peer.port, 1, 3600.0, idle=3)) as generation:
        while sum(map(len, peer.asked)) < 5:  # from the fourth on, all connections are open
            os.sched_yield()
        outcome = generation.end()
    assert 0 < outcome.elapsed_s < 3600
    assert (outcome.open, outcome.idle_closed) == (4, 0)
    assert outcome.due == accounted(outcome)


def test_what_is_under_way_at_its_end_had_no_answer(peer: Scripted) -> None:
    with generating.started(Load(peer.port, 2, 3600.0, paths=(("/never", 1.0),), warm_up_s=0)) as generation:
        while sum(map(len, peer.asked)) < 2:
            os.sched_yield()
        outcome = generation.end()
    assert outcome.due == 2
    assert outcome.failed == {"no response by the end": 2}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_sends(peer: Scripted, number: signal.Signals) -> None:
    with generating.started(Load(peer.port, 1, 60.0, paths=(("/never", 1.0),))) as generation:
        while not any(peer.asked):  # from then on it is in its loop
            os.sched_yield()
        os.kill(generation.pid, number)
        with pytest.raises(MeasureError, match=f"failed with status -{number.value}: it says nothing"):
            generation.wait()


def test_what_stops_it_is_an_error_that_says_why(peer: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "asdict", lambda load: {"port": 0, "paths": []})
    with pytest.raises(MeasureError, match="failed with status 1: TypeError"):
        generating.run(Load(peer.port, 1, 1.0))


def test_one_that_does_not_end_is_killed(peer: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "longest_s", lambda load: 0.1)
    with pytest.raises(MeasureError, match="still running"):
        generating.run(Load(peer.port, 1, 60.0))


def test_the_process_reads_json_and_writes_json(peer: Scripted) -> None:
    given = json.dumps(asdict(Load(peer.port, 1, 0.1, warm_up_s=0, rate=100.0, even=True, grace_s=30.0)))
    child = [sys.executable, "-m", "halfsync.lab.generating"]
    output = subprocess.run(child, input=given, capture_output=True, text=True, check=True).stdout
    assert json.loads(output)["due"] == 9


def test_ten_thousand_connections_are_opened_and_kept(tmp_path: Path) -> None:
    limits = machine.read_limits()
    number = min(CROWD, limits.connections - 100)
    (tmp_path / "crowd_app.py").write_text(APP)
    with server.serving("crowd_app:app", chdir=tmp_path) as served:
        load = Load(
            served.port, 10, 0.5, warm_up_s=0, rate=100.0, idle=number - 10, grace_s=30.0, opening_s=60.0
        )
        outcome = generating.run(load)
    assert (outcome.open, outcome.failed, outcome.idle_closed) == (number, {}, 0)
    assert outcome.due == outcome.answered + outcome.unsent


def test_latencies_are_those_of_an_hdr_histogram() -> None:
    counts = [[1_000_000, 50], [2_000_000, 40], [30_000_000, 9], [400_000_000, 1]]
    found = latencies_of({"count": 100, "mean_ns": 8e6, "max_ns": 400_100_000, "counts": counts})
    assert (found.count, found.mean_s, found.max_s) == (100, 0.008, 0.4001)
    assert set(found.at) == {"50", "90", "99", "99.9"}
    for name, expected_s in {"50": 0.001, "90": 0.002, "99": 0.03, "99.9": 0.4}.items():
        assert expected_s <= found.at[name] <= expected_s * 1.001


def test_no_quantile_is_above_the_highest_value() -> None:
    found = latencies_of({"count": 1, "mean_ns": 5001.0, "max_ns": 5001, "counts": [[5000, 1]]})
    assert found.at["50"] == found.max_s == 5001e-9


def test_no_latencies_have_no_quantiles() -> None:
    assert latencies_of({"count": 0, "mean_ns": 0.0, "max_ns": 0, "counts": []}).at == {}


@pytest.mark.parametrize(
    ("late_s", "busy", "failed", "said"),
    [
        (LATE_S, BUSY, {"ECONNREFUSED": 3}, ""),
        (0.0, 0.97, {}, "the load generator used 97% of its processor"),
        (0.0071, 0.1, {}, "the load generator was 7.1 ms late at the 99th percentile"),
        (0.0, 0.1, {f"{OWN}EMFILE": 7}, "the load generator met limits of its own: EMFILE 7 times"),
        (
            0.006,
            0.99,
            {},
            "the load generator used 99% of its processor; "
            "the load generator was 6.0 ms late at the 99th percentile",
        ),
    ],
)
def test_a_generator_that_was_the_limit_says_so(
    late_s: float, busy: float, failed: dict[str, int], said: str
) -> None:
    assert bottleneck_of(late_s, busy, failed) == said


def test_limits_of_the_generator_are_told_apart_from_faults_of_the_server() -> None:
    assert [reason_of(number) for number in (104, 111, 24, 99)] == [
        "ECONNRESET",
        "ECONNREFUSED",
        f"{OWN}EMFILE",
        f"{OWN}EADDRNOTAVAIL",
    ]


def test_outcomes_add_up_what_has_the_same_reason() -> None:
    recorded: dict[str, Any] = {"count": 0, "mean_ns": 0.0, "max_ns": 0, "counts": []}
    names = (
        "due",
        "answered",
        "refused",
        "errors",
        "left",
        "unsent",
        "unopened",
        "came_again",
        "idle_closed",
    )
    found = dict.fromkeys((*names, "received_bytes", "sent_again", "opened_ns", "open", "cpu_ns"), 0)
    histograms = dict.fromkeys(("corrected", "uncorrected", "lateness"), recorded)
    outcome = generating.outcome_of(
        {**found, **histograms, "elapsed_ns": 10**9, "failed": {"24": 2, "111": 1}}
    )
    assert outcome.failed == {f"{OWN}EMFILE": 2, "ECONNREFUSED": 1}
    assert (outcome.elapsed_s, outcome.rate, outcome.busy) == (1.0, 0.0, 0.0)


def test_requests_are_as_a_client_sends_them() -> None:
    load = Load(80, 1, 1.0, paths=(("/a", 1.0), ("/b?c", 1.0)))
    assert requests_of(load) == [
        b"GET /a HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
        b"GET /b?c HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
    ]
    (request,) = requests_of(Load(80, 1, 1.0, body_bytes=3, fresh=True))
    assert request == (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Length: 3\r\nConnection: close\r\n\r\nxxx"
    )


def test_the_process_raises_its_limit_of_descriptors(peer: Scripted) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with generating.started(Load(peer.port, 1, 60.0)) as generation:
        while not any(peer.asked):
            os.sched_yield()
        assert resource.prlimit(generation.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
