"""The pause before the next try."""

from halfsync.supervisor.backoff import PAUSE_FIRST_S, PAUSE_MOST_S, Backoff


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff()
    pauses = [backoff.fail() for _ in range(40)]
    assert pauses[:3] == [PAUSE_FIRST_S, 2 * PAUSE_FIRST_S, 4 * PAUSE_FIRST_S]
    assert pauses == sorted(pauses) and pauses[-1] == PAUSE_MOST_S
    backoff.reset()
    assert backoff.next_pause == backoff.fail() == PAUSE_FIRST_S
