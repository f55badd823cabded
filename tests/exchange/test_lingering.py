"""How a connection ends after its last response: what is dropped, and when its client need not be waited for."""

import socket
import threading

import pytest

from halfsync.testing import rules

DISCARD_BYTES = 8 * 1024 * 1024


@pytest.mark.parametrize("room", [1024, 64 * 1024])
def test_what_was_received_is_dropped(room: int) -> None:
    ours, client = socket.socketpair()
    with ours, client:
        assert rules.linger_discard(ours.fileno(), room), "nothing came, and the client is there"
        client.sendall(bytes(100_000))
        assert rules.linger_discard(ours.fileno(), room)
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)


def test_the_end_of_the_client_is_seen() -> None:
    ours, client = socket.socketpair()
    with ours:
        client.sendall(b"more")
        client.close()
        assert not rules.linger_discard(ours.fileno(), 1024)


def test_a_client_that_goes_on_sending_is_not_followed() -> None:
    ours, client = socket.socketpair()
    dropped = 0

    def send() -> None:
        nonlocal dropped
        try:
            while True:
                dropped += client.send(bytes(64 * 1024))
        except OSError:
            pass

    with ours, client:
        sender = threading.Thread(target=send)
        sender.start()
        try:
            assert rules.linger_discard(ours.fileno(), 64 * 1024), "it is still there"
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            sender.join()
    assert dropped <= 2 * DISCARD_BYTES


@pytest.mark.parametrize(
    ("ending", "unacknowledged", "may"),
    [(False, 0, False), (False, 1, False), (True, 1, False), (True, 0, True), (True, -22, True)],
)
def test_a_server_that_ends_waits_for_what_was_sent_only(
    ending: bool, unacknowledged: int, may: bool
) -> None:
    assert rules.linger_may_end(ending=ending, unacknowledged=unacknowledged) == may
