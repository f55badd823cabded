"""Whether a connection stays after a response: each reason to close by itself, and all of them together."""

from itertools import product

import pytest

from halfsync.testing import rules


def test_a_connection_stays_only_if_asked_enabled_and_not_ending() -> None:
    for asked, enabled, ending in product((True, False), repeat=3):
        stays = rules.may_stay(asked=asked, enabled=enabled, ending=ending)
        assert stays == (asked and enabled and not ending)


@pytest.mark.parametrize(
    ("answered", "answers_max", "stays"),
    [(1, 0, True), (2**31 - 1, 0, True), (1, 1, False), (1, 2, True), (2, 2, False), (3, 2, False)],
)
def test_a_connection_ends_with_the_last_request_that_it_may_have(
    answered: int, answers_max: int, stays: bool
) -> None:
    assert rules.may_stay(answered=answered, answers_max=answers_max) == stays


def test_a_response_may_end_its_connection() -> None:
    for may, closes, until_close in product((True, False), repeat=3):
        stays = rules.stays_after(may=may, closes=closes, until_close=until_close)
        assert stays == (may and not closes and not until_close)
