"""Numbers that callers give, of every type that Python has, and of others."""

from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest

from halfsync.amounts import LONGEST_S, count, digits, real, seconds, shown, whole

INF, NAN = float("inf"), float("nan")


class Four(IntEnum):
    FOUR = 4


class Broken:
    def __repr__(self) -> str:
        raise LookupError

    def __index__(self) -> int:
        raise LookupError


class Scalar(float):
    """A float of another library, as numpy.float64 is."""


NO_NUMBERS: list[Any] = [
    True, False, "1", "1s", b"1", bytearray(b"1"), [1], (1,), {}, object(), 1j, int, lambda: 1, Broken(),
    Decimal("sNaN"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=lambda one: type(one).__name__)
def test_what_is_no_number(wrong: object) -> None:
    assert real(wrong) is None
    assert whole(wrong) is None
    with pytest.raises(TypeError, match=r"^timeout must be a number of seconds or None, not \w+$"):
        seconds(wrong)
    with pytest.raises(TypeError, match=r"^threads must be an integer, not \w+$"):
        count(wrong, "threads", 1, 9)


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        (None, None),
        (0, 0.0),
        (-0.0, 0.0),
        (2, 2.0),
        (1.5, 1.5),
        (Four.FOUR, 4.0),
        (Scalar(1.5), 1.5),
        (Fraction(3, 2), 1.5),
        (Decimal("1.5"), 1.5),
        (5e-324, 5e-324),
        (LONGEST_S, LONGEST_S),
        (LONGEST_S * 1.1, None),
        (INF, None),
        (1e300, None),
        (10**400, None),
        (Fraction(10**400), None),
        (Decimal("1e999999"), None),
        (Decimal("Infinity"), None),
        (-1, 0.0),
        (-INF, 0.0),
        (-(10**400), 0.0),
        (Decimal("-1e999999"), 0.0),
    ],
    ids=str,
)
def test_durations(given: object, limit: float | None) -> None:
    got = seconds(given)
    assert got == limit
    assert got is None or type(got) is float


@pytest.mark.parametrize("nan", [NAN, -NAN, Scalar("nan"), Decimal("NaN")])
def test_nan_is_no_duration(nan: object) -> None:
    with pytest.raises(ValueError, match="not NaN"):
        seconds(nan)


def test_scalars_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    assert seconds(numpy.float32(1.5)) == seconds(numpy.float64(1.5)) == 1.5
    assert seconds(numpy.int64(2)) == 2.0
    assert seconds(numpy.float64("inf")) is None
    assert count(numpy.int64(2), "n", 1, 9) == 2
    for wrong in (numpy.bool_(True), numpy.array([1.0, 2.0]), numpy.complex128(1)):
        with pytest.raises(TypeError):
            seconds(wrong)


def test_counts() -> None:
    assert count(4, "n", 1, 9) == count(Four.FOUR, "n", 1, 9) == 4
    assert type(count(Four.FOUR, "n", 1, 9)) is int
    for wrong in (1.0, 1.5, INF, NAN, Fraction(2), Decimal(2), None):
        with pytest.raises(TypeError, match="must be an integer"):
            count(wrong, "n", 1, 9)
    for far in (0, 10, -1, 10**30, -(10**5000), 10**5000):
        with pytest.raises(ValueError, match=r"^n must be 1 to 9, not .{1,80}$"):
            count(far, "n", 1, 9)


def test_digits() -> None:
    assert digits("0") == 0
    assert digits("00042") == 42
    assert digits("9" * 20) == int("9" * 20)
    for wrong in ("", "-1", "+1", "1.0", " 1", "1_0", "٣", "²", "9" * 21, "9" * 5000):
        assert digits(wrong) is None


def test_any_value_can_be_shown_on_one_short_line() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    for value in (10**5000, nested, Broken(), "a\nb", "x" * 1000, "\udc80", {"a": 10**5000}, None):
        text = shown(value)
        assert 0 < len(text) <= 80
        assert "\n" not in text
    while nested:  # or freeing it would go as deep
        nested = nested[0]
