"""The outbox against a plain bytes object: what the worker appends is what the engine sends, once."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.native.checks import counts
from halfsync.testing import exchanges
from tests.wsgi import EVENT_TIMEOUT_S, pattern

MEMORY, FILE, WAIT, ENDED = range(4)
OPEN, COMPLETE, CUT, RESET = range(4)
PIECE = 256 * 1024  # what is appended at once
PLENTY = 1 << 30
COUNTED = ("outbox", "segment", "spool file")

Make = Callable[[int, int], exchanges.PyOutbox]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function (memory limit, disk limit) that makes an outbox. All is counted back at the end."""
    before = counts()
    made: list[exchanges.PyOutbox] = []

    def make_one(memory: int, disk: int) -> exchanges.PyOutbox:
        made.append(exchanges.PyOutbox(memory, exchanges.PyStore(os.fsencode(tmp_path), disk)))
        return made[-1]

    yield make_one
    for outbox in made:
        let_go(outbox)
    after = counts()
    assert [after[kind] for kind in COUNTED] == [before[kind] for kind in COUNTED]
    assert list(tmp_path.iterdir()) == []


def let_go(outbox: exchanges.PyOutbox) -> None:
    """End both sides of an outbox."""
    outbox.abandon()
    assert outbox.references == 2
    outbox.release()
    outbox.release()


def offered(outbox: exchanges.PyOutbox) -> bytes:
    """Return what the engine would send next."""
    turn, what = outbox.next()
    if turn == FILE:
        fd, offset, length = what
        return os.pread(fd, length, offset)
    return what or b""


def send_all(outbox: exchanges.PyOutbox) -> bytes:
    """Send until nothing is left for now."""
    sent = b""
    while data := offered(outbox):
        sent += data
        outbox.sent(len(data))
    return sent


def in_thread(target: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def end(thread: threading.Thread) -> None:
    thread.join(EVENT_TIMEOUT_S)
    assert not thread.is_alive(), "the worker waits for ever"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 3000)),
        st.tuples(st.just("file"), st.integers(1, 3000)),
        st.tuples(st.just("send"), st.integers(0, 4000)),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(steps=STEPS, limit=st.sampled_from([0, 1, 1000, PLENTY]))
