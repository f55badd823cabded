"""Metrics: what the admin engine makes of the memory that all processes share."""

import shutil
import subprocess
import time
from collections import Counter

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tools.write_metrics_page import families

from halfsync.shared.scoreboard import RESTARTS, STATES, Scoreboard
from halfsync.testing.measured import (
    LANES,
    METHODS,
    OUTCOMES,
    OUTCOMES_ROOM,
    SIZES,
    STATUSES,
    TIMES,
    add_request,
    class_of_method,
    count,
    count_lane,
    fill,
    metrics_text,
    set_blocking,
    set_gauges,
    set_lane,
)
from halfsync.testing.measured import STATES as CONNECTION_STATES
from tests.admin.exposed import Series, parse, value

MS = 1_000_000
SECOND = 1000 * MS


@pytest.fixture
def scoreboard() -> Scoreboard:
    scoreboard = Scoreboard(4)
    scoreboard.measure()
    return scoreboard


def read(scoreboard: Scoreboard) -> Series:
    return parse(metrics_text(scoreboard))


def test_requests_of_all_slots_are_summed_by_their_labels(scoreboard: Scoreboard) -> None:
    for number in (0, 2):
        slot = scoreboard.slot(number, measured=True)
        add_request(slot, "GET", 200, "ok")
        add_request(slot, "GET", 204, "ok")
        add_request(slot, "POST", 503, "shed")
        add_request(slot, "other", 0, "disconnected")
    series = read(scoreboard)
    assert value(series, "halfsync_requests_total", method="GET", status="2xx", outcome="ok") == 4
    assert value(series, "halfsync_requests_total", status="5xx", outcome="shed") == 2
    assert value(series, "halfsync_requests_total", status="none", outcome="disconnected") == 2
    assert value(series, "halfsync_requests_total") == 8


def test_a_histogram_has_what_fell_below_each_bound(scoreboard: Scoreboard) -> None:
    slot = scoreboard.slot(0, measured=True)
    for wait in (0, 100_000, 100_001, 3 * SECOND + 1, 100 * SECOND):
        add_request(slot, "GET", 200, "ok", queue_wait=wait, response_bytes=5)
    series = read(scoreboard)

    def below(bound: str) -> float:
        return value(series, "halfsync_queue_wait_seconds_bucket", le=bound)

    assert [below(bound) for bound in ("0.0001", "0.00025", "2.5", "5", "60", "+Inf")] == [2, 3, 3, 4, 4, 5]
    assert value(series, "halfsync_queue_wait_seconds_count") == 5
    assert value(series, "halfsync_queue_wait_seconds_sum") == pytest.approx(103.000200002, abs=1e-12)
    assert value(series, "halfsync_application_seconds_count") == 0  # it had no turn
    assert value(series, "halfsync_response_bytes_bucket", le="0") == 0
    assert value(series, "halfsync_response_bytes_bucket", le="64") == 5
    assert value(series, "halfsync_response_bytes_sum") == 25
    buckets = [labels for name, labels in series if name == "halfsync_queue_wait_seconds_bucket"]
    assert len(buckets) == len(TIMES) + 1
    assert len([1 for name, _ in series if name == "halfsync_request_bytes_bucket"]) == len(SIZES) + 1


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (1_500_000_000, "1.5"),
        (10**18, "1000000000"),
        (10**9 + 10, "1.00000001"),
    ],
)
def test_seconds_are_written_exactly(scoreboard: Scoreboard, ns: int, text: str) -> None:
    add_request(scoreboard.slot(0, measured=True), "GET", 200, "ok", queue_wait=ns)
    assert f"\nhalfsync_queue_wait_seconds_sum {text}\n" in metrics_text(scoreboard)


