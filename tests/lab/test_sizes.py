"""How many clients are possible within the limits of a machine, and what stands in for those that are not."""

from dataclasses import replace

import pytest

from halfsync.lab.machine import Limits
from halfsync.lab.sizes import Most, most_clients, within

WIDE = Limits(
    descriptors_soft=1024,
    descriptors_hard=1 << 20,
    processes=None,
    pid_max=4_000_000,
    threads_max=4_000_000,
    cgroup_pids=None,
    memory_bytes=1 << 40,
    cgroup_memory_bytes=None,
    ports=28_232,
    backlog=4096,
)
MODELS = ("process", "thread", "pool", "proactor")


@pytest.mark.parametrize("model", MODELS)
def test_descriptors_and_ports_bound_every_model(model: str) -> None:
    assert most_clients(WIDE, model) == Most(WIDE.connections, "descriptors and ports")
    few = replace(WIDE, descriptors_hard=1024)
    assert most_clients(few, model).clients < 1024


@pytest.mark.parametrize(
    ("model", "bound"), [("process", True), ("thread", True), ("pool", False), ("proactor", False)]
)
def test_pids_bound_what_makes_one_for_each_client(model: str, bound: bool) -> None:
    most = most_clients(replace(WIDE, cgroup_pids=1000), model)
    assert (most.clients < 1000) == bound
    assert (most.reason == "the number of processes and threads") == bound


def test_memory_bounds_the_models_by_what_a_client_takes() -> None:
    small = replace(WIDE, memory_bytes=1 << 30)
    sizes = [most_clients(small, model) for model in MODELS]
    assert [most.reason for most in sizes] == ["memory"] * 4
    assert sizes[0].clients < sizes[1].clients < sizes[2].clients == sizes[3].clients
    assert 100 < sizes[0].clients < 500
    assert sizes[3].clients > 9_000


def test_what_fits_stays_as_it_is() -> None:
    assert within((1, 10, 100), Most(100, "memory"), "thread") == ((1, 10, 100), ())


def test_the_largest_that_fits_stands_in_for_what_does_not() -> None:
    assert within((1, 10, 1000, 10_000), Most(321, "memory"), "process") == (
        (1, 10, 321),
        ("process: 321 clients instead of 10,000, because of memory",),
    )


def test_one_client_is_always_tried() -> None:
    possible, notes = within((10, 100), Most(-50, "descriptors and ports"), "pool")
    assert possible == (1,)
    assert notes
