"""Judges compare beyond noise and spreads, and write figures as a sentence has them."""

import pytest

from halfsync.lab.experiment import Outcome
from halfsync.lab.judging import exceeds, listed, not_measured, number, percent, said
from halfsync.lab.samples import Figure


@pytest.mark.parametrize(
    ("more", "less", "times", "noise", "expected"),
    [
        (Figure(20, 19, 21, 3), Figure(9, 8, 10, 3), 2.0, None, True),
        (Figure(20, 19, 21, 3), Figure(9, 8, 10, 3), 3.0, None, False),
        (Figure(20, 19, 21, 3), Figure(9, 8, 10, 3), 2.0, 0.2, False),  # within the noise of the limit
        (Figure(20, 9, 21, 3), Figure(9, 8, 10, 3), 2.0, None, False),  # the spreads overlap
        (Figure(20, 20, 20, 1), Figure(0, 0, 0, 1), 5.0, 0.1, True),
    ],
)
def test_a_difference_must_be_larger_than_factor_noise_and_spreads(
    more: Figure, less: Figure, times: float, noise: float | None, expected: bool
) -> None:
    assert exceeds(more, less, times, noise) is expected


def test_numbers_have_three_digits_and_commas() -> None:
    assert [number(value) for value in (0, 0.01234, 1.5, 12.34, 123.4, 12345.6)] == [
        "0",
        "0.0123",
        "1.5",
        "12.3",
        "123",
        "12,346",
    ]


def test_a_figure_is_said_with_its_spread_if_it_has_one() -> None:
    assert said(Figure(0.00123, 0.0012, 0.0013, 3), "ms", 1000) == "1.23 ms (1.2 to 1.3)"
    assert said(Figure(5, 5, 5, 1)) == "5"
    assert percent(Figure(93.2, 91.4, 95, 3)) == "93 % (91 to 95)"
    assert percent(Figure(93.2, 93.1, 93.3, 3)) == "93 %"


def test_words_are_listed_as_in_a_sentence() -> None:
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_what_is_missing_is_said() -> None:
    verdict = not_measured("A long stall was")
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert verdict.sentence == "A long stall was not measured, so nothing can be said."
