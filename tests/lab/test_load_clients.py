"""The clients of a load, against a server that does what a path says: what becomes of each request, and why."""

import errno
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from halfsync.lab.load import OWN, Load
from tests.lab.scripted import HOST, OK, Reply, Scripted, accounted, await_taken, played

PATHS = (("/", 1.0), ("/busy", 1.0), ("/odd", 1.0), ("/drop", 1.0))


@contextmanager
def refusing_port() -> Iterator[int]:
    """Give a port that no program listens on, and that none is given meanwhile."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


@contextmanager
def full_port() -> Iterator[int]:
    """Give a port whose backlog is full, so that no further client is let in."""
    with socket.create_server((HOST, 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((HOST, port)):
            yield port


def reset(sock: socket.socket) -> None:
    """Close a connection with a reset, and no end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


@pytest.mark.parametrize("rate", [None, 400.0])
@pytest.mark.parametrize("fresh", [False, True])
def test_each_request_that_was_due_has_one_outcome(
    peer: Scripted, rate: float | None, *, fresh: bool
) -> None:
    outcome = played(
        Load(peer.port, 4, 0.4, warm_up_s=0.1, rate=rate, paths=PATHS, fresh=fresh, grace_s=30.0)
    )
    assert outcome.due == accounted(outcome)
    assert min(outcome.answered, outcome.refused, outcome.errors) > 0
    assert set(outcome.failed) == {"closed before the response was complete"}
    assert (outcome.open, outcome.unopened) == (0 if fresh else 4, 0)
    assert outcome.latencies.count == outcome.answered
    asked = [path for paths in peer.asked for path in paths]
    # The warm-up's requests were asked too. A dropped one is sent again if its connection had been used.
    assert len(asked) >= outcome.due - outcome.unsent
    for path, number in (("/", outcome.answered), ("/busy", outcome.refused), ("/odd", outcome.errors)):
        assert asked.count(path) >= number
    if fresh:
        assert all(len(paths) <= 1 for paths in peer.asked)


def test_what_nobody_listens_for_is_refused_by_the_system() -> None:
    with refusing_port() as port:
        outcome = played(Load(port, 2, 0.2, warm_up_s=0, rate=100.0, even=True))
    assert outcome.failed == {"ECONNREFUSED": 2 + outcome.due}
    assert (outcome.unopened, outcome.open) == (2, 0)
    assert "limits" not in outcome.bottleneck


def test_a_closed_loop_that_is_refused_rests_and_does_not_spin() -> None:
    with refusing_port() as port:
        outcome = played(Load(port, 1, 0.5, warm_up_s=0))
    # It rests for 10 ms after each.
    assert 1 <= outcome.due <= 51
    assert outcome.failed == {"ECONNREFUSED": 1 + outcome.due}


def test_a_reset_is_no_end(peer: Scripted) -> None:
    peer.replies["/reset"] = Reply(act=reset)
    outcome = played(
        Load(peer.port, 1, 0.0015, warm_up_s=0, rate=1000.0, even=True, paths=(("/reset", 1.0),))
    )
    assert outcome.failed == {"ECONNRESET": 1}


def test_a_request_that_has_no_answer_by_the_end_has_failed(peer: Scripted) -> None:
    outcome = played(Load(peer.port, 3, 0.1, warm_up_s=0, paths=(("/never", 1.0),), grace_s=0.1))
    assert outcome.due == 3
    assert outcome.failed == {"no response by the end": 3}


def test_a_client_leaves_when_its_patience_is_over(peer: Scripted) -> None:
    load = Load(
        peer.port, 1, 0.45, warm_up_s=0, rate=10.0, even=True, paths=(("/never", 1.0),), patience_s=0.15
    )
    outcome = played(load)
    # Each holds the only connection until it leaves; the next one's patience began when it was due.
    assert (outcome.due, outcome.left) == (4, 4)
    assert outcome.latencies.count == 0
    assert all(len(paths) <= 1 for paths in peer.asked)


def test_clients_of_a_closed_loop_leave_too_and_others_come(peer: Scripted) -> None:
    outcome = played(Load(peer.port, 2, 0.5, warm_up_s=0, paths=(("/never", 1.0),), patience_s=0.1))
    assert 2 <= outcome.due == outcome.left <= 10


def test_further_connections_are_opened_while_all_others_wait(peer: Scripted) -> None:
    load = Load(
        peer.port, 1, 0.1, warm_up_s=0, rate=100.0, even=True, paths=(("/never", 1.0),), grace_s=0.1, more=3
    )
    outcome = played(load)
    assert outcome.open == 1
    assert outcome.failed == {"no response by the end": 4}
    assert (outcome.due, outcome.unsent) == (9, 5)
    assert sum(map(bool, peer.asked)) == 4


