"""What every poller must do, on each of them: report to the engine all that happened, once, and nothing stale."""

import errno
import os
import resource
import socket
import struct
from contextlib import suppress

import pytest

from halfsync.testing.pollers import LISTENER, ROOM_BYTES, WAKER, PyHandle
from tests.engine.harness import HOLD, LATER, MORE, NOW_MS, WAIT_MS, Connect, Engine, drain, ended, fill, text
from tests.wsgi import pattern


def test_nothing_happens_on_a_silent_connection(engine: Engine, connect: Connect) -> None:
    connect()
    assert engine.cycle(NOW_MS) == []
    assert engine.cycles == 1


def test_received_bytes_are_reported_once(engine: Engine, connect: Connect) -> None:
    _, client = connect()
    for data in (b"first", b"second"):
        client.sendall(data)
        assert engine.cycle() == [("received", 0, data)]
        assert engine.cycle(NOW_MS) == []


def test_bytes_from_before_the_registration_are_reported_too(engine: Engine) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"early")
        engine.watch(ours)
        assert engine.cycle() == [("received", 0, b"early")]


def test_every_connection_has_its_own(engine: Engine, connect: Connect) -> None:
    clients = [connect()[1] for _ in range(100)]  # more than a poller has room for at first
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    events = engine.until(lambda events: len(events) >= 100)
    assert sorted(events) == sorted(("received", number, b"%d" % number) for number in range(100))


@pytest.mark.parametrize("room", [1, 7, 4096])
def test_little_room_loses_nothing(engine: Engine, connect: Connect, room: int) -> None:
    _, client = connect()
    data = pattern(room * 50 + 3)
    client.sendall(data)
    engine.room_bytes = room
    events = engine.until(lambda events: len(text(events)) == len(data))
    assert text(events) == data
    assert max(len(event[2]) for event in events) <= room
    assert engine.cycle(NOW_MS) == []


def test_one_talkative_connection_does_not_keep_others_waiting(engine: Engine, connect: Connect) -> None:
    _, loud = connect()
    _, quiet = connect()
    loud.sendall(bytes(1000))
    quiet.sendall(b"me too")
    engine.room_bytes = 8
    events = engine.cycle() + engine.cycle()
    assert text(events, 1) == b"me too"
    assert len(text(events, 0)) < 1000


def test_a_held_connection_reports_nothing_until_it_is_resumed(engine: Engine, connect: Connect) -> None:
    handle, client = connect()
    engine.answer = HOLD
    client.sendall(b"first")
    assert engine.cycle() == [("received", 0, b"first")]
    engine.room_bytes = 0  # as a worker has the connection
    client.sendall(b"second")
    for _ in range(3):
        assert engine.cycle(NOW_MS) == []
    engine.room_bytes, engine.answer = ROOM_BYTES, MORE
    engine.poller.resume(handle)
    assert engine.cycle() == [("received", 0, b"second")]
    client.sendall(b"third")
    assert engine.cycle() == [("received", 0, b"third")]


def test_resuming_without_new_bytes_reports_nothing(engine: Engine, connect: Connect) -> None:
    handle, client = connect()
    engine.answer = HOLD
    client.sendall(b"first")
    engine.cycle()
    engine.answer = MORE
    engine.poller.resume(handle)
    assert engine.cycle(NOW_MS) == []
    client.sendall(b"second")
    assert engine.cycle() == [("received", 0, b"second")]


@pytest.mark.parametrize("data", [b"", b"last words"])
def test_a_peer_that_sends_no_more_is_reported_as_ended(
    engine: Engine, connect: Connect, data: bytes
) -> None:
    _, client = connect()
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    events = engine.until(ended)
    assert text(events) == data
    assert ("broken", 0) not in events


def test_all_that_came_before_the_end_is_received_first(engine: Engine, connect: Connect) -> None:
    _, client = connect()
    data = pattern(5000)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    engine.room_bytes = 16
    events = engine.until(ended, cycles=1000)
    assert text(events) == data
    assert not ended(events[:-1])


def test_an_end_is_reported_while_the_connection_is_held(engine: Engine, connect: Connect) -> None:
    handle, client = connect()
    client.sendall(b"request")
    engine.answer = HOLD
    engine.cycle()
    engine.room_bytes = 0
    client.shutdown(socket.SHUT_WR)
    assert ("left", 0) in engine.until(ended)
    assert engine.cycle(NOW_MS) == []  # once, or the engine would spin
    engine.room_bytes, engine.answer = ROOM_BYTES, MORE
    engine.poller.resume(handle)
    assert ended(engine.cycle())