def test_counts_outlive_their_process_and_gauges_do_not(scoreboard: Scoreboard) -> None:
    slot = scoreboard.slot(1, measured=True)
    slot.take()
    add_request(slot, "GET", 200, "ok", queue_wait=SECOND)
    count(slot, accepted=3, made_room=1, evicted=1)
    set_gauges(
        slot,
        connections={"idle": 5},
        queued=2,
        oldest=time.monotonic_ns() - 4 * SECOND,
        busy=3,
        spooled=1000,
    )
    series = read(scoreboard)
    assert value(series, "halfsync_connections", state="idle") == 5
    assert value(series, "halfsync_queue_length") == 2
    assert 4 <= value(series, "halfsync_queue_age_seconds") < 60
    assert value(series, "halfsync_threads_busy") == 3
    assert value(series, "halfsync_spool_bytes") == 1000
    for _ in range(2):  # its process has ended; another takes the slot
        series = read(scoreboard)
        assert (
            value(series, "halfsync_requests_total") == value(series, "halfsync_queue_wait_seconds_sum") == 1
        )
        assert value(series, "halfsync_connections_accepted_total") == 3
        assert value(series, "halfsync_connections_evicted_total") == 2
        slot.clear()
        slot.take()
    series = read(scoreboard)
    for name in ("connections", "queue_length", "queue_age_seconds", "threads_busy", "spool_bytes"):
        assert value(series, f"halfsync_{name}") == 0, name


def test_what_is_left_of_the_connections_with_threads_receives(scoreboard: Scoreboard) -> None:
    slot = scoreboard.slot(0, measured=True)
    set_blocking(slot, open=10, running=2, queued=1, idle=4)
    series = read(scoreboard)
    shown = {state: value(series, "halfsync_connections", state=state) for state in CONNECTION_STATES}
    assert {state: number for state, number in shown.items() if number} == {
        "running": 2,
        "queued": 1,
        "idle": 4,
        "receiving": 3,
    }
    assert value(series, "halfsync_threads_busy") == 2
    set_blocking(slot, open=1, running=-1, queued=2)  # read in the middle of changes, or after a kill
    assert min(read(scoreboard).values()) == 0


def test_processes_are_counted_by_state_and_restarts_by_cause(scoreboard: Scoreboard) -> None:
    slots = [scoreboard.slot(number) for number in range(3)]
    for slot in slots:
        slot.take()
    for slot in slots[1:]:
        slot.serve()
    slots[1].stuck = 2
    scoreboard.note_restarts(Counter(crash=2, max_rss=1))
    series = read(scoreboard)
    shown = {state: value(series, "halfsync_processes", state=state) for state in STATES}
    assert shown == {"empty": 0, "booting": 1, "serving": 2, "closing": 0, "closed": 0}
    assert value(series, "halfsync_threads_stuck") == 2
    causes = {cause: value(series, "halfsync_process_restarts_total", cause=cause) for cause in RESTARTS}
    assert {cause: number for cause, number in causes.items() if number} == {"crash": 2, "max_rss": 1}
    assert abs(value(series, "halfsync_start_time_seconds") - time.time()) < 60


def lane_values(series: Series, name: str) -> dict[str, float]:
    """Return the samples of a family of lanes, by the name of the lane; those of one lane are summed."""
    found: Counter[str] = Counter()
    for (each, labels), number in series.items():
        if each == f"halfsync_lane_{name}":
            found[dict(labels)["lane"]] += number  # type: ignore[assignment]
    return dict(found)


def test_a_lane_is_summed_over_processes_by_its_name(scoreboard: Scoreboard) -> None:
    """Each generation has its own lanes, in its own order; a name means the same lane in all of them."""
    scoreboard.measure(["default", "api"])
    old, older = scoreboard.slot(0, measured=True), scoreboard.slot(1, measured=True)
    scoreboard.measure(["default", "reports", "api"])
    new = scoreboard.slot(2, measured=True)
    now = time.monotonic_ns()
    set_lane(old, "api", length=2, oldest=now - 40 * SECOND, busy=1)
    set_lane(older, "api", length=0, oldest=now - 90 * SECOND, busy=3)
    set_lane(new, "api", length=1, oldest=now - 20 * SECOND)
    set_lane(new, "reports", busy=2)
    for slot in (old, new):
        count_lane(slot, "api", taken=100, shed=20, expired=3)
    series = read(scoreboard)
    assert lane_values(series, "queue_length") == {"api": 3, "reports": 0}
    assert lane_values(series, "threads_busy") == {"api": 4, "reports": 2}
    ages = lane_values(series, "queue_age_seconds")
    assert 40 <= ages["api"] < 80 and ages["reports"] == 0
    assert lane_values(series, "requests_taken_total") == {"default": 0, "api": 200, "reports": 0}
    assert value(series, "halfsync_lane_requests_refused_total", lane="api", outcome="shed") == 40
    assert value(series, "halfsync_lane_requests_refused_total", lane="api", outcome="expired") == 6


