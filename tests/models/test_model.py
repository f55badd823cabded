"""The parts of a model, and the choice of one."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.leaks import held, leaked
from tests.wsgi import hello

import halfsync
from halfsync.http.trust import TrustedPeers
from halfsync.listening.endpoints import Endpoints
from halfsync.models.model import MODEL_CLASSES, MainThread, Parts, make_model
from halfsync.settings import Settings
from halfsync.stream.streaming import StreamBridge
from halfsync.wsgi.application import make_bridge

QUEUE = (998, 999)  # only named, never used


def parts(
    *, model: str = "thread", stream: bool = False, handoff_queue: tuple[int, int] | None = None
) -> Parts:
    """Return the parts of a model without listeners."""
    settings = Settings.from_options(model=model, stream=stream)
    bridge: Any = StreamBridge(halfsync.StreamHandler)
    if not stream:
        bridge = make_bridge(hello, [], settings, TrustedPeers(()))
    return Parts(bridge, [], Endpoints([]), settings, 10, handoff_queue=handoff_queue)


def test_both_ends_of_the_queue_have_names() -> None:
    given = parts(handoff_queue=QUEUE)
    assert (given.adoption_fd, given.handoff_fd) == QUEUE


@pytest.mark.parametrize("stream", [False, True], ids=["http", "stream"])
def test_without_a_queue_nothing_is_handed_off(stream: bool) -> None:
    given = parts(stream=stream)
    assert (given.adoption_fd, given.handoff_fd) == (-1, -1)


def test_a_stream_is_not_handed_off_to_others() -> None:
    given = replace(parts(stream=True, handoff_queue=QUEUE), listeners=[997])
    assert (given.adoption_fd, given.handoff_fd) == (-1, -1)


def test_a_stream_without_listeners_adopts_and_hands_off_nothing() -> None:
    given = parts(stream=True, handoff_queue=QUEUE)
    assert (given.adoption_fd, given.handoff_fd) == (QUEUE[0], -1)


@pytest.mark.parametrize("name", MODEL_CLASSES)
def test_the_model_is_made_that_the_settings_name(name: str) -> None:
    before = held()
    model = make_model(parts(model=name))
    assert (type(model).__module__, type(model).__name__) == MODEL_CLASSES[name]
    assert model.close(0)
    del model
    assert not leaked(before)


def test_a_main_thread_waits_for_the_end_and_does_what_a_model_leaves_to_it() -> None:
    model: Any = SimpleNamespace(done_fd=3)
    idle = MainThread(model, None)
    idle.turn()
    assert (idle.watched, idle.timeout()) == ([3], None)
    turned: list[int] = []
    turns: Any = SimpleNamespace(watched=[4, 5], timeout=lambda: 0.5, turn=lambda: turned.append(1))
    busy = MainThread(model, turns)
    busy.turn()
    assert (busy.watched, busy.timeout(), turned) == ([3, 4, 5], 0.5, [1])
