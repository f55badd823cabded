"""Steps of a loop: an error in one ends there, and the step is tried again after a pause."""

import logging
import math
import os
from time import monotonic

import pytest

from halfsync.supervisor.backoff import PAUSE_MOST_S
from halfsync.supervisor.containment import Containment


def fail(containment: Containment, error: BaseException, what: str = "the reload") -> bool:
    """Do a step that fails; returns what the step says of that."""
    with containment.step(what) as step:
        raise error
    return step.failed


def test_what_a_step_raises_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    containment = Containment()
    with containment.step("the reload") as step:
        pass
    assert not step.failed
    assert fail(containment, OSError(11, "try again"))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("the reload failed: BlockingIOError: [Errno 11] try again")
    assert record.exc_info and record.exc_info[2] is not None


def test_the_pause_grows_while_turns_fail(caplog: pytest.LogCaptureFixture) -> None:
    containment = Containment()
    assert containment.due == math.inf
    pauses = []
    for _ in range(12):
        fail(containment, MemoryError())
        containment.end_turn()
        pauses.append(containment.due - monotonic())
    assert pauses[0] < 0.1 and pauses[:8] == sorted(pauses[:8]) and max(pauses) < PAUSE_MOST_S
    assert len(caplog.records) == 1  # it is the same all the time
    containment.end_turn()
    assert containment.due == math.inf
    fail(containment, MemoryError())
    assert len(caplog.records) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_errors_that_must_end_a_process_are_not_contained(error: type[BaseException]) -> None:
    with pytest.raises(error):
        fail(Containment(), error())


def test_a_log_that_raises_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(logging.Logger, "handle", refuse)
    assert fail(Containment(), RuntimeError("first"))


def test_a_process_that_was_forked_in_a_step_ends_if_it_fails() -> None:
    containment = Containment()
    pid = os.getpid()
    with containment.step("starting a process"):
        forked = os.fork()
        if forked == 0:
            raise RuntimeError("in the child")
    assert os.getpid() == pid  # not reached by the other
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 1
