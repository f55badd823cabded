"""X-Request-Start: its units, what is no time, and clocks that do not agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfsync.testing.proxies import WINDOW_NS, PyProxyClock, request_age

MS = 1_000_000
S = 1000 * MS
NOW = 1_790_000_000 * S + 123_456_789  # in the year 2026
DAY = 24 * 60 * 60 * S


@pytest.mark.parametrize(
    ("value", "age"),
    [
        (b"1790000000", 123_456_789),
        (b"t=1790000000", 123_456_789),
        (b"1789999999.000", S + 123_456_789),
        (b"t=1790000000.123", 456_789),
        (b"1790000000123", 456_789),
        (b"t=1790000000000", 123_456_789),
        (b"1790000000123456", 789),
        (b"t=1790000000123456789", 0),
        (b"1790000001", 123_456_789 - S),
    ],
)
def test_the_units_are_told_apart_by_their_size(value: bytes, age: int) -> None:
    found = request_age(value, NOW)
    assert found is not None
    assert abs(found - age) <= 1000  # a fraction is read as a double


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"t=",
        b"t",
        b"=1790000000",
        b"x1790000000",
        b"1790000000x",
        b"1790000000 1790000000",
        b"1790000000, 1790000001",
        b"-1790000000",
        b"+1790000000",
        b".5",
        b"1e9",
        b"1790000000.12.3",
        b"99999999999999999999",
        b"9" * 400,
        b"0",
        b"1789900000",  # a day and more ago
        b"1790100000",
    ],
)
def test_what_is_no_time_of_today_is_ignored(value: bytes) -> None:
    assert request_age(value, NOW) is None


@given(value=st.binary(max_size=40))
def test_any_bytes_are_a_time_of_today_or_ignored(value: bytes) -> None:
    age = request_age(value, NOW)
    assert age is None or -DAY < age < DAY


@given(age=st.integers(-DAY + S, DAY - S), unit=st.sampled_from([1, 1000, MS, S]))
def test_any_time_of_today_is_read(age: int, unit: int) -> None:
    found = request_age(b"t=%d" % ((NOW - age) // unit), NOW)
    assert found is not None
    assert 0 <= found - age <= unit


def test_the_least_age_of_late_is_the_difference_of_the_clocks() -> None:
    clock = PyProxyClock()
    assert clock.note(1, 700 * MS) == 0
    assert clock.note(2, 1000 * MS) == 300 * MS
    assert clock.note(3, 600 * MS) == 0
    assert clock.note(4, 1000 * MS) == 400 * MS


def test_a_request_from_the_future_makes_no_other_one_old() -> None:
    clock = PyProxyClock()
    assert clock.note(1, -DAY // 2) == 0
    assert clock.note(2, 5 * MS) == 5 * MS


def test_a_difference_is_forgotten_after_two_windows() -> None:
    clock = PyProxyClock()
    clock.note(1, 0)
    assert clock.note(WINDOW_NS + 1, 500 * MS) == 500 * MS  # the one before still counts
    assert clock.note(2 * WINDOW_NS + 1, 500 * MS) == 0
    later = PyProxyClock()
    later.note(1, 0)
    assert later.note(3 * WINDOW_NS, 500 * MS) == 0  # nothing came for two windows
