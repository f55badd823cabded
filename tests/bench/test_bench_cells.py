"""Figures made of cells, their medians and ratios."""

import pytest
from bench.cells import Cell, Results, Spread, ratio
from bench.load import Load
from bench.proc import Cpu, Memory

from bench import cells


def cell(server: str, number: int, cpu_s: float, requests: int = 1_000_000, errors: int = 0) -> Cell:
    load = Load(requests, 2.0, requests * 150, 300, 900, bad_status=errors, socket_errors=0)
    return Cell(
        server, "hello-64", number, load=load, cpu=Cpu(cpu_s, cpu_s), memory=Memory(20_000, 12_000, 9_000)
    )


def test_the_figures_of_one_cell() -> None:
    one = cell("floor", 0, 5.0)
    assert cells.cpu_us(one) == pytest.approx(5.0)
    assert cells.rps(one) == pytest.approx(500_000)
    assert cells.mb_per_s(one) == pytest.approx(75)
    assert cells.cpu_s_per_gb(one) == pytest.approx(5.0 / 0.15)
    assert cells.rss_mb(one) == pytest.approx(20.48)


def test_a_cell_without_a_measurement_has_no_figures() -> None:
    failed = Cell("floor", "hello-64", 0, failure="did not start")
    for metric in (cells.cpu_us, cells.rps, cells.p99_us, cells.idle_bytes, cells.startup_ms, cells.rss_mb):
        assert metric(failed) is None
    assert cells.cpu_us(cell("floor", 0, 1.0, requests=0)) is None


def test_a_spread_is_the_median_between_the_extremes() -> None:
    assert Spread.of([5.0, 9.0, 6.0]) == Spread(6.0, 5.0, 9.0)
    assert Spread.of([4.0, 6.0]) == Spread(5.0, 4.0, 6.0)
    assert Spread.of([]) is None


def test_results_take_a_row_or_several_together() -> None:
    failed = Cell("halfsync", "hello-64", 2, failure="ended under load: SIGSEGV")
    rows = [cell("halfsync", 0, 6.0), cell("halfsync", 1, 8.0), cell("halfsync-again", 0, 10.0, errors=3)]
    results = Results([*rows, failed])
    assert results.mid(cells.cpu_us, "hello-64", "halfsync") == pytest.approx(7.0)
    assert results.mid(cells.cpu_us, "hello-64", "halfsync", "halfsync-again") == pytest.approx(8.0)
    assert results.mid(cells.cpu_us, "post", "halfsync") is None
    assert results.errors("hello-64", "halfsync-again") == (3, 0)
    assert results.failures("hello-64", "halfsync") == ("ended under load: SIGSEGV",)


def test_a_ratio_needs_both_figures() -> None:
    assert ratio(6.0, 4.0) == 1.5
    assert ratio(None, 4.0) is None
    assert ratio(6.0, None) is None
    assert ratio(6.0, 0.0) is None