def test_what_goes_in_comes_out(
    steps: list[tuple[str, int]], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    store = exchanges.PyStore(os.fsencode(folder), PLENTY)
    outbox = exchanges.PyOutbox(limit, store)
    source = pattern(1 << 17)
    path = folder / "source"
    path.write_bytes(source)
    model = b""  # what was appended and not sent
    at = 0
    for step, size in steps:
        data = source[at : at + size]
        if step == "append":
            assert outbox.append(data) >= 0
            model += data
            at += size
        elif step == "file":
            assert outbox.append_file(os.open(path, os.O_RDONLY), at, size) >= 0
            model += data
            at += size
        else:
            data = offered(outbox)[:size]  # a socket may take less than is offered
            assert model.startswith(data)
            assert bool(data) == bool(model and size)
            outbox.sent(len(data))
            model = model[len(data) :]
        assert outbox.memory <= max(limit, 0)
        assert store.used >= outbox.spooled
    assert send_all(outbox) == model
    assert (outbox.memory, outbox.spooled) == (0, 0)
    let_go(outbox)
    assert store.used == 0


def test_the_engine_is_notified_once_if_it_waits(make: Make) -> None:
    outbox = make(PLENTY, 0)
    assert outbox.append(b"early") == 0  # the engine has not looked yet
    assert send_all(outbox) == b"early"
    assert outbox.next() == (WAIT, None)
    assert outbox.append(b"one") == 1
    assert outbox.append(b"two") == 0
    assert send_all(outbox) == b"onetwo"
    assert outbox.append_file(os.open(__file__, os.O_RDONLY), 0, 3) == 1
    assert send_all(outbox) == b'"""'
    assert outbox.finish(COMPLETE, True) == 1


@pytest.mark.parametrize("end", [COMPLETE, CUT, RESET])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_the_end_is_reported_after_everything_is_sent(make: Make, end: int, keep_alive: bool) -> None:
    outbox = make(PLENTY, 0)
    outbox.append(b"last")
    assert outbox.finish(end, keep_alive) == 0
    assert outbox.next() == (MEMORY, b"last")
    outbox.sent(4)
    assert outbox.next() == (ENDED, None)
    assert outbox.ending == (end, keep_alive)
    assert outbox.abandon()  # the exchange comes back with it
    assert not outbox.abandon()  # once


def test_what_does_not_fit_in_memory_goes_to_disk_and_comes_back_in_order(make: Make) -> None:
    data = pattern(10 * 1000)
    outbox = make(2500, PLENTY)
    for at in range(0, len(data), 1000):
        outbox.append(data[at : at + 1000])
    assert (outbox.memory, outbox.spooled) == (2000 + 2 * exchanges.SEGMENT_BYTES, 8000)
    assert send_all(outbox) == data


def test_the_disk_is_given_back_once_all_of_it_was_sent(tmp_path: Path) -> None:
    store = exchanges.PyStore(os.fsencode(tmp_path), 1000)
    outbox = exchanges.PyOutbox(0, store)
    for _ in range(5):
        outbox.append(b"x" * 1000)
        assert store.used == 1000
        assert len(send_all(outbox)) == 1000
    let_go(outbox)
    assert store.used == 0


def test_a_large_append_is_cut_into_pieces(make: Make) -> None:
    outbox = make(PLENTY, 0)
    data = pattern(2 * PIECE + 5)
    before = counts()["segment"]
    outbox.append(data)
    assert counts()["segment"] == before + 3
    assert send_all(outbox) == data


def test_the_engine_is_offered_many_segments_at_once_but_not_all(make: Make) -> None:
    outbox = make(PLENTY, 0)
    for number in range(20):
        outbox.append(bytes([number]))
    assert outbox.next() == (MEMORY, bytes(range(16)))
    outbox.sent(16)
    assert outbox.next() == (MEMORY, bytes(range(16, 20)))


def test_a_worker_waits_for_room_and_goes_on_when_some_is_sent(make: Make) -> None:
    outbox = make(1000, 0)
    assert outbox.append(b"a" * 900) == 0
    worker = in_thread(lambda: outbox.append(b"b" * 900))
    worker.join(0.02)  # not for its end: to let it come to the wait, which it could not pass
    assert worker.is_alive()
    assert outbox.memory == 900 + exchanges.SEGMENT_BYTES
    outbox.sent(900)
    end(worker)
    assert send_all(outbox) == b"b" * 900


@pytest.mark.parametrize("waits", [False, True])
def test_a_worker_that_waits_for_room_is_woken_if_the_client_disconnects(make: Make, waits: bool) -> None:
    outbox = make(1000, 0)
    outbox.append(b"a" * 900)
    said: list[int] = []
    worker = in_thread(lambda: said.append(outbox.append(b"b" * 900)))
    if waits:
        worker.join(0.02)  # not for its end: to let it come to the wait first
    assert not outbox.abandon()
    end(worker)
    assert said == [-1]


@pytest.mark.parametrize(("memory", "disk"), [(0, 0), (10, 0), (1000, 1000)])
def test_a_piece_larger_than_all_bounds_waits_only_for_what_is_before_it(
    make: Make, memory: int, disk: int
) -> None:
    """The settings allow bounds smaller than a piece: then one piece at a time goes, and none hangs."""
    outbox = make(memory, disk)
    data = pattern(3 * PIECE)
    worker = in_thread(lambda: outbox.append(data))
    sent = b""
    tries = threading.Event()
    while len(sent) < len(data):
        sent += send_all(outbox)
        assert outbox.memory <= PIECE + exchanges.SEGMENT_BYTES
        assert worker.is_alive() or len(sent) + PIECE >= len(data)
        assert not tries.wait(0.0005)
    end(worker)
    assert sent == data


def test_after_the_client_has_disconnected_no_more_is_taken(make: Make, tmp_path: Path) -> None:
    outbox = make(PLENTY, 0)
    outbox.append(b"lost")
    assert not outbox.abandon()
    assert outbox.append(b"more") == -1
    fd = os.open(__file__, os.O_RDONLY)
    assert outbox.append_file(fd, 0, 1) == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)  # it was the outbox's to close
    assert outbox.finish(COMPLETE, True) == -1  # the exchange stays with the worker
    assert not outbox.abandon()