def test_idle_clients_ask_once_and_stay(peer: Scripted) -> None:
    outcome = played(Load(peer.port, 1, 0.2, warm_up_s=0, idle=20, rate=20.0, even=True))
    assert (outcome.open, outcome.unopened, outcome.idle_closed) == (21, 0, 0)
    assert sorted(map(len, peer.asked))[:20] == [1] * 20
    assert outcome.due == outcome.answered == 3


@pytest.mark.parametrize(
    ("path", "reason"), [("/busy", "error status"), ("/drop", "closed before the response was complete")]
)
def test_idle_clients_that_are_not_taken_were_not_opened(peer: Scripted, path: str, reason: str) -> None:
    outcome = played(Load(peer.port, 0, 0.1, warm_up_s=0, idle=5, paths=((path, 1.0),)))
    assert (outcome.due, outcome.open, outcome.idle_closed) == (0, 0, 0)
    assert (outcome.failed, outcome.unopened) == ({reason: 5}, 5)


def test_idle_clients_that_are_closed_later_are_counted(peer: Scripted) -> None:
    numbers = count(1)

    def end_idle(sock: socket.socket) -> None:
        if next(numbers) == 6:  # the first one of the client that is not idle
            peer.end_others(sock)

    peer.replies["/"] = Reply(OK.pieces, act=end_idle)
    outcome = played(Load(peer.port, 1, 0.5, warm_up_s=0, idle=5))
    assert (outcome.failed, outcome.open, outcome.idle_closed) == ({}, 6, 5)


def test_slow_clients_never_finish_and_come_again(peer: Scripted) -> None:
    outcome = played(Load(peer.port, 0, 0.5, warm_up_s=0, slow=4, slow_s=0.05))
    assert outcome.open == 4
    assert not any(peer.asked)
    peer.close()
    assert len(peer.heads) == 4
    assert all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ".startswith(head) for head in peer.heads)
    # A machine may delay some bytes; none comes before its time.
    assert all(1 <= len(head) <= 12 for head in peer.heads)


def test_a_slow_client_whose_connection_is_closed_comes_again() -> None:
    met: list[bytes] = []

    def refuse() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                met.append(sock.recv(1))

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=refuse)
        thread.start()
        outcome = played(Load(listener.getsockname()[1], 0, 1.0, warm_up_s=0, slow=1, slow_s=0.05))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert 1 <= outcome.came_again <= 10
    assert len(met) - outcome.came_again in (0, 1)  # the last one may have come at the very end


def test_a_large_body_is_sent_whole(peer: Scripted) -> None:
    size = 3_000_000
    outcome = played(Load(peer.port, 2, 0.2, warm_up_s=0, body_bytes=size, grace_s=30.0))
    assert outcome.due == outcome.answered > 0
    assert all(f"Content-Length: {size}".encode() in head for head in peer.heads)
    assert all(head.startswith(b"POST / ") for head in peer.heads)


def test_an_answer_before_the_body_was_sent_counts() -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def refuse() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(100)
            sock.sendall(refusal)
            await_taken(sock)  # of what the client sends, most is never received

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=refuse)
        thread.start()
        port, size = listener.getsockname()[1], 20_000_000
        load = Load(port, 1, 0.0015, warm_up_s=0, rate=1000.0, even=True, body_bytes=size, grace_s=30.0)
        outcome = played(load)
        thread.join()
    assert (outcome.errors, outcome.failed) == (1, {})


def test_a_request_that_meets_the_end_of_an_idle_connection_is_sent_again_once(peer: Scripted) -> None:
    served = []

    def end_of_idle(sock: socket.socket) -> None:
        served.append(sock)
        if len(served) % 2 == 0:  # the second request of each connection meets its end
            raise OSError

    peer.replies["/twice"] = Reply(OK.pieces, act=end_of_idle)
    load = Load(peer.port, 1, 0.45, warm_up_s=0, rate=10.0, even=True, paths=(("/twice", 1.0),), grace_s=30.0)
    outcome = played(load)
    assert outcome.due == outcome.answered + outcome.unsent
    assert outcome.sent_again > 0
    assert not outcome.failed


def test_a_connection_that_is_not_let_in_is_not_opened_in_time() -> None:
    with full_port() as port:
        outcome = played(Load(port, 3, 0.05, warm_up_s=0, rate=10.0, opening_s=0.2))
    # The kernel lets one more in than the backlog says.
    assert outcome.failed["not opened in time"] == outcome.unopened >= 2
    assert outcome.open == 3 - outcome.unopened
    assert outcome.opened_s >= 0.2


def test_a_limit_of_the_generator_is_no_fault_of_the_server(peer: Scripted) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors + 8, hard))
    try:
        outcome = played(Load(peer.port, 0, 0.01, warm_up_s=0, slow=200))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    own = f"{OWN}{errno.errorcode[errno.EMFILE]}"
    assert set(outcome.failed) == {own}
    assert outcome.open == 200 - outcome.failed[own]
    assert outcome.bottleneck.endswith(f"limits of its own: EMFILE {outcome.failed[own]} times")
