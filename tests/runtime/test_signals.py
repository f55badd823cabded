"""Signals as a queue: no signal of the server is lost, whatever else arrives."""

import ctypes
import faulthandler
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from halfsync.foreground import LoneSignals
from halfsync.native.forks import release_signal
from halfsync.runtime.signals import HARMLESS, Signals, drop_signals, hold_signals
from halfsync.supervisor.startup_signals import SupervisorSignals

FLOOD = 50_000


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Return the queue of a supervisor, in this process."""
    with SupervisorSignals() as signals:
        yield signals


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def drain(signals: Signals) -> list[int]:
    """Return all that waits in the queue."""
    numbers = []
    while (number := signals.wait([], 0)) is not None:
        numbers.append(number)
    return numbers


def fill(signals: Signals) -> None:
    """Leave no room in the pipe, as a flood does that comes faster than it is read."""
    with suppress(BlockingIOError):
        while True:
            os.write(signals.descriptors[1], bytes([signal.SIGCHLD]) * 4096)


def test_signals_come_in_order(signals: Signals) -> None:
    send(signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM)
    assert drain(signals) == [signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2]
)
def test_a_full_pipe_loses_no_signal(signals: Signals, number: signal.Signals) -> None:
    fill(signals)
    send(number)
    fill(signals)
    assert drain(signals) == [number]


def test_those_that_are_counted_are_each_one(signals: Signals) -> None:
    send(*[signal.SIGTTIN] * 5, *[signal.SIGTTOU] * 2)
    assert drain(signals) == [signal.SIGTTIN] * 5 + [signal.SIGTTOU] * 2


def test_others_wait_once(signals: Signals) -> None:
    send(*[signal.SIGCHLD] * 1000, *[signal.SIGUSR1] * 1000, signal.SIGTERM, signal.SIGCHLD, signal.SIGTERM)
    assert drain(signals) == [signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM]
    send(signal.SIGTERM)
    assert drain(signals) == [signal.SIGTERM]


def caught() -> set[int]:
    """Return the signals for which this process has a handler, of any kind."""
    (mask,) = re.findall(r"SigCgt:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())
    return {number for number in range(1, signal.NSIG) if int(mask, 16) >> (number - 1) & 1}


def test_no_handler_can_be_interrupted_by_the_next(signals: Signals) -> None:
    """The interpreter would begin one in Python again before it ends, as often as a flood wants."""
    for number in signals.NUMBERS:
        assert signal.getsignal(number) is signal.SIG_DFL
    assert caught() >= set(signals.NUMBERS)


def test_however_many_wait_they_are_handled_one_by_one() -> None:
    """On the small stack of faulthandler, which is the one that handlers have."""
    code = """if True:
        import faulthandler, os, signal
        from halfsync.runtime.signals import drop_signals, note_signals
        faulthandler.enable()
        told, tell = os.pipe()
        noted, dropped = range(signal.SIGRTMIN, signal.SIGRTMAX + 1), range(signal.SIGHUP, signal.SIGQUIT + 1)
        note_signals(tell, *noted)
        drop_signals(*dropped)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        for number in (*noted, *dropped):
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        assert sorted(os.read(told, 4096)) == list(noted)
    """
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_signals_that_come_while_others_are_taken_are_not_lost(signals: Signals) -> None:
    """A child sends as fast as it can; its last word is SIGTERM, with none behind it that could wake."""
    pid = os.fork()
    if pid == 0:
        for _ in range(FLOOD):
            os.kill(os.getppid(), signal.SIGUSR1)
            os.kill(os.getppid(), signal.SIGHUP)
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(0)
    seen = set()
    while signal.SIGTERM not in seen:
        number = signals.wait([], 30)
        assert number is not None
        seen.add(number)
    os.waitpid(pid, 0)
    assert {signal.SIGUSR1, signal.SIGHUP} <= seen


def test_signals_that_a_server_does_not_use_are_not_caught() -> None:
    with Signals() as signals:
        assert signal.SIGTTIN not in caught()
        send(signal.SIGUSR1)
        assert drain(signals) == [signal.SIGUSR1]


def test_handlers_are_as_before_in_the_end() -> None:
    before, handler = signal.getsignal(signal.SIGINT), caught()
    with Signals() as signals:
        assert signal.SIGTERM in caught()
        descriptors = signals.descriptors
    assert signal.getsignal(signal.SIGINT) == before
    assert caught() == handler
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(descriptor)


def test_blocked_signals_are_unblocked_inside_the_block() -> None:
    mine = {signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, mine)
    try:
        with Signals() as signals:
            send(signal.SIGTERM, signal.SIGCHLD)
            assert drain(signals) == [signal.SIGTERM, signal.SIGCHLD]
            assert signal.SIGALRM in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "it is none of a server's"
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | mine
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_handlers_that_are_set_inside_the_block_stay() -> None:
    """They are the program's, as those from before are, and what it has set last counts."""

    def mine(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with Signals():
            signal.signal(signal.SIGUSR1, mine)
        assert signal.getsignal(signal.SIGUSR1) is mine
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_signals_that_the_program_has_blocked_are_received() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR2])
    try:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        with Signals() as signals:
            send(signal.SIGTERM)
            assert drain(signals) == [signal.SIGTERM]
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            assert signal.SIGUSR2 in mask and not mask & set(
                signals.NUMBERS
            )  # which is no signal of a server's
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_what_an_application_has_changed_while_it_was_loaded_is_queued_again(signals: Signals) -> None:
    before, mask = signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    send(signal.SIGHUP)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1, signal.SIGTTIN])
    signals.catch_again()
    send(signal.SIGTERM, signal.SIGUSR1, signal.SIGTTIN)
    assert drain(signals) == [signal.SIGTTIN, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1]
    signals.__exit__()
    try:
        assert signal.getsignal(signal.SIGTERM) == before
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    finally:
        signals.__enter__()


