"""The bench of an application measures for real: what a request takes, and what settings are worth."""

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

import halfsync
from halfsync.lab import machine
from halfsync.lab.errors import MeasureError
from halfsync.lab.tune.candidates import DEFAULT, Candidate
from halfsync.lab.tune.measuring import Measuring, turns

APPLICATION = "halfsync.lab.applications:app"
PATIENCE_S = 1.0


def bench(paths: Sequence[str], *flags: str, supervised: bool = False) -> Measuring:
    return Measuring(APPLICATION, paths, machine.read(), flags=flags, supervised=supervised)


def test_a_request_that_waits_takes_time_and_no_processor() -> None:
    wall_s, cpu_s = bench(["/sleep/20"]).alone()
    assert wall_s >= 0.02
    assert cpu_s < 0.01


def test_a_request_that_computes_takes_the_processor() -> None:
    wall_s, cpu_s = bench(["/burn/5"]).alone()
    assert wall_s >= 0.005
    assert cpu_s >= 0.0048  # less what the clocks differ


def test_several_paths_are_requested_alike() -> None:
    wall_s, _ = bench(["/sleep/100", "/sleep/20"]).alone()
    assert 0.04 < wall_s < 0.1
    only_once = bench(["/sleep/100", "/sleep/100", "/sleep/20"]).alone()[0]
    assert only_once > wall_s


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_that_wait_answer_as_many_as_there_is_time_for(threads: int) -> None:
    point = bench(["/sleep/20"]).saturated(Candidate(threads=threads), 0.5, PATIENCE_S)
    assert point.threads == threads
    assert 10 * threads < point.rate <= 50 * threads
    assert 0 < point.processors < 1


def test_processes_answer_more_than_one() -> None:
    point = bench(["/sleep/20"]).saturated(Candidate(workers=2, threads=4), 0.5, PATIENCE_S)
    assert 200 < point.rate <= 400


def test_goodput_is_what_is_answered_in_time_under_too_much_load() -> None:
    score = bench(["/sleep/20"]).goodput(DEFAULT, 400.0, 1.0, PATIENCE_S)
    assert 50 < score.goodput < 210
    assert 0.02 <= score.p99_s <= PATIENCE_S


def test_nothing_in_time_is_no_fault() -> None:
    score = bench(["/sleep/300"]).goodput(DEFAULT, 20.0, 0.5, 0.1)
    assert (score.goodput, score.p99_s) == (0.0, 0.1)


@pytest.mark.parametrize("path", ["/nothing", "/burn/many"])
def test_a_path_that_is_not_answered_with_success_is_named(path: str) -> None:
    with pytest.raises(MeasureError, match=f"GET {path} is not answered with a success: errors"):
        bench(["/", path]).alone()


def test_settings_that_do_not_start_fail() -> None:
    with pytest.raises(MeasureError, match="the server did not start"):
        bench(["/"], "--lanes", "nothing").saturated(DEFAULT, 0.5, PATIENCE_S)


def test_the_settings_of_the_working_directory_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "halfsync.toml").write_text("threads = 'many'\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(halfsync.__file__).parent.parent))
    monkeypatch.chdir(tmp_path)
    assert bench(["/"]).saturated(DEFAULT, 0.2, PATIENCE_S).rate > 0


def test_a_single_process_has_a_supervisor_if_hooks_need_one() -> None:
    hook = (
        "--worker-ready",
        "halfsync.lab.wording:share",
    )  # which fails if it is called so: that is only logged
    assert bench(["/"], *hook, supervised=True).saturated(DEFAULT, 0.2, PATIENCE_S).rate > 0
    with pytest.raises(MeasureError, match="worker_ready"):
        bench(["/"], *hook).saturated(DEFAULT, 0.2, PATIENCE_S)


def test_there_are_as_many_processes_as_fit_into_memory() -> None:
    found = bench(["/"])
    found.alone()
    memory = machine.read().limits.memory
    assert 1 < found.most_workers() < memory / 2**20


def test_the_generators_share_of_a_processor_is_kept() -> None:
    found = bench(["/"])
    found.saturated(DEFAULT, 0.2, PATIENCE_S)
    assert 0 < found.busiest <= 1


def test_metrics_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "admin"
    with pytest.raises(MeasureError, match="does not say its metrics: "):
        turns(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_close_next, args=(listener,))
        thread.start()
        with pytest.raises(MeasureError, match="do not say how long turns"):
            turns(path)
        thread.join()


def _close_next(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