def test_bytes_and_an_end_that_came_while_held_are_reported_in_order(
    engine: Engine, connect: Connect
) -> None:
    handle, client = connect()
    engine.room_bytes = 0
    client.sendall(b"request")
    engine.cycle()
    client.shutdown(socket.SHUT_WR)
    engine.until(ended)
    engine.room_bytes = ROOM_BYTES
    engine.poller.resume(handle)
    events = engine.until(ended)
    assert text(events) == b"request"
    assert events[0][0] == "received"


def test_a_reset_is_reported_as_broken_and_once(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours = listener.accept()[0]
    with ours:
        engine.watch(ours)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert engine.cycle() == [("broken", 0)]
        assert engine.cycle(NOW_MS) == []


def test_a_reset_of_a_held_connection_is_reported(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours = listener.accept()[0]
    with ours:
        engine.watch(ours)
        engine.room_bytes = 0
        client.sendall(b"request")
        engine.cycle()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert engine.cycle() == [("broken", 0)]


def test_a_full_socket_says_when_it_can_take_more(engine: Engine, connect: Connect) -> None:
    handle, client = connect()
    for _ in range(3):  # again and again
        total = fill(engine, handle)
        assert engine.cycle(NOW_MS) == []
        drain(client, total)
        assert ("sendable", 0) in engine.until(bool)


def test_a_socket_with_room_is_not_reported_for_it(engine: Engine, connect: Connect) -> None:
    handle, client = connect()
    assert engine.poller.send(handle, b"hello") == 5
    assert client.recv(5) == b"hello"
    assert engine.cycle(NOW_MS) == []


def test_bytes_and_room_may_come_together(engine: Engine, connect: Connect) -> None:
    handle, client = connect()
    total = fill(engine, handle)
    client.sendall(b"impatient")
    drain(client, total)
    events = engine.until(lambda events: ("sendable", 0) in events and bool(text(events)))
    assert text(events) == b"impatient"


def test_sending_to_a_disconnected_peer_fails(engine: Engine, connect: Connect) -> None:
    handle, client = connect()
    client.close()
    errors = {-errno.EPIPE, -errno.ECONNRESET}
    assert any(
        engine.poller.send(handle, b"anyone?") in errors for _ in range(3)
    )  # TCP reports it with the second


def test_a_file_is_sent_from_the_given_offset(engine: Engine, connect: Connect) -> None:
    handle, client = connect()
    fd = os.memfd_create("file")
    try:
        os.write(fd, b"0123456789")
        assert engine.poller.send_file(handle, fd, 3, 4) == 4
        assert client.recv(100) == b"3456"
        assert engine.poller.send_file(handle, fd, 8, 100) == 2
        assert engine.poller.send_file(handle, fd, 10, 1) == 0  # the file is shorter than was thought
        fill(engine, handle)
        assert engine.poller.send_file(handle, fd, 0, 10) == LATER
    finally:
        os.close(fd)


def test_connections_are_accepted_up_to_what_the_engine_wants(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        handle = engine.watch(listener, LISTENER)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]
        engine.accepts = False
        assert engine.cycle() == [("accepted", 0)]
        engine.accepts = True
        assert engine.cycle() == [("accepted", 0)] * 4
        assert engine.cycle(NOW_MS) == []
        engine.poller.remove(handle)
        clients.append(socket.create_connection(listener.getsockname()))
        assert engine.cycle(NOW_MS) == []
        assert engine.poller.add(handle) == 0
        assert engine.cycle() == [("accepted", 0)]
        assert not any(os.get_blocking(fd) or os.get_inheritable(fd) for fd in engine.accepted_fds)
        for client in clients:
            client.close()


def test_a_lack_of_descriptors_is_reported(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        engine.watch(listener, LISTENER)
        with socket.create_connection(listener.getsockname()):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            probe = os.dup(0)
            os.close(probe)
            resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
            try:
                assert engine.cycle() == [("accept failed", 0, errno.EMFILE)]
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert engine.cycle() == [("accepted", 0)]


def test_the_waker_ends_a_wait_each_time(engine: Engine) -> None:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        assert engine.poller.add(PyHandle(fd, WAKER, 7)) == 0
        for _ in range(3):
            os.eventfd_write(fd, 1)
            assert engine.poller.cycle(WAIT_MS) == 1
            assert engine.poller.cycle(NOW_MS) == 0
        assert engine.events == []
    finally:
        os.close(fd)


def test_a_poller_lets_go_of_its_descriptors(request: pytest.FixtureRequest) -> None:
    for name in ("epoll", "poll"):
        before = os.dup(0)
        for _ in range(3):
            Engine(name).poller.close()
        with suppress(OSError):
            os.close(before)
        after = os.dup(0)
        os.close(after)
        assert after == before