def test_a_file_is_closed_when_it_is_sent(make: Make) -> None:
    outbox = make(0, 0)
    fd = os.open(__file__, os.O_RDONLY)
    outbox.append_file(fd, 3, 4)
    outbox.sent(3)
    assert outbox.next() == (FILE, (fd, 6, 1))
    os.fstat(fd)
    outbox.sent(1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_disk_that_cannot_be_written_breaks_the_response_off(tmp_path: Path) -> None:
    store = exchanges.PyStore(os.fsencode(tmp_path / "missing"), PLENTY)
    outbox = exchanges.PyOutbox(0, store)
    assert outbox.append(b"data") == -1
    let_go(outbox)
    assert store.used == 0


def test_each_side_may_let_go_first(tmp_path: Path) -> None:
    before = counts()
    outbox = exchanges.PyOutbox(PLENTY, exchanges.PyStore(os.fsencode(tmp_path), 0))
    outbox.append(b"never sent")
    outbox.finish(CUT, False)
    assert outbox.abandon()
    outbox.release()
    assert counts()["outbox"] == before["outbox"] + 1
    outbox.release()
    assert counts() == before


def test_a_worker_and_an_engine_at_their_own_speed(make: Make) -> None:
    """One appends, one sends, at once: what arrives is what was made, and the bounds hold."""
    outbox = make(3000, 5000)
    data = pattern(400_000)

    def work() -> None:
        for at in range(0, len(data), 700):
            assert outbox.append(data[at : at + 700]) >= 0
        outbox.finish(COMPLETE, True)

    worker = in_thread(work)
    sent = bytearray()
    while outbox.next()[0] != ENDED:
        piece = offered(outbox)[:1100]
        sent += piece
        outbox.sent(len(piece))
    end(worker)
    assert sent == data


@pytest.mark.parametrize("memory", [0, PLENTY], ids=["on disk", "in memory"])
def test_a_worker_waits_while_its_response_is_too_far_ahead(make: Make, memory: int) -> None:
    outbox = make(memory, PLENTY)
    outbox.append(b"a" * 5000)
    ahead = 5000 + (exchanges.SEGMENT_BYTES if memory else 0)
    assert outbox.wait(1000, ahead + 1000) == 0  # it does not wait
    said: list[int] = []
    worker = in_thread(lambda: said.append(outbox.wait(1000, ahead)))
    outbox.sent(999)
    worker.join(0.02)  # not for its end: to let it come to the wait, which it could not pass
    assert worker.is_alive()
    outbox.sent(1)
    end(worker)
    assert said == [0]


def test_a_piece_larger_than_what_a_response_may_be_ahead_waits_for_what_is_before_it(make: Make) -> None:
    outbox = make(PLENTY, 0)
    assert outbox.wait(5000, 10) == 0  # nothing is before it
    outbox.append(b"before")
    worker = in_thread(lambda: outbox.wait(5000, 10))
    worker.join(0.02)  # as above
    assert worker.is_alive()
    outbox.sent(6)
    end(worker)


@pytest.mark.parametrize("waits", [False, True])
def test_a_worker_that_is_too_far_ahead_is_woken_if_the_client_disconnects(make: Make, waits: bool) -> None:
    outbox = make(PLENTY, 0)
    outbox.append(b"a" * 900)
    said: list[int] = []
    worker = in_thread(lambda: said.append(outbox.wait(1, 900)))
    if waits:
        worker.join(0.02)  # as above
    assert not outbox.abandon()
    end(worker)
    assert said == [-1]


def test_a_file_does_not_count_as_ahead(make: Make) -> None:
    outbox = make(PLENTY, 0)
    outbox.append_file(os.open(__file__, os.O_RDONLY), 0, 1000)
    assert outbox.wait(1000, 1000) == 0


def test_a_stream_that_is_always_a_little_ahead_needs_a_bounded_part_of_the_disk(tmp_path: Path) -> None:
    store = exchanges.PyStore(os.fsencode(tmp_path), PLENTY)
    outbox = exchanges.PyOutbox(0, store)
    piece, ahead = pattern(PIECE), 8
    most = 0
    for number in range(300):  # 75 MiB
        outbox.append(piece)
        most = max(most, store.used)
        if number >= ahead:
            sent = b""
            while len(sent) < PIECE:
                data = offered(outbox)[: PIECE - len(sent)]
                outbox.sent(len(data))
                sent += data
            assert sent == piece
    assert outbox.spooled == ahead * PIECE
    assert most < exchanges.SPOOL_TURN_BYTES + 3 * ahead * PIECE
    let_go(outbox)
    assert store.used == 0
