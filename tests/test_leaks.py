"""The leak check itself: it must be able to fail, for each kind of thing that it looks at."""

import os
import threading

import pytest

import halfsync
from halfsync.native import checks
from tests.leaks import held, leaked
from tests.wsgi import EVENT_TIMEOUT_S, hello

SHORT_S = 0.05


def test_doing_nothing_leaks_nothing() -> None:
    assert not leaked(held(), SHORT_S)


def test_a_descriptor_is_named() -> None:
    before = held()
    reader, writer = os.pipe()
    assert leaked(before, SHORT_S) == {"descriptor pipe:": 2}
    os.close(reader)
    os.close(writer)
    assert not leaked(before)


def test_a_thread_is_named() -> None:
    before = held()
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert leaked(before, SHORT_S).total() == 1
    end.set()
    thread.join()
    assert not leaked(before)


@pytest.mark.skipif(not checks.enabled(), reason="native objects are counted in the checks build only")
def test_a_server_that_is_not_closed_is_reported_in_every_respect() -> None:
    before = held()
    server = halfsync.Server(hello, bind="127.0.0.1:0", threads=3)
    server.start()
    more = leaked(before, SHORT_S)
    assert more["native engine"] == 1
    assert more["native queue"] == 1
    assert more["thread halfsync-engine"] == 1
    assert more["descriptor socket:"] == 2  # the listener, and the engine's own copy of it
    assert sum(number for name, number in more.items() if name.startswith("thread ")) == 5  # one attends
    assert server.close(EVENT_TIMEOUT_S)
    del server
    assert not leaked(before)
