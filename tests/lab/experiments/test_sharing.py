"""The verdict on what is shared follows from the figures, and each kind of worker is measured."""

import dataclasses
import socket
import threading

import pytest

from halfsync.lab.errors import MeasureError
from halfsync.lab.experiment import Cell, Outcome, Plan
from halfsync.lab.experiments import sharing
from halfsync.lab.experiments.sharing import (
    CHILDREN,
    FLAGS,
    FORKED,
    MEMORY_MB,
    PROCESSES,
    READING,
    THREADS,
    Sharing,
    per_worker,
)
from halfsync.lab.laboratory import Laboratory
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import samples, without
from tests.lab.experiments.judging import judged


def curve(each_mb: float, descriptors: float = 0.0) -> dict[float, dict[str, float]]:
    """Return workers, each further one of which takes so much."""
    return {
        workers: {"memory_mb": 90 + each_mb * workers, "descriptors": 10 + descriptors * workers}
        for workers in (1.0, 4.0, 8.0)
    }


TYPICAL = {
    THREADS: curve(0.1),
    PROCESSES: curve(75.0, 12.0),
    FORKED: curve(5.0, 12.0),
    READING: curve(70.0, 12.0),
    CHILDREN: curve(3.0, 12.0),
}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(Sharing(), found)


def test_typical_figures_are_a_claim_within_a_limit() -> None:
    outcome, sentence = judge(samples(TYPICAL))
    assert outcome is Outcome.WITHIN_A_LIMIT
    assert "0.1 MB (0.098 to 0.102) as a thread" in sentence
    assert "5 MB (4.9 to 5.1) forked from one that has loaded" in sentence
    assert "70 MB (68.6 to 71.4) forked, if it only looks" in sentence
    assert "Open descriptors: 0 more for a thread, 12 (11.8 to 12.2) more for a forked process." in sentence


def test_it_holds_if_forked_processes_copy_too() -> None:
    copies = {**TYPICAL, FORKED: curve(70.0), CHILDREN: curve(66.0)}
    assert judge(samples(copies))[0] is Outcome.HOLDS


def test_one_kind_of_forked_process_that_shares_is_enough_for_a_limit() -> None:
    assert judge(samples({**TYPICAL, FORKED: curve(70.0)}))[0] is Outcome.WITHIN_A_LIMIT
    assert judge(samples(without(TYPICAL, CHILDREN)))[0] is Outcome.WITHIN_A_LIMIT


@pytest.mark.parametrize(("threads", "processes"), [(0.1, 10.0), (70.0, 75.0)])
def test_it_is_not_seen_if_processes_share_or_threads_copy(threads: float, processes: float) -> None:
    other = {**TYPICAL, THREADS: curve(threads), PROCESSES: curve(processes)}
    assert judge(samples(other))[0] is Outcome.NOT_SEEN


def test_noise_far_below_the_limits_changes_nothing() -> None:
    assert judge(samples(TYPICAL, rounds=(0.8, 1.0, 1.3)))[0] is Outcome.WITHIN_A_LIMIT


@pytest.mark.parametrize("missing", [(THREADS,), (PROCESSES,), (FORKED, CHILDREN), tuple(TYPICAL)])
def test_without_threads_processes_and_forked_ones_nothing_is_said(missing: tuple[str, ...]) -> None:
    assert judge(samples(without(TYPICAL, *missing)))[0] is Outcome.NOT_MEASURED


def test_one_worker_says_nothing() -> None:
    single = {arm: {1.0: curve[1.0]} for arm, curve in TYPICAL.items()}
    assert judge(samples(single))[0] is Outcome.NOT_MEASURED
    assert per_worker(samples(single), THREADS, "memory_mb") is None


def test_its_plan_has_all_kinds_of_workers(laboratory: Laboratory) -> None:
    plan = Sharing().plan(laboratory)
    assert {cell.arm for cell in plan.cells} == set(FLAGS)
    assert plan.reference in plan.cells


@pytest.mark.parametrize(
    ("free_mb", "workers"), [(100, {1.0}), (600, {1.0, 2.0}), (10_000, {1.0, 2.0, 4.0, 8.0})]
)
def test_its_plan_fits_the_memory(free_mb: int, workers: set[float], laboratory: Laboratory) -> None:
    limits = dataclasses.replace(
        laboratory.machine.limits, memory_bytes=free_mb << 20, cgroup_memory_bytes=None
    )
    small = Laboratory(
        dataclasses.replace(laboratory.machine, limits=limits), laboratory.wanted, laboratory.deadline
    )
    plan = Sharing().plan(small)
    assert {cell.place for cell in plan.cells} == workers
    assert bool(plan.notes) == (len(workers) < 4)


@pytest.mark.parametrize("arm", list(FLAGS))
def test_a_cell_is_measured(arm: str, laboratory: Laboratory) -> None:
    plan = Plan((), Cell(arm, 2.0), "memory_mb")
    metrics = Sharing().measure(Cell(arm, 2.0), plan, laboratory).metrics
    copies = 2 if arm in (PROCESSES, READING) else 1
    assert MEMORY_MB * copies < metrics["memory_mb"] < MEMORY_MB * (copies + 2)
    assert metrics["descriptors"] > 3
    assert metrics["page_tables_mb"] > 0.1


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 500 no\r\n\r\n"])
def test_a_client_without_an_answer_is_an_error(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(MeasureError), sharing.clients(listener.getsockname()[1], 1):
            pass
        thread.join()


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(MeasureError, match="no answer"), sharing.clients(port, 1):
        pass
