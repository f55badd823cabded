"""`wsgi.input` against io.BytesIO, with the body in memory and on disk; and the file wrapper."""

import io
import os
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from halfsync.native.checks import counts
from halfsync.testing import exchanges
from halfsync.wsgi.body import Input
from halfsync.wsgi.file_wrapper import FileWrapper
from tests.sharing import open_files
from tests.wsgi import EVENT_TIMEOUT_S, pattern

PLENTY = 1 << 30
WINDOW = 64 * 1024  # of a body on disk, held while it is read by line

Make = Callable[[bytes, str], Input]


class Bodies:
    """Makes inputs over bodies in each place that they can lie in."""

    def __init__(self, folder: Path) -> None:
        self._store = exchanges.PyStore(os.fsencode(folder), PLENTY)
        self._made: list[exchanges.PyExchange] = []

    def make(self, body: bytes, place: str) -> Input:
        blocks = exchanges.make_blocks(1) if place == "block" else None
        exchange = exchanges.PyExchange(
            self._store, max_body=PLENTY, body_memory=0 if place == "disk" else PLENTY, blocks=blocks
        )
        self._made.append(exchange)
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
        wire = head + body
        size = len(wire) if place == "data" else len(head)
        while wire:
            taken, result = exchange.receive(wire[:size])
            assert result >= 0
            wire, size = wire[taken:], len(wire)
        assert exchange.ready
        assert exchange.place == (place if body else "")
        return exchange.input()

    def close(self) -> None:
        for exchange in self._made:
            exchange.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes an input over a body in a place."""
    bodies = Bodies(tmp_path)
    yield bodies.make
    bodies.close()


LINES = st.lists(st.sampled_from([b"", b"x", b"\r", b"line", b"y" * 300, b"\0"]), max_size=30).map(b"\n".join)
LONG_LINES = st.lists(
    st.sampled_from([b"a", b"b" * (WINDOW - 1), b"c" * WINDOW, b"d" * (2 * WINDOW + 1)]), max_size=4
)
BODIES = LINES | LONG_LINES.map(b"\n".join) | st.binary(max_size=100)
SIZES = st.sampled_from([None, -1, -7, 0, 1, 2, 10, 299, WINDOW - 1, WINDOW, WINDOW + 1, 1 << 40, 2**63 - 1])
OFFSETS = st.sampled_from([0, 1, 10, 299, WINDOW, WINDOW + 1, 1 << 40, -1, -300])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["read", "readline", "readlines", "next", "for", "readinto", "readinto1"]), SIZES
    )
    | st.tuples(st.sampled_from(["set", "current", "end"]), OFFSETS),
    max_size=12,
)


def step(stream: Any, method: str, size: int | None) -> object:
    """Do one thing with a stream, and return the outcome and the position after it."""
    return attempt(stream, method, size), stream.tell()


def attempt(stream: Any, method: str, size: int | None) -> object:
    """Do one thing with a stream and return what came of it."""
    try:
        if method == "next":
            return next(stream, b"")
        if method == "for":
            return [line for line, _ in zip(stream, range(2), strict=False)]
        if method in ("readinto", "readinto1"):
            buffer = bytearray(min(max(size or 0, 0), 3 * WINDOW))
            return getattr(stream, method)(buffer), buffer
        if method in ("set", "current", "end"):
            return stream.seek(size, ["set", "current", "end"].index(method))
        return getattr(stream, method)(size)
    except ValueError as error:
        return str(error)


@settings(max_examples=150)
@given(body=BODIES, steps=STEPS, place=st.sampled_from(["data", "memory", "block", "disk"]))
@example(body=b"one\ntwo", steps=[("readlines", 3), ("readline", 2), ("read", -1)], place="disk")
@example(
    body=b"one\ntwo", steps=[("read", -1), ("set", 0), ("read", -1), ("set", 2), ("read", 2)], place="block"
)
def test_it_reads_as_a_bytes_io_does(
    body: bytes, steps: list[tuple[str, int | None]], place: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if place == "data":
        body = body[:3000]  # what fits behind its head
    elif place == "block":
        body = (body + bytes(WINDOW // 2))[:WINDOW]
    bodies = Bodies(tmp_path_factory.getbasetemp())
    try:
        ours, oracle = bodies.make(body, place), io.BytesIO(body)
        for method, size in [*steps, ("read", None), ("read", 1), ("readline", -1)]:
            assert step(ours, method, size) == step(oracle, method, size)
        assert list(ours) == []
    finally:
        bodies.close()


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_the_defaults_are_those_of_a_bytes_io(make: Make, place: str) -> None:
    data = b"one\ntwo\nthree\nfour"
    ours = make(data, place)
    assert ours.readline() == b"one\n"
    assert next(ours) == b"two\n"
    assert ours.readlines() == [b"three\n", b"four"]
    assert make(data, place).read() == data
    assert list(make(data, place)) == data.splitlines(keepends=True)
    with pytest.raises(StopIteration):
        next(ours)


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("wrong", ["1", 1.0, 2**63, b"", []])
def test_an_invalid_size_is_rejected(make: Make, place: str, wrong: Any) -> None:
    ours, oracle = make(b"body", place), io.BytesIO(b"body")
    for method in ("read", "readline", "readlines"):
        with pytest.raises((TypeError, OverflowError)) as expected:
            getattr(oracle, method)(wrong)
        with pytest.raises(expected.type):
            getattr(ours, method)(wrong)
    assert ours.read() == b"body"


PLACES = ["memory", "block", "disk"]


def use(stream: Any) -> dict[str, Callable[[], object]]:
    """Return everything that can be asked of a stream that is read."""
    return {
        "read": lambda: stream.read(1),
        "read1": lambda: stream.read1(1),
        "readinto": lambda: stream.readinto(bytearray(1)),
        "readinto1": lambda: stream.readinto1(bytearray(1)),
        "readline": stream.readline,
        "readlines": stream.readlines,
        "iter": lambda: iter(stream),
        "next": lambda: next(stream),
        "seek": lambda: stream.seek(0),
        "tell": stream.tell,
        "readable": stream.readable,
        "seekable": stream.seekable,
        "writable": stream.writable,
        "isatty": stream.isatty,
        "flush": stream.flush,
        "with": stream.__enter__,
    }


@pytest.mark.parametrize("place", PLACES)
def test_once_closed_it_is_closed_as_any_file_is(make: Make, place: str) -> None:
    ours = make(pattern(WINDOW // 2 + 1), place)
    with ours as entered:
        assert entered is ours
        assert not ours.closed
    assert ours.closed
    ours.close()
    for name, ask in use(ours).items():
        with pytest.raises(ValueError, match=r"closed file$"):
            print(name, ask())


@pytest.mark.parametrize("place", PLACES)
def test_with_its_request_a_body_is_closed(tmp_path: Path, place: str) -> None:
    before, files = counts()["buffer"], open_files(tmp_path)
    bodies = Bodies(tmp_path)
    ours = bodies.make(pattern(WINDOW // 2 + 1), place)
    ours.readline()
    bodies.close()
    assert ours.closed
    for name, ask in use(ours).items():
        with pytest.raises(ValueError, match="closed file: the request has ended"):
            print(name, ask())
    ours.close()
    # An application that keeps it keeps nothing else.
    assert (counts()["buffer"], open_files(tmp_path)) == (before, files)


@pytest.mark.parametrize("place", PLACES)
def test_it_is_what_the_standard_library_calls_a_buffered_stream(make: Make, place: str) -> None:
    data = pattern(WINDOW // 2 + 1)
    ours = make(data, place)
    assert isinstance(ours, io.BufferedIOBase)
    assert (ours.readable(), ours.seekable(), ours.writable(), ours.isatty()) == (True, True, False, False)
    for name in dir(io.BufferedIOBase):
        assert name.startswith("_") or hasattr(ours, name), name
    refused: list[Callable[[], object]] = [
        ours.fileno,
        ours.detach,
        ours.truncate,
        lambda: ours.write(b""),
        lambda: ours.writelines([]),
    ]
    for ask in refused:
        with pytest.raises(io.UnsupportedOperation):
            ask()
    assert ours.read() == data
    assert 0 < len(make(data, place).read1()) <= len(data)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_buffer_is_not_read_into(make: Make, place: str) -> None:
    ours = make(pattern(WINDOW // 2 + 1), place)
    for wrong in (b"bytes", "text", memoryview(b"read-only"), memoryview(bytearray(8))[::2], None):
        with pytest.raises(TypeError):
            ours.readinto(wrong)  # type: ignore[arg-type]
    into = array("I", [0, 0])
    assert (ours.readinto(into), into.tobytes()) == (8, pattern(8))
    assert ours.readinto(bytearray()) == 0


@pytest.mark.parametrize("place", PLACES)
def test_a_position_beyond_all_positions_is_refused(make: Make, place: str) -> None:
    ours = make(pattern(WINDOW // 2 + 1), place)
    ours.seek(1)
    for offset, whence, expected in (
        (2**63 - 1, 1, OverflowError),
        (2**63, 0, OverflowError),
        (0, 3, ValueError),
        (-1, 0, ValueError),
        (1.0, 0, TypeError),
    ):
        with pytest.raises(expected):
            ours.seek(offset, whence)  # type: ignore[arg-type]
    assert ours.tell() == 1


def test_a_thread_may_go_on_reading_when_the_request_ends(tmp_path: Path) -> None:
    data = pattern(40 * WINDOW)
    for _ in range(20):
        bodies = Bodies(tmp_path)
        ours = bodies.make(data, "disk")
        begun = threading.Event()
        read: list[bytes] = []

        def work(ours: Input = ours, begun: threading.Event = begun, read: list[bytes] = read) -> None:
            with suppress(ValueError):
                while piece := ours.read(WINDOW):
                    read.append(piece)
                    begun.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert begun.wait(EVENT_TIMEOUT_S)
        bodies.close()
        thread.join()
        assert data.startswith(b"".join(read))
    assert open_files(tmp_path) == 0


def test_a_new_input_is_empty() -> None:
    assert Input().read() == b""
    assert list(Input()) == []


def test_a_body_on_disk_is_read_in_windows_of_bounded_memory(make: Make) -> None:
    before = counts()["buffer"]
    data = b"".join(b"%d\n" % number for number in range(100_000))
    ours = make(data, "disk")
    assert b"".join(ours) == data
    assert counts()["buffer"] == before + 1


class Source:
    """Something like a file that counts what is asked of it."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self.sizes: list[int] = []
        self.closes = 0

    def read(self, size: int, /) -> bytes:
        self.sizes.append(size)
        return self._data.read(size)

    def close(self) -> None:
        self.closes += 1


