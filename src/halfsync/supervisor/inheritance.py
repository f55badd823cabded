"""What an old program gives to the new one in an upgrade: one environment variable describes it, in JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from halfsync.host.preflight import GIVEN
from halfsync.listening.listeners import Made, UnixFile, describe_socket
from halfsync.runtime.originals import os, socket
from halfsync.supervisor.channel import Channel
from halfsync.supervisor.programs import Predecessor

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from halfsync.listening.listeners import Listener
    from halfsync.supervisor.programs import Queue


def describe_gift(
    listeners: Mapping[str, Sequence[Listener]],
    passed: Mapping[int, int],
    handoff_queue: Queue,
    *,
    channel: Channel,
    config: str | None,
) -> dict[str, object]:
    """Return what the variable says. channel: the new program's end; the rest: as for `start_successor`."""
    return {
        "pid": os.getpid(),
        "config": config,
        "listeners": {
            bind: [[one.socket.fileno(), _file(one)] for one in some] for bind, some in listeners.items()
        },
        "made": {
            one.socket.fileno(): one.made and one.made._asdict()
            for some in listeners.values()
            for one in some
        },
        "passed": passed,
        "handover": [end.fileno() for end in handoff_queue],
        "channel": channel.fd,
    }


def _file(listener: Listener) -> list[object] | None:
    file = listener.file
    return None if file is None else [file.path, file.device, file.inode]


def by_descriptor(listeners: Mapping[str, Sequence[Listener]]) -> dict[int, socket.socket]:
    """Return the sockets of these listeners, by descriptor."""
    return {one.socket.fileno(): one.socket for some in listeners.values() for one in some}


def descriptors_in(given: Mapping[str, object]) -> list[int]:
    """Return all descriptors that are given."""
    listeners, handoff_queue, channel = given["listeners"], given["handover"], given["channel"]
    assert isinstance(listeners, dict)
    assert isinstance(handoff_queue, list)
    assert isinstance(channel, int)
    return [*(fd for some in listeners.values() for fd, _ in some), *handoff_queue, channel]


def find_given_config() -> str | None:
    """Return the settings file of the old program that has started this one; None: no such program, or no file."""
    text = os.environ.get(GIVEN)
    config: str | None = None if text is None else json.loads(text).get("config")
    return config


def inherit(environ: MutableMapping[str, str] | None = None) -> Predecessor | None:
    """Return what an old program gives to this process, and remove it from the environment. None: nothing."""
    found = os.environ if environ is None else environ
    text = found.pop(GIVEN, None)
    if text is None:
        return None
    given = json.loads(text)
    for descriptor in descriptors_in(given):
        os.set_inheritable(descriptor, False)
    old, made = given["pid"], given.get("made", {})
    listeners = {
        bind: [_listener(descriptor, file, made.get(str(descriptor)), old) for descriptor, file in some]
        for bind, some in given["listeners"].items()
    }
    receiver, sender = (socket.socket(fileno=descriptor) for descriptor in given["handover"])
    channel = Channel(socket.socket(fileno=given["channel"]))
    passed = given.get("passed")
    return Predecessor(
        pid=old,
        channel=channel,
        given=by_descriptor(listeners),
        listeners=listeners,
        passed=None if passed is None else {int(number): inode for number, inode in passed.items()},
        handoff_queue=(receiver, sender),
    )


def _listener(
    descriptor: int, file: tuple[str, int, int] | None, made: Mapping[str, Any] | None, old: int
) -> Listener:
    """Return a listener that was given.

    file: its socket file, which is the old program's. made: the settings with which the old program opened it. Another
    version may have other settings.
    """
    return replace(
        describe_socket(socket.socket(fileno=descriptor)),
        file=None if file is None else UnixFile(*file, old),
        made=Made(**made) if made and set(made) == set(Made._fields) else None,
    )
