"""The buckets of histograms."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from halfsync.testing.measured import SIZES, TIMES, size_bucket, time_bucket

SECOND = 10**9


@pytest.mark.parametrize(
    ("bounds", "bucket"), [(TIMES, time_bucket), (SIZES, size_bucket)], ids=["times", "sizes"]
)
def test_a_value_is_in_the_first_bucket_whose_bound_it_does_not_pass(
    bounds: tuple[int, ...], bucket: Callable[[int], int]
) -> None:
    for position, bound in enumerate(bounds):
        assert (bucket(bound), bucket(bound + 1)) == (position, position + 1)
    assert bucket(0) == bucket(-1) == 0
    assert bucket(2**63 - 1) == len(bounds)


def test_the_bounds_are_close_enough() -> None:
    assert list(TIMES) == sorted(TIMES) and list(SIZES) == sorted(SIZES)
    assert all(later <= 3 * earlier for earlier, later in pairwise(TIMES))
    assert all(later == 4 * earlier for earlier, later in pairwise(SIZES[1:]))
    assert {100_000_000, SECOND, 60 * SECOND} <= set(TIMES)
    assert {0, 64 << 10, 1 << 30} <= set(SIZES)
