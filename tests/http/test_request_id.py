"""The id of a request: which are taken from whom, and that those that are made do not repeat, in any process."""

import os
import re
import socket
import struct
import threading

import pytest

from halfsync.http.request_id import RequestIds
from halfsync.http.trust import TrustedPeers
from halfsync.testing.request_ids import ID_MOST, request_id

PROXY = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 4711) + socket.inet_aton("10.0.0.1") + bytes(8)
STRANGER = (
    struct.pack("=H", socket.AF_INET) + struct.pack("!H", 4711) + socket.inet_aton("10.0.0.2") + bytes(8)
)
IDS = RequestIds("X-Request-Id", TrustedPeers(["10.0.0.1"]))
MADE = re.compile("[0-9a-f]{32}")


def head(*fields: str) -> bytes:
    """Return a request's head with these field lines."""
    return "".join(
        f"{line}\r\n" for line in ("GET / HTTP/1.1", "Host: a", *fields, "Accept: */*", "")
    ).encode()


@pytest.mark.parametrize(
    "sent",
    [
        "a",
        "7b5a2f0e-4f1d-4c1e-9e0f-0d6a3f1b2c3d",
        "Root=1-67891233-abcdef012345678912345678",
        "0A000001:C350_0A000002:01BB_6565a1b2_0001:1A2B",
        "aGVsbG8+/w==",
        "user@host!#$%&'*+-.^_`|~",
        "x" * ID_MOST,
    ],
)
def test_an_id_of_a_trusted_proxy_is_taken(sent: str) -> None:
    assert request_id(IDS, head(f"X-Request-ID: {sent}"), PROXY) == (sent, True)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "a b",
        "a,b",
        'a"b',
        "a\\b",
        "a;b",
        "a\tb",
        "{a}",
        "(a)",
        "<a>",
        "[a]",
        "a?b",
        "\u00e4",
        "x" * (ID_MOST + 1),
    ],
)
def test_an_id_that_is_no_token_or_too_long_is_replaced(sent: str) -> None:
    found, is_sent = request_id(IDS, head(f"x-request-id: {sent}"), PROXY)
    assert MADE.fullmatch(found)
    assert is_sent


def test_an_id_of_any_other_peer_is_replaced() -> None:
    for ids in (IDS, RequestIds("X-Request-Id", None)):
        found, is_sent = request_id(ids, head("X-Request-Id: mine"), STRANGER)
        assert MADE.fullmatch(found)
        assert is_sent


def test_without_the_field_an_id_is_made() -> None:
    found, is_sent = request_id(IDS, head("X-Request-Idx: a", "X-Request: b"), PROXY)
    assert MADE.fullmatch(found)
    assert not is_sent


def test_of_several_fields_the_last_one_counts() -> None:
    # A proxy that adds the field adds it behind what the client has sent.
    assert request_id(IDS, head("X-Request-Id: client", "X-Request-Id: proxy"), PROXY) == ("proxy", True)
    assert MADE.fullmatch(request_id(IDS, head("X-Request-Id: proxy", "X-Request-Id: no id"), PROXY)[0])


def test_the_field_has_the_name_in_the_settings() -> None:
    ids = RequestIds("X-Amzn-Trace-Id", TrustedPeers(["*"]))
    assert request_id(ids, head("X-Request-Id: a", "x-amzn-trace-id: b"), STRANGER) == ("b", True)


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        RequestIds(name, None)


def made(number: int) -> list[str]:
    """Return so many ids that are made."""
    return [request_id(IDS, head(), PROXY)[0] for _ in range(number)]


def test_made_ids_differ_and_use_all_their_bits() -> None:
    ids = made(4000)
    assert len(set(ids)) == len(ids)
    for position in range(32):  # each digit has each value: one is missing by chance once in 10**110
        assert {one[position] for one in ids} == set("0123456789abcdef")


def test_threads_make_different_ids() -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.extend(made(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 200


def test_forked_processes_make_different_ids() -> None:
    made(1)  # the generator of this thread is seeded, and each child begins with a copy of it
    reading, writing = os.pipe()
    for _ in range(3):
        child = os.fork()
        if child == 0:
            grandchild = os.fork()
            os.write(writing, "".join(f"{one}\n" for one in made(3)).encode())
            if grandchild:
                os.waitpid(grandchild, 0)
            os._exit(0)
        os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        ids = [*pipe.read().split(), *made(3)]
    assert len(ids) == 3 * 6 + 3
    assert len(set(ids)) == len(ids)
