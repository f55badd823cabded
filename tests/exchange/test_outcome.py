"""The outcome of a request: the first one counts, and each has a name."""

from itertools import permutations

from halfsync.testing import rules


def test_each_outcome_has_a_name_of_its_own() -> None:
    assert rules.OUTCOMES == [
        "", "ok", "shed", "expired", "timed_out", "disconnected", "refused", "error",
    ]  # fmt: skip


def test_the_first_outcome_counts() -> None:
    for first, second in permutations(rules.OUTCOMES[1:], 2):
        assert rules.outcome([(first, b"why"), (second, b"later")]) == (first, b"why")
