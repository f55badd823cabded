"""The bells that wake whoever waits for a client: heard here, in forked children, and after the death of who rings."""

import os
from collections.abc import Iterator

import pytest

from halfsync.blocking.wakeups import Bells
from halfsync.native.system import readable
from tests.leaks import held, leaked

HEARD_TIMEOUT_S = 10.0


@pytest.fixture
def bells() -> Iterator[Bells]:
    """Return two bells; their descriptors are gone at the end."""
    before = held()
    bells = Bells()
    yield bells
    bells.close()
    assert not leaked(before)


def rung(bells: Bells) -> list[str]:
    """Name the bells that have been rung."""
    heard = readable([bells.drain_fd, bells.stop_fd], 0)
    return [name for name, fd in (("drain", bells.drain_fd), ("stop", bells.stop_fd)) if fd in heard]


def test_each_bell_is_heard_for_good_and_the_other_is_not(bells: Bells) -> None:
    assert rung(bells) == []
    bells.ring_drain()
    bells.ring_drain()
    assert rung(bells) == rung(bells) == ["drain"]
    bells.ring_stop()
    assert rung(bells) == ["drain", "stop"]


def test_a_bell_is_heard_while_another_process_could_ring_it_too(bells: Bells) -> None:
    began, begin = os.pipe()
    end, over = os.pipe()
    pid = os.fork()
    if pid == 0:  # which has every end open
        os.write(begin, b"b")
        os.close(over)
        os.read(end, 1)
        os._exit(0)
    os.read(began, 1)
    bells.ring_stop()
    heard = rung(bells)
    for fd in (over, end, began, begin):
        os.close(fd)
    os.waitpid(pid, 0)
    assert heard == ["stop"]


def test_a_child_hears_of_the_death_of_its_parent(bells: Bells) -> None:
    told, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        own = Bells()
        ready, readied = os.pipe()
        if os.fork() == 0:
            own.leave_to_parent()
            silent = rung(own) == []
            os.close(ready)
            os.write(readied, b"r")
            heard = readable([own.stop_fd], HEARD_TIMEOUT_S) == [own.stop_fd]
            os.write(tell, b"heard" if silent and heard else b"not heard")
            os._exit(0)
        os.read(ready, 1)
        os._exit(0)
    os.close(tell)
    os.waitpid(parent, 0)
    with os.fdopen(told, "rb") as answer:
        assert answer.read() == b"heard"


def test_closed_bells_are_silent() -> None:
    before = held()
    bells = Bells()
    bells.close()
    bells.ring_drain()
    bells.ring_stop()
    bells.close()
    assert (bells.drain_fd, bells.stop_fd) == (-1, -1)
    assert not leaked(before)


def test_bells_that_are_forgotten_close() -> None:
    before = held()
    Bells()
    Bells.__new__(Bells)
    assert not leaked(before)