def test_what_was_ignored_when_the_queue_was_made_is_known() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SupervisorSignals() as signals:
            assert signals.ignored == [signal.SIGHUP]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_the_program_was_started_with_is_restored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Signals() as signals:
            send(signal.SIGUSR1, signal.SIGINT)
            assert drain(signals) == [signal.SIGUSR1, signal.SIGINT]
        send(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.SIGINT in caught()
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.signal(signal.SIGINT, interrupt)


def test_a_handler_from_before_is_the_programs_again() -> None:
    found = []
    before = signal.signal(signal.SIGUSR1, lambda *_: found.append("called"))
    try:
        with Signals() as signals:
            send(signal.SIGUSR1)
            assert (drain(signals), found) == ([signal.SIGUSR1], [])
        send(signal.SIGUSR1)
        assert found == ["called"]
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("number", "handler"),
    [
        (signal.SIGUSR1, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_IGN),
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGINT, signal.SIG_IGN),
    ],
    ids=["default", "ignored", "interrupts", "ignored-interrupt"],
)
def test_a_native_handler_from_before_is_the_programs_again(
    tmp_path: Path, number: signal.Signals, handler: Any
) -> None:
    """Python's table still has what the program was started with."""
    before = signal.signal(number, handler)
    told = tmp_path / "told"

    def count() -> int:
        return told.read_text().count("most recent call first")

    with told.open("w") as file:
        faulthandler.register(number, file, all_threads=False)
        try:
            with SupervisorSignals() as signals:
                send(number)
                assert (drain(signals), count()) == ([number], 0)
                pid = os.fork()
                if pid == 0:
                    send(number)
                    os._exit(7)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
                assert count() == 1
            send(number)
            assert count() == 2
            assert signal.getsignal(number) == handler
        finally:
            faulthandler.unregister(number)
            signal.signal(number, before)


@pytest.fixture
def held() -> Iterator[None]:
    """Hold the signals that end no server."""
    hold_signals()
    yield
    for number in HARMLESS:
        release_signal(number)


@pytest.mark.usefixtures("held")
def test_signals_that_are_held_wait_for_the_queue_and_do_nothing_after_it() -> None:
    send(signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTIN)
    with LoneSignals() as signals:
        assert drain(signals) == [signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN]
    send(*HARMLESS)
    assert all(signal.getsignal(number) == signal.SIG_DFL for number in HARMLESS)


@pytest.mark.usefixtures("held")
def test_a_handler_that_is_set_while_signals_are_held_takes_them() -> None:
    found: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: found.append(number))
    try:
        with LoneSignals() as signals:
            send(signal.SIGUSR2, signal.SIGHUP)
            assert (drain(signals), found) == ([signal.SIGHUP], [signal.SIGUSR2])
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.usefixtures("held")
def test_what_is_forked_while_signals_are_held_has_the_default() -> None:
    pid = os.fork()
    if pid == 0:
        send(signal.SIGHUP)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP


def test_a_nested_queue_does_not_change_the_outer_one(signals: Signals) -> None:
    with Signals() as inner:
        send(signal.SIGUSR1)
        assert drain(inner) == [signal.SIGUSR1]
    send(signal.SIGUSR1)
    assert signals.wait([], 30) == signal.SIGUSR1


def test_dropped_signals_do_nothing_here_and_end_a_program_that_is_started() -> None:
    drop_signals(signal.SIGHUP)
    try:
        send(signal.SIGHUP)
        with subprocess.Popen(["sleep", "60"]) as started:
            started.send_signal(signal.SIGHUP)
        assert started.returncode == -signal.SIGHUP
        with Signals() as signals:
            send(signal.SIGHUP)
            assert drain(signals) == []
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


# With one thread: without its handlers a fork leaves Python's locks as other threads have them.
RAW_FORK = """
import ctypes, os, signal
from halfsync.supervisor.startup_signals import SupervisorSignals

fork = ctypes.PyDLL(None)._Fork
with SupervisorSignals() as signals:
    pid = fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    assert signals.wait([], 0) in (None, signal.SIGCHLD)
    assert signals.wait([], 0) is None
"""


def test_a_fork_that_no_handler_is_called_at_has_the_default() -> None:
    """_Fork(3) calls none. Signals to such a child are not reported to its parent."""
    if not hasattr(ctypes.PyDLL(None), "_Fork"):
        pytest.skip("this C library has no _Fork")
    subprocess.run([sys.executable, "-c", RAW_FORK], check=True)


def test_a_descriptor_ends_the_wait(signals: Signals) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    assert signals.wait([reader], None) is None
    os.close(reader)
    os.close(writer)


def test_another_thread_waits_for_descriptors_only() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[object] = []

    def wait() -> None:
        with Signals() as signals:
            found.extend((signal.getsignal(signal.SIGTERM), signals.wait([], 0)))

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert found == [before, None]
