"""Lines for the person at the terminal: each in one write, or dropped, counted, and reported later."""

import errno
import fcntl
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from halfsync.runtime import output
from halfsync.runtime.output import Lines
from tests.faults.serving import environment
from tests.wsgi import until


class Pipe:
    """A pipe, and lines that are written to it."""

    def __init__(self, *, blocking: bool = True) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.writer, blocking)
        os.set_blocking(self.reader, False)
        self.lines = Lines(self.writer, "no such stream", "the pipe")

    def read(self) -> str:
        """Return all that is in it."""
        try:
            return os.read(self.reader, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def fill(self) -> None:
        """Leave no room in it."""
        os.set_blocking(self.writer, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(self.writer, b"x" * 4096)
        os.set_blocking(self.writer, True)

    def close_reader(self) -> None:
        """Close the reading end."""
        os.close(self.reader)
        self.reader = -1


@pytest.fixture(params=[True, False], ids=["blocking", "non-blocking"])
def pipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    """Return a small pipe, whose writer may block or not."""
    monkeypatch.setattr(output, "WRITE_TIMEOUT_S", 0.1)
    made = Pipe(blocking=request.param)
    yield made
    for descriptor in (made.reader, made.writer):
        if descriptor >= 0:
            os.close(descriptor)


def test_a_line_is_one_write_so_that_those_of_several_processes_do_not_mix() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # which keeps writes apart
    with ours, theirs:
        program = "from halfsync.runtime.output import say; say('halfsync says')"
        subprocess.run(
            [sys.executable, "-c", program], env=environment(), stderr=theirs.fileno(), check=True
        )  # unbuffered, as in a container
        assert ours.recv(100) == b"halfsync says\n"


def test_lines_without_room_are_dropped_counted_and_reported_once_there_is_room(pipe: Pipe) -> None:
    pipe.lines.write("first\n")
    assert pipe.read() == "first\n"
    pipe.fill()
    for _ in range(3):
        pipe.lines.write("lost\n")
    pipe.lines.write("two\nlines\n")
    assert pipe.lines.dropped == 5
    pipe.read()
    pipe.lines.write("next\n")
    assert pipe.read() == "halfsync: 5 lines were dropped: the pipe did not accept them\nnext\n"
    pipe.lines.write("last\n")
    assert pipe.read() == "last\n"


def test_only_the_first_line_waits_for_a_file_that_takes_nothing(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WRITE_TIMEOUT_S", 0.5)
    pipe.fill()
    began = time.monotonic()
    pipe.lines.write("lost\n")
    assert time.monotonic() - began >= 0.5
    began = time.monotonic()
    for _ in range(1000):
        pipe.lines.write("lost\n")
    assert time.monotonic() - began < 100  # each of them would have waited
    assert pipe.lines.dropped == 1001


def test_a_line_waits_for_a_slow_reader(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "WRITE_TIMEOUT_S", 60.0)
    pipe.fill()
    thread = threading.Thread(target=pipe.lines.write, args=("late\n",))
    thread.start()
    read = ""
    deadline = time.monotonic() + 30
    while not read.endswith("late\n") and time.monotonic() < deadline:
        read += pipe.read()
    thread.join()
    assert read.endswith("late\n")
    assert pipe.lines.dropped == 0


def test_a_line_that_is_written_in_part_is_reported_on_a_new_line(pipe: Pipe) -> None:
    pipe.lines.write("x" * 10_000 + "\n")
    assert pipe.lines.dropped == 1
    assert set(pipe.read()) == {"x"}
    pipe.lines.write("next\n")
    assert pipe.read() == "\nhalfsync: 1 line was dropped: the pipe did not accept it\nnext\n"


def test_a_reader_that_has_ended_loses_the_lines(pipe: Pipe) -> None:
    pipe.close_reader()
    for _ in range(2):
        pipe.lines.write("lost\n")
    assert (pipe.lines.dropped, pipe.lines.error) == (2, errno.EPIPE)


@pytest.mark.parametrize(
    ("path", "error"), [("/dev/full", errno.ENOSPC), ("", errno.EBADF)], ids=["full", "closed"]
)
def test_a_file_that_accepts_nothing_loses_the_lines(path: str, error: int) -> None:
    descriptor = os.open(path, os.O_WRONLY) if path else os.open(os.devnull, os.O_WRONLY)
    lines = Lines(descriptor, "no such stream", "the file")
    if not path:
        os.close(descriptor)
    lines.write("lost\n")
    assert (lines.dropped, lines.error) == (1, error)
    if path:
        os.close(descriptor)


def test_a_terminal_that_hung_up_costs_the_lines() -> None:
    master, terminal = os.openpty()
    lines = Lines(terminal, "no such stream", "the terminal")
    lines.write("shown\n")
    assert os.read(master, 100) == b"shown\r\n"
    os.close(master)
    lines.write("lost\n")
    assert (lines.dropped, lines.error) == (1, errno.EIO)
    os.close(terminal)


def test_a_stopped_terminal_loses_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "WRITE_TIMEOUT_S", 0.1)
    master, terminal = os.openpty()
    lines = Lines(terminal, "no such stream", "the terminal")
    text = "x" * 1000 + "\n"
    while not lines.dropped:  # the terminal has no reader
        lines.write(text)
    os.set_blocking(master, False)
    read = b""

    def shown() -> bool:
        nonlocal read
        try:
            read += os.read(master, 1 << 16)
        except BlockingIOError:
            lines.write("next\n")
        return read.endswith(b"next\r\n")

    until(shown)
    assert b"dropped: the terminal did not accept it\r\n" in read
    for descriptor in (master, terminal):
        os.close(descriptor)


class Raising(io.StringIO):
    """A stream that raises when it is written to, as an application may have made it."""

    def write(self, _: str) -> int:
        raise RuntimeError("this stream is closed")


def test_a_stream_that_replaces_the_first_is_written_to(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines(pipe.writer, "stderr", "standard error")
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    lines.write("replaced\n")
    assert (stream.getvalue(), pipe.read()) == ("replaced\n", "")


@pytest.mark.parametrize("stream", [Raising(), None, object()], ids=["raising", "none", "no stream"])
def test_a_stream_that_cannot_be_written_to_is_skipped(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, stream: object
) -> None:
    lines = Lines(pipe.writer, "stderr", "standard error")
    monkeypatch.setattr(sys, "stderr", stream)
    lines.write("line\n")
    assert pipe.read() == "line\n"
    output.flush_output()


class Logging(io.StringIO):
    """A stream that writes while it is written to, as one that passes printed text to `logging`."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines

    def write(self, text: str) -> int:
        return self.lines.write(f"logged: {text}")


def test_a_stream_that_writes_here_again_ends_in_no_circle(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines(pipe.writer, "stderr", "standard error")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert lines.as_it_is() is lines  # what a program has put there first is what it means
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    before = lines.as_it_is()  # as the log has it, from its beginning
    monkeypatch.setattr(sys, "stderr", Logging(lines))
    lines.write("said\n")
    assert pipe.read() == "logged: said\n"
    before.write("a record\n")
    assert pipe.read() == "a record\n"


class Locking(io.StringIO):
    """A stream that takes a lock, as one does that hands what is printed to `logging`."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.entered = threading.Lock(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.lock.acquire(timeout=5), "the holder of the lock waits for this thread"
        self.lock.release()
        return super().write(text)


def test_whoever_has_the_lock_of_a_stream_that_is_written_to_may_write_here(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, stream = Lines(pipe.writer, "stderr", "standard error"), Locking()
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    straight = lines.as_it_is()
    monkeypatch.setattr(sys, "stderr", stream)
    saying = threading.Thread(target=lines.write, args=("said\n",))
    with stream.lock:
        saying.start()
        assert stream.entered.wait(5)
        since = time.monotonic()
        straight.write("a record\n")
        assert time.monotonic() - since < 2
    saying.join()
    assert pipe.read() == "a record\n"
    assert stream.getvalue() == "said\n"


def test_a_forked_process_counts_for_itself(pipe: Pipe) -> None:
    pipe.fill()
    pipe.lines.write("lost\n")
    held = threading.Event()
    release = threading.Event()

    def hold() -> None:
        with pipe.lines._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pipe.read()
    pid = os.fork()
    if pid == 0:
        pipe.lines.write("child\n")
        os._exit(0)
    os.waitpid(pid, 0)
    assert pipe.read() == "child\n"
    release.set()
    thread.join()
    pipe.lines.write("parent\n")
    assert pipe.read() == "halfsync: 1 line was dropped: the pipe did not accept it\nparent\n"


@pytest.mark.parametrize("text", ["lone \udc80 surrogate\n", "\u2713\n"])
def test_any_text_can_be_written(pipe: Pipe, text: str) -> None:
    pipe.lines.write(text)
    assert pipe.read() == text.replace("\udc80", "\\udc80")
