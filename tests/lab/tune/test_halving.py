"""Successive halving keeps the better half, keeps to its time, and takes the preferred of what is tied."""

import pytest

from halfsync.lab.tune.halving import Round, Trial, halve, ranked, rounds

SCORES = {"a": 100.0, "b": 98.0, "c": 60.0, "d": 50.0, "e": 40.0, "f": 10.0}


def test_each_round_gets_the_same_time() -> None:
    plan = rounds(16, 64.0, overhead_s=0.5, least_s=0.1)
    assert [one.arms for one in plan] == [16, 8, 4, 2]
    assert [one.arms * (one.seconds + 0.5) for one in plan] == pytest.approx([16.0] * 4)


def test_no_measurement_is_shorter_than_what_says_something() -> None:
    assert all(one.seconds == 0.8 for one in rounds(16, 1.0, overhead_s=0.5, least_s=0.8))
    assert rounds(1, 10.0, overhead_s=0.5, least_s=0.8) == (Round(0, 1, 9.5),)


def test_the_better_half_goes_on() -> None:
    measured: list[tuple[str, int]] = []

    def measure(arm: str, one: Round) -> float:
        measured.append((arm, one.number))
        return SCORES[arm]

    trials = halve(list(SCORES), rounds(6, 60.0, 0.0, 1.0), measure, str)
    assert [arm for arm, number in measured if number == 1] == ["a", "b", "c"]
    assert [arm for arm, number in measured if number == 2] == ["a", "b"]
    assert trials[0] == Trial("a", 0, 60.0 / 3 / 6, 100.0)


def test_of_the_tied_those_go_on_that_are_preferred() -> None:
    trials = [Trial(arm, 0, 1.0, score) for arm, score in SCORES.items()]
    assert ranked(trials, lambda arm: -ord(arm)) == ["b", "a", "c", "d", "e", "f"]


def test_what_failed_does_not_go_on() -> None:
    trials = halve(
        ["a", "b", "c"], rounds(3, 30.0, 0.0, 1.0), lambda arm, _one: SCORES[arm] if arm != "a" else None, str
    )
    assert [trial.arm for trial in trials if trial.round == 1] == ["b", "c"]


def test_nothing_is_left_if_everything_failed() -> None:
    assert halve(["a", "b", "c"], rounds(3, 30.0, 0.0, 1.0), lambda _arm, _one: None, str)[-1].round == 0


def test_it_ends_when_the_time_is_over_but_not_in_the_first_round() -> None:
    measured: list[str] = []

    def measure(arm: str, _one: Round) -> float:
        measured.append(arm)
        return 1.0

    halve(list(SCORES), rounds(6, 60.0, 0.0, 1.0), measure, str, lambda: len(measured) > 1)
    assert measured == list(SCORES)
    measured.clear()
    halve(list(SCORES), rounds(6, 60.0, 0.0, 1.0), measure, str, lambda: len(measured) > 7)
    assert measured == [*SCORES, "a", "b"]
