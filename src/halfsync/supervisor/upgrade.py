"""Handing a running server over to a new program (SIGUSR2): the new one has the sockets of the old, which then leaves.

The old supervisor starts its own command line again, as a child, and goes on serving. The new one takes the listening
sockets, and the queue for connections, out of one environment variable, starts its processes, and says when all of them
serve; only then the processes of the old one leave, and hand their idle connections over. A new one that cannot start
changes nothing.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn

from halfsync.forking import fork, unblock
from halfsync.listeners import UnixFile, describe_socket
from halfsync.originals import os, signal, socket
from halfsync.output import say
from halfsync.signals import forget_signals
from halfsync.supervisor.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from halfsync.directory import StartDirectory
    from halfsync.listeners import Listener

VARIABLE = "_HALFSYNC_UPGRADE"
SERVES = "serves"  # what the new supervisor tells the old one
DROPS = (
    "drops"  # likewise, before that: the descriptor of a listener that none of its processes will accept on
)


@dataclass(slots=True)
class Successor:
    """A new program that was started, as the old one sees it."""

    pid: int
    channel: Channel
    given: dict[int, socket.socket]  # listeners, by their descriptors
    told: bool = False  # that it serves
    dropped: set[socket.socket] = field(default_factory=set)  # listeners on which it does not accept

    def serves(self) -> bool:
        """Tell whether it has said that it serves. What it said before that is noted."""
        while not self.told and (word := self.channel.next()) is not None:
            what, _, descriptor = word.partition(" ")
            self.told = what == SERVES
            if what == DROPS:
                self.dropped.add(self.given[int(descriptor)])
        return self.told


@dataclass(slots=True)
class Legacy:
    """What a new program was given by the old one. listeners: by bind."""

    listeners: dict[str, list[Listener]]
    handover: tuple[socket.socket, socket.socket]
    channel: Channel


def start_successor(
    listeners: Mapping[str, Sequence[Listener]],
    handover: tuple[socket.socket, socket.socket],
    *,
    start: StartDirectory,
    variables: Mapping[str, str],
) -> Successor:
    """Start this program's command line again, with the same sockets. Raises OSError.

    start: the directory in which this program was started. variables: to add to the environment of this process.
    """
    ours, theirs = Channel.pair()
    given = {
        "listeners": {
            bind: [[one.socket.fileno(), one.file is not None] for one in some]
            for bind, some in listeners.items()
        },
        "handover": [end.fileno() for end in handover],
        "channel": theirs.fd,
    }
    try:
        pid = fork()
    except BaseException:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        _become(given, start, variables)
    try:
        unblock()
        theirs.close()
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # else it would serve, unknown to this process
        unblock()
        raise
    sockets = (one.socket for some in listeners.values() for one in some)
    return Successor(pid, ours, {sock.fileno(): sock for sock in sockets})


def _become(given: dict[str, object], start: StartDirectory, variables: Mapping[str, str]) -> NoReturn:
    """Be the new program. Ends the process where that cannot be."""
    try:
        forget_signals()  # what is ignored would stay ignored
        unblock()
        for descriptor in _descriptors(given):
            os.set_inheritable(descriptor, True)
        start.enter()
        environ = {**os.environ, **variables, VARIABLE: json.dumps(given)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)
    except OSError as error:
        say(f"halfsync: {sys.executable} cannot be started again: {error.strerror}")
    finally:
        os._exit(1)


def _descriptors(given: Mapping[str, object]) -> list[int]:
    listeners, handover, channel = given["listeners"], given["handover"], given["channel"]
    assert isinstance(listeners, dict)
    assert isinstance(handover, list)
    assert isinstance(channel, int)
    return [*(fd for some in listeners.values() for fd, _ in some), *handover, channel]


def inherit(environ: MutableMapping[str, str] | None = None) -> Legacy | None:
    """Take what an old program gives to this process; None: nothing. The environment is cleared of it."""
    found = os.environ if environ is None else environ
    text = found.pop(VARIABLE, None)
    if text is None:
        return None
    given = json.loads(text)
    for descriptor in _descriptors(given):
        os.set_inheritable(descriptor, False)
    listeners = {
        bind: [_listener(descriptor, owned) for descriptor, owned in some]
        for bind, some in given["listeners"].items()
    }
    receiver, sender = (socket.socket(fileno=descriptor) for descriptor in given["handover"])
    return Legacy(listeners, (receiver, sender), Channel(socket.socket(fileno=given["channel"])))


def _listener(descriptor: int, owned: bool) -> Listener:
    """Describe a listener that was given. owned: a socket file goes with it, which is ours to remove now."""
    listener = describe_socket(socket.socket(fileno=descriptor))
    if owned and listener.family == socket.AF_UNIX:
        path = os.fsdecode(listener.socket.getsockname())
        with suppress(OSError):  # it is gone: nothing is left to remove
            found = os.lstat(path)
            listener = replace(listener, file=UnixFile(path, found.st_dev, found.st_ino, os.getpid()))
    return listener
