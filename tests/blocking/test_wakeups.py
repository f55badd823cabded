"""The wakeup pipes of threads that wait for a client: noticed here, in forked children, and after the death of the
process that signals.
"""

import os
from collections.abc import Iterator

import pytest

from halfsync.blocking.wakeups import WakeupPipes
from halfsync.native.system import readable
from tests.leaks import held, leaked

HEARD_TIMEOUT_S = 10.0


@pytest.fixture
def pipes() -> Iterator[WakeupPipes]:
    """Return two wakeup pipes; their descriptors are gone at the end."""
    before = held()
    pipes = WakeupPipes()
    yield pipes
    pipes.close()
    assert not leaked(before)


def signalled(pipes: WakeupPipes) -> list[str]:
    """Name the pipes that have been signalled."""
    heard = readable([pipes.drain_fd, pipes.stop_fd], 0)
    return [name for name, fd in (("drain", pipes.drain_fd), ("stop", pipes.stop_fd)) if fd in heard]


def test_each_pipe_stays_readable_and_the_other_is_not_touched(pipes: WakeupPipes) -> None:
    assert signalled(pipes) == []
    pipes.signal_drain()
    pipes.signal_drain()
    assert signalled(pipes) == signalled(pipes) == ["drain"]
    pipes.signal_stop()
    assert signalled(pipes) == ["drain", "stop"]


def test_a_pipe_is_readable_while_another_process_could_signal_too(pipes: WakeupPipes) -> None:
    began, begin = os.pipe()
    end, over = os.pipe()
    pid = os.fork()
    if pid == 0:  # which has every end open
        os.write(begin, b"b")
        os.close(over)
        os.read(end, 1)
        os._exit(0)
    os.read(began, 1)
    pipes.signal_stop()
    heard = signalled(pipes)
    for fd in (over, end, began, begin):
        os.close(fd)
    os.waitpid(pid, 0)
    assert heard == ["stop"]


def test_a_child_notices_the_death_of_its_parent(pipes: WakeupPipes) -> None:
    told, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        own = WakeupPipes()
        ready, readied = os.pipe()
        if os.fork() == 0:
            own.close_writers()
            silent = signalled(own) == []
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


def test_closed_pipes_do_not_wake() -> None:
    before = held()
    pipes = WakeupPipes()
    pipes.close()
    pipes.signal_drain()
    pipes.signal_stop()
    pipes.close()
    assert (pipes.drain_fd, pipes.stop_fd) == (-1, -1)
    assert not leaked(before)


def test_pipes_without_a_reference_are_closed() -> None:
    before = held()
    WakeupPipes()
    WakeupPipes.__new__(WakeupPipes)
    assert not leaked(before)
