"""The native generator as Python has it: what it reports of the times that it measured."""

import time
from itertools import count

from halfsync.lab.generating import requests_of
from halfsync.lab.generator import Generator
from halfsync.lab.load import Load
from tests.lab.scripted import OK, Reply, Scripted

SLOW_S = 0.2


def test_times_are_counted_by_value_from_the_lowest(peer: Scripted) -> None:
    load = Load(peer.port, 4, 0.5, warm_up_s=0, grace_s=30.0)
    found = Generator(load, requests_of(load)).play()
    recorded = found["corrected"]
    values = [value for value, _ in recorded["counts"]]
    assert values == sorted(set(values))
    assert sum(count for _, count in recorded["counts"]) == recorded["count"] == found["answered"]
    # A value is rounded down to 12 bits, and no more.
    assert all(value % (1 << max(0, value.bit_length() - 12)) == 0 for value in values)
    assert values[-1] <= recorded["max_ns"] < values[-1] * (1 + 2**-11)
    mean_ns = sum(value * count for value, count in recorded["counts"]) / recorded["count"]
    assert mean_ns <= recorded["mean_ns"] < mean_ns * (1 + 2**-11)


def test_of_more_times_than_there_is_room_for_a_random_sample_is_kept(peer: Scripted) -> None:
    numbers = count()

    def hold(sock: object) -> None:
        if next(numbers) < 200:
            time.sleep(SLOW_S)

    peer.replies["/"] = Reply(OK.pieces, act=hold)
    load = Load(peer.port, 64, 2.0, warm_up_s=0, rate=200.0, even=True, grace_s=30.0)
    found = Generator(load, requests_of(load), room=100).play()
    recorded = found["corrected"]
    assert recorded["count"] == found["answered"] > 300
    assert sum(times for _, times in recorded["counts"]) == 100
    # Half of them were slow, those of the first half. A sample of only the first or only the last would not say so.
    slow = sum(times for value, times in recorded["counts"] if value >= SLOW_S * 1e9)
    assert 20 <= slow <= 85
    assert recorded["max_ns"] >= recorded["counts"][-1][0]
