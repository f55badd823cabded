"""What fails before the application is called is a 500 or a 503 and a line in the log, never an empty close.

Each server is a process of its own, since what fails is meant to fail for all of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving
from tests.faults.watching import descriptors
from tests.wsgi import until

BODY = bytes(300_000)  # which lies in a file
SMALL = ("--body-memory", "1000")

# /short leaves one descriptor, for a body's file, but none for a copy of it; /plenty gives them back.
SHORT = """
import os, resource

LIMITS = resource.getrlimit(resource.RLIMIT_NOFILE)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/short":
        free = os.dup(2)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, LIMITS[1]))
    elif path == "/plenty":
        resource.setrlimit(resource.RLIMIT_NOFILE, LIMITS)
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d bytes" % len(body)]
"""

# The close() of what /from?N-M is answered with has the allocations from the N-th to the M-th after it fail: in any
# thread, so it waits until the main one and the one that accepts have nothing to do.
NO_MEMORY = """
import sys, threading, time, _testcapi

class Arming:
    def __init__(self, start, stop):
        self.start, self.stop = start, stop
        self.parts = iter([b"armed"])
    def __iter__(self):
        return self.parts
    def close(self):
        _testcapi.set_nomemory(self.start, self.stop)

def wait_for_others():
    for thread in threading.enumerate():
        if thread.name in ("MainThread", "halfsync-accept") and thread is not threading.current_thread():
            while not waits(thread):
                time.sleep(0.001)

def waits(thread):  # in poll(2), and not for the GIL: what it had to do would be done after a moment without it
    for _ in range(2):
        frame = sys._current_frames()[thread.ident]
        if frame.f_code.co_name != "wait":
            return False
        time.sleep(0.001)
    return True

def app(environ, start_response):
    _testcapi.remove_mem_hooks()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    if environ["PATH_INFO"] == "/from":
        wait_for_others()
        start, _, stop = environ["QUERY_STRING"].partition("-")
        return Arming(int(start), int(stop))
    return [b"hello"]
"""


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


@contextmanager
def serving(directory: Path, application: str, *options: str) -> Iterator[Serving]:
    """Serve in a process that has one thread for the application, if its model has any made in advance."""
    with Serving(directory, application, "--threads", "1", *options) as server:
        yield server


def test_a_body_whose_descriptor_cannot_be_copied_is_answered_503(
    tmp_path: Path, model: tuple[str, str]
) -> None:
    with serving(tmp_path, SHORT, *model, *SMALL) as server:
        with Connection(server.address) as client:  # the first request loads what every later one has
            client.send(build("/plenty"))
            assert client.response().status == 200
            before = descriptors(server.process.pid)
        for number in range(1, 4):
            until(lambda: descriptors(server.process.pid) < before)  # the last connection is closed
            with Connection(server.address) as client:
                client.send(build("/short"))
                assert client.response().status == 200
                client.send(build("/body", method="POST", body=BODY))
                response = client.response()
                assert (response.status, response.one("Retry-After")) == (503, "1")
                client.closed()
            server.wait_lines("Too many open files", number)
            server.wait_lines("answering a request with 503", number)
            with Connection(server.address) as client:
                client.send(build("/plenty") + build("/body", method="POST", body=BODY))
                assert client.response().status == 200
                assert client.response().body == b"300000 bytes"


def test_a_head_request_is_refused_without_a_body(tmp_path: Path, model: tuple[str, str]) -> None:
    with serving(tmp_path, SHORT, *model, *SMALL) as server, Connection(server.address) as client:
        client.send(build("/short"))
        assert client.response().status == 200
        client.send(build("/body", method="HEAD", body=BODY))
        assert client.response("HEAD").status == 503
        client.closed()


def status_without_memory(server: Serving, start: int, stop: int, body: bytes | None) -> int:
    """Return how a request is answered for which these allocations fail, counted from the end of the one before."""
    with Connection(server.address) as client:
        client.send(build(f"/from?{start}-{stop}"))
        assert client.response().body == b"armed"
        client.send(build("/next", method="POST", body=body, fields=[("X-A", "b")]))
        return client.response().status


@pytest.mark.parametrize("body", [None, bytes(100), BODY], ids=["no body", "in memory", "spooled"])
def test_an_allocation_that_fails_before_the_application_is_answered(
    tmp_path: Path, model: tuple[str, str], body: bytes | None
) -> None:
    pytest.importorskip("_testcapi")
    statuses = set()
    with serving(tmp_path, NO_MEMORY, *model, *SMALL) as server:
        for start in range(40):
            statuses.add(status_without_memory(server, start, start + 1, body))
            assert fetch(server.address).body == b"hello", "the server goes on"
        assert statuses <= {200, 500, 503}
        assert 503 in statuses
        assert any("MemoryError" in line for line in server.lines)


@pytest.mark.parametrize("start", [0, 1, 3, 5, 8])
def test_a_request_is_answered_without_memory_to_log_it(
    tmp_path: Path, model: tuple[str, str], start: int
) -> None:
    pytest.importorskip("_testcapi")
    with serving(tmp_path, NO_MEMORY, *model, *SMALL) as server:
        assert status_without_memory(server, start, start + 1000, BODY) in (500, 503), server.lines