def test_a_file_wrapper_reads_in_blocks_and_closes_its_file() -> None:
    source = Source(b"0123456789")
    wrapper = FileWrapper(source, 4)
    assert list(wrapper) == [b"0123", b"4567", b"89"]
    assert source.sizes == [4] * 4
    assert wrapper.filelike is source
    wrapper.close()
    assert source.closes == 1
    assert FileWrapper(source).block_size == 65536


def test_a_file_wrapper_over_what_cannot_be_closed() -> None:
    class Bare:
        def read(self, size: int, /) -> bytes:
            return b""

    wrapper = FileWrapper(Bare())
    assert list(wrapper) == []
    wrapper.close()


class Positioned(Source):
    """A source with a position, and no seekable(), as some have."""

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._data.seek(offset, whence)

    def tell(self) -> int:
        return self._data.tell()


def test_a_file_wrapper_has_the_position_of_its_file() -> None:
    wrapper = FileWrapper(Positioned(b"0123456789"), 4)
    assert wrapper.seekable()
    assert (wrapper.seek(4), wrapper.seek(2, os.SEEK_CUR), wrapper.tell()) == (4, 6, 6)
    assert list(wrapper) == [b"6789"]
    assert FileWrapper(io.BytesIO()).seekable()
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert not FileWrapper(pipe).seekable()


def test_a_file_wrapper_over_what_has_no_position() -> None:
    wrapper = FileWrapper(Source(b"0123"))
    assert not wrapper.seekable()
    for ask in (wrapper.tell, lambda: wrapper.seek(0)):
        with pytest.raises(io.UnsupportedOperation):
            ask()
