"""The process of the model `process` that accepts, and the one that has forked it."""

import signal

import pytest
from tests.wsgi import hello

import halfsync
from halfsync.models import process


def test_a_parent_that_hangs_before_it_has_a_group_of_its_own_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "drop_signals", lambda *_: signal.pause())
    server = halfsync.Server(hello, model="process", bind=["127.0.0.1:0"])
    server.start()
    assert server.close(0.1) is False
