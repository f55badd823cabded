"""How fast a client must be: judged by whole windows, of bodies and of responses."""

import pytest

from halfsync.testing import rules

WINDOW, LEAST = 100, 10
LIMITS = {"body": "least_received", "reading": "least_taken"}


@pytest.mark.parametrize("awaited", LIMITS)
@pytest.mark.parametrize(
    ("age", "moved", "slow", "begins"),
    [
        (0, 0, False, False),
        (WINDOW - 1, 0, False, False),  # the window has not ended
        (WINDOW, LEAST - 1, True, False),
        (WINDOW, LEAST, False, True),
        (10 * WINDOW, 1000 * LEAST, False, True),  # what moved earlier does not count in the next
    ],
)
def test_a_window_is_judged_when_it_has_ended(
    awaited: str, age: int, moved: int, slow: bool, begins: bool
) -> None:
    limits = {"least_received": 0, "least_taken": 0, LIMITS[awaited]: LEAST}
    judged = rules.is_too_slow(awaited, since=1000, moved=moved, now=1000 + age, window=WINDOW, **limits)
    assert judged == (slow, (1000 + age, 0) if begins else (1000, moved))


@pytest.mark.parametrize("awaited", sorted(set(rules.AWAITED) - set(LIMITS)))
def test_nothing_else_has_a_rate(awaited: str) -> None:
    judged = rules.is_too_slow(
        awaited, since=0, moved=0, now=10**9, window=1, least_received=1, least_taken=1
    )
    assert judged == (False, (0, 0))


@pytest.mark.parametrize("awaited", sorted(rules.AWAITED))
def test_the_next_check_is_never_after_the_deadline(awaited: str) -> None:
    check = rules.next_pace_check(awaited, pace_since=1000, deadline=1001, now=1000, window=80, write=80)
    assert check == 1001


@pytest.mark.parametrize(
    ("awaited", "check"),
    [("body", 1000 + 80), ("reading", 1030 + 20), ("head", 5000), ("request", 5000), ("close", 5000)],
)
def test_a_client_with_a_rate_is_checked_earlier(awaited: str, check: int) -> None:
    at = rules.next_pace_check(awaited, pace_since=1000, deadline=5000, now=1030, window=80, write=400)
    assert at == check


def test_a_reader_is_checked_more_often_than_its_deadline_passes() -> None:
    at = rules.next_pace_check("reading", pace_since=0, deadline=5000, now=1000, window=4000, write=400)
    assert at == 1000 + 100