def test_a_lane_that_no_process_has_keeps_its_counts(scoreboard: Scoreboard) -> None:
    scoreboard.measure(["default", "api"])
    slot = scoreboard.slot(0, measured=True)
    slot.take()
    set_lane(slot, "api", length=1, busy=1)
    count_lane(slot, "api", taken=5, shed=1)
    slot.clear()
    series = read(scoreboard)
    assert lane_values(series, "queue_length") == lane_values(series, "threads_busy") == {}
    assert lane_values(series, "requests_taken_total") == {"default": 0, "api": 5}
    assert lane_values(series, "requests_refused_total") == {"default": 0, "api": 1}


def test_lanes_past_the_names_that_there_is_room_for_are_counted_together(scoreboard: Scoreboard) -> None:
    names = [f"lane-{number}" for number in range(LANES + 3)]
    for name in names:
        scoreboard.measure([name, names[0]])
    slot = scoreboard.slot(0, measured=True)
    assert "(other)" not in metrics_text(scoreboard)
    for name in names:
        count_lane(slot, name, taken=1, expired=2)
    series = read(scoreboard)
    expected = dict.fromkeys(names[:LANES], 1.0) | {"(other)": 3}
    assert lane_values(series, "requests_taken_total") == expected
    assert lane_values(series, "requests_refused_total")["(other)"] == 6


def test_without_lanes_there_are_no_samples_of_lanes(scoreboard: Scoreboard) -> None:
    add_request(scoreboard.slot(0, measured=True), "GET", 200, "ok")
    assert not [name for name, _ in read(scoreboard) if name.startswith("halfsync_lane_")]


def test_without_memory_for_metrics_nothing_can_be_measured() -> None:
    scoreboard = Scoreboard(1)
    scoreboard.note_restarts(Counter(crash=1))
    scoreboard.slot(0).clear()
    with pytest.raises(ValueError, match="no memory for metrics"):
        scoreboard.slot(0, measured=True)


def test_the_largest_values_fit_and_what_does_not_fit_ends_with_a_line(scoreboard: Scoreboard) -> None:
    scoreboard.measure(f"{number:x<32}" for number in range(LANES))
    fill(scoreboard.slot(0, measured=True))
    text = metrics_text(scoreboard)
    combinations = len(METHODS) * len(STATUSES) * OUTCOMES_ROOM
    assert text.count("halfsync_requests_total{") == combinations
    assert len(text) < 128 * 1024  # half of the room that there is
    assert "halfsync_engine_lag_seconds_count" in text.splitlines()[-1]  # the last one of all
    for room in (0, 100, 600, 5000):
        cut = metrics_text(scoreboard, room)
        assert len(cut) <= room and text.startswith(cut) and cut[-1:] in ("", "\n")


def test_names_and_types_are_those_of_the_documentation(scoreboard: Scoreboard) -> None:
    found = [(family.name, family.type, family.documentation) for family in _families(scoreboard)]
    documented = [(row.name.removesuffix("_total"), row.kind, row.about) for row in families()]
    assert found == documented


def _families(scoreboard: Scoreboard) -> list[Metric]:
    return list(text_string_to_metric_families(metrics_text(scoreboard)))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_no_fault(scoreboard: Scoreboard) -> None:
    slot = scoreboard.slot(0, measured=True)
    for outcome in OUTCOMES[1:]:
        add_request(
            slot,
            "GET",
            200,
            outcome,
            queue_wait=1,
            application=2,
            response=3,
            request_bytes=4,
            response_bytes=5,
        )
    scoreboard.measure(["default", "api-2_x"])
    set_lane(slot, "api-2_x", length=1, busy=2)
    count_lane(slot, "api-2_x", taken=3, shed=4, expired=5)
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=metrics_text(scoreboard),
        text=True,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (b"GET", "GET"),
        (b"OPTIONS", "OPTIONS"),
        (b"DELETE", "DELETE"),
        (b"get", "other"),
        (b"", "other"),
        (b"GETT", "other"),
    ],
)
def test_methods_that_are_not_counted_apart_are_other(method: bytes, name: str) -> None:
    assert class_of_method(method) == name


def test_each_name_is_there_once() -> None:
    for names in (METHODS, STATUSES, OUTCOMES, CONNECTION_STATES, RESTARTS, STATES):
        assert len(set(names)) == len(names)
    assert len(OUTCOMES) <= OUTCOMES_ROOM
