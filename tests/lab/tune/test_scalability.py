"""The universal scalability law is found again in points that it has made, with noise."""

import math
import random

import pytest

from halfsync.lab.tune.scalability import Scalability, fit, in_service

THREADS = (1, 2, 4, 8, 16, 32, 64)


def points(law: Scalability, noise: float = 0.0, seed: int = 1) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    return [(threads, law.rate(threads) * chance.gauss(1, noise)) for threads in THREADS]


@pytest.mark.parametrize(
    "law",
    [
        Scalability(50.0, 0.0, 0.0),
        Scalability(500.0, 1.0, 0.0),
        Scalability(50.0, 0.05, 0.0),
        Scalability(120.0, 0.03, 0.0008),
        Scalability(9000.0, 0.6, 0.02),
    ],
)
def test_a_law_without_noise_is_found_exactly(law: Scalability) -> None:
    found = fit(points(law))
    assert found.single == pytest.approx(law.single)
    assert found.contention == pytest.approx(law.contention, abs=1e-9)
    assert found.coherency == pytest.approx(law.coherency, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_a_law_with_noise_is_found_nearly(seed: int) -> None:
    law = Scalability(120.0, 0.05, 0.0008)
    found = fit(points(law, noise=0.03, seed=seed))
    assert found.single == pytest.approx(law.single, rel=0.15)
    assert found.contention == pytest.approx(law.contention, abs=0.03)
    assert all(found.rate(threads) == pytest.approx(law.rate(threads), rel=0.1) for threads in THREADS)
    assert found.best_threads == pytest.approx(law.best_threads, rel=0.4)


@pytest.mark.parametrize("seed", range(20))
def test_no_coefficient_is_negative(seed: int) -> None:
    found = fit(points(Scalability(50.0, 0.0, 0.0), noise=0.1, seed=seed))
    assert found.contention >= 0
    assert found.coherency >= 0


def test_few_points_give_a_simple_law() -> None:
    found = fit([(1, 100.0)])
    assert (found.single, found.contention, found.coherency) == pytest.approx((100.0, 0.0, 0.0))
    found = fit([(1, 100.0), (2, 100.0)])
    assert found.rate(1) == pytest.approx(100.0)
    assert found.rate(2) == pytest.approx(100.0)
    with pytest.raises(ValueError, match="no throughput"):
        fit([])


def test_the_best_number_of_threads() -> None:
    assert Scalability(1.0, 0.1, 0.001).best_threads == pytest.approx(30.0)
    assert math.isinf(Scalability(1.0, 0.1, 0.0).best_threads)
    assert Scalability(1.0, 1.2, 0.1).best_threads == 0


def test_littles_law() -> None:
    assert in_service(200.0, 0.02) == pytest.approx(4.0)
