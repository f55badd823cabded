"""How long a connection waits for its client, and what follows: each phase, and nothing but its own deadline."""

import pytest

from halfsync.testing import rules

SINCE = 1_000_000
TIMEOUT_OF = {  # what is awaited: the name of its timeout
    "handshake": "handshake",
    "first byte": "first_byte",
    "request": "keep_alive",
    "head": "head",
    "body": "body",
    "reading": "write",
    "close": "linger",
}


def test_every_wait_has_a_timeout() -> None:
    assert set(TIMEOUT_OF) == set(rules.AWAITED)


@pytest.mark.parametrize(("awaited", "timeout"), TIMEOUT_OF.items())
def test_each_wait_has_its_own_timeout(awaited: str, timeout: str) -> None:
    assert rules.deadline_after(awaited, since=SINCE, request=0, **{timeout: 77_777}) == SINCE + 77_777
    others = dict.fromkeys(set(TIMEOUT_OF.values()) - {timeout}, 1)
    assert (
        rules.deadline_after(awaited, since=SINCE, request=0, **others, **{timeout: 88_888}) == SINCE + 88_888
    )


@pytest.mark.parametrize(
    ("started", "total", "deadline"),
    [
        (SINCE - 40, 100, SINCE + 10),  # the gap between two pieces ends first
        (SINCE - 95, 100, SINCE + 5),  # the whole request
        (SINCE - 200, 100, SINCE - 100),
        (SINCE - 200, 0, SINCE + 10),  # no limit
    ],
)
def test_a_body_may_not_take_longer_than_its_request(started: int, total: int, deadline: int) -> None:
    assert rules.deadline_after("body", since=SINCE, started=started, body=10, request=total) == deadline


@pytest.mark.parametrize("awaited", sorted(set(TIMEOUT_OF) - {"body"}))
def test_only_a_body_has_the_limit_of_the_whole_request(awaited: str) -> None:
    limited = rules.deadline_after(awaited, since=SINCE, started=1, request=1)
    assert limited == rules.deadline_after(awaited, since=SINCE, started=1, request=0)


@pytest.mark.parametrize(
    ("awaited", "follows"),
    [
        ("first byte", "close"),
        ("request", "close"),
        ("head", "refuse"),
        ("body", "refuse"),
        ("reading", "reset"),
        ("close", "close"),
    ],
)
def test_what_follows(awaited: str, follows: str) -> None:
    assert rules.late(awaited) == follows


def test_a_server_that_drains_waits_a_moment_for_a_newcomer() -> None:
    assert rules.newcomer_deadline(since=SINCE, newcomer=123) == SINCE + 123
