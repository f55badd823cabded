"""The limit on a client's connections in the models with a thread or process for each connection."""

import os
import signal
import threading

import pytest

from halfsync.testing.clients import PyClientLimit
from tests.proxies import sockaddr

NONE, REFUSED = 0, -1
ONE, OTHER = sockaddr("192.0.2.1"), sockaddr("2001:db8::1")
NOBODY = sockaddr("")
UNTOLD = None
KINDS = {"threads": False, "children": True}

every_kind = pytest.mark.parametrize("children", KINDS.values(), ids=KINDS)


@every_kind
def test_each_client_has_its_limit(children: bool) -> None:
    limit = PyClientLimit(2, connections=100, children=children)
    places = [limit.add(ONE), limit.add(OTHER), limit.add(ONE)]
    assert min(places) > 0
    assert (limit.add(ONE), limit.add(ONE)) == (REFUSED, REFUSED)
    limit.remove(places[0])
    assert limit.add(ONE) > 0
    assert limit.add(ONE) == REFUSED
    assert limit.add(OTHER) > 0


@every_kind
def test_a_client_without_an_address_is_not_counted(children: bool) -> None:
    limit = PyClientLimit(1, connections=100, children=children)
    places = [limit.add(NOBODY) for _ in range(50)]
    assert REFUSED not in places
    for place in places:
        limit.remove(place)
    limit.remove(NONE)


@every_kind
def test_a_connection_counts_for_its_client_once_that_is_known(children: bool) -> None:
    limit = PyClientLimit(2, connections=100, children=children)
    places = [limit.add(UNTOLD) for _ in range(5)]
    assert REFUSED not in places
    told = [limit.identify(place, ONE) for place in places[:3]]
    assert [place > 0 for place in told] == [True, True, False]
    assert limit.identify(places[3], NOBODY) != REFUSED
    assert limit.identify(places[4], OTHER) > 0
    limit.remove(told[0])
    limit.remove(places[2])  # a refused connection is removed too
    assert [limit.identify(limit.add(UNTOLD), ONE) > 0 for _ in range(2)] == [True, False]


def test_a_slot_is_free_once_its_child_was_reaped_and_not_counted_once_it_has_ended() -> None:
    limit = PyClientLimit(1, connections=2, children=True)
    first = limit.add(ONE)
    assert limit.add(ONE) == REFUSED
    limit.remove(first, in_child=True)
    second = limit.add(ONE)
    assert second > 0
    assert second != first
    limit.remove(first)
    assert limit.add(OTHER) == first


def test_the_word_of_a_killed_child_is_cleared_with_its_slot() -> None:
    limit = PyClientLimit(1, connections=4, children=True)
    place = limit.add(UNTOLD)
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(told, b"%d" % limit.identify(place, ONE))
        signal.pause()
        os._exit(1)
    os.close(told)
    assert int(os.read(ready, 10)) == place
    os.close(ready)
    assert limit.identify(limit.add(UNTOLD), ONE) == REFUSED
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    limit.remove(place)
    assert limit.identify(limit.add(UNTOLD), ONE) > 0


@every_kind
def test_no_more_connections_than_the_limit_stay(children: bool) -> None:
    threads, rounds, most = 8, 2000, 3
    limit = PyClientLimit(most, connections=100, children=children)
    # Only one thread enters children.
    places = [limit.add(UNTOLD) if children else NONE for _ in range(threads)]
    inside, highest, entered = 0, 0, 0
    lock = threading.Lock()

    def churn(own: int) -> None:
        nonlocal inside, highest, entered
        for _ in range(rounds):
            place = limit.identify(own, ONE)
            if place == REFUSED:
                continue
            with lock:
                inside += 1
                entered += 1
                highest = max(highest, inside)
            with lock:
                inside -= 1
            limit.remove(place, in_child=children)

    churning = [threading.Thread(target=churn, args=(place,)) for place in places]
    for thread in churning:
        thread.start()
    for thread in churning:
        thread.join()
    assert 0 < highest <= most
    assert entered >= rounds
    held = [limit.identify(place, ONE) for place in places]
    assert len([place for place in held if place > 0]) == most
