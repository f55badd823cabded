"""What is derived from the times of a request: how long it waited, and when its turn began."""

import pytest

from halfsync.testing import rules


@pytest.mark.parametrize(
    ("times", "waited"),
    [
        ({}, 0),
        ({"now": 9}, 0),  # it was never queued
        ({"taken": 5, "now": 9}, 0),
        ({"queued": 2, "now": 9}, 7),  # nobody has taken it
        ({"queued": 2, "taken": 5, "now": 9}, 3),
        ({"queued": 5, "taken": 5, "now": 9}, 0),
        ({"queued": 6, "taken": 5, "now": 9}, 0),  # the engine reads its clock once a cycle
    ],
)
def test_the_wait_is_from_the_queue_to_the_worker(times: dict[str, int], waited: int) -> None:
    assert rules.timeline(**times)[0] == waited


@pytest.mark.parametrize(
    ("times", "turn"),
    [
        ({"complete": 4}, 0),  # no worker has it
        ({"complete": 4, "taken": 5}, 5),
        ({"complete": 7, "taken": 5}, 7),  # the pool: its thread has received it
    ],
)
def test_a_turn_begins_with_a_complete_request_and_a_worker(times: dict[str, int], turn: int) -> None:
    assert rules.timeline(**times)[1] == turn


def test_the_first_and_the_last_bytes_that_were_sent() -> None:
    assert rules.sent([]) == (0, 0)
    assert rules.sent([3]) == (3, 3)
    assert rules.sent([3, 4, 8]) == (3, 8)
