"""Starting this program again beside itself (SIGUSR2), with its sockets and its queue of connections.

A service manager waits at a stop for a main process that was its own child when it became that (systemd), and for no
other. So the new program is not left a child of the old one. A process between starts it, waits while it boots, and
tells what it ended with; when that has gone, the new program belongs to whoever adopts it.

What the new program gets is written into one environment variable: descriptors, and what they are. Beside it stand the
variables of a service manager, as they must be for the new program. What the two say to each other, and who owns what
until when, is in takeover.py.
"""

from __future__ import annotations

import errno
import json
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from halfsync.errors import reason_of
from halfsync.host.preflight import GIVEN
from halfsync.listening.activation import pass_on
from halfsync.listening.listeners import Made, UnixFile, describe_socket
from halfsync.native.system import readable
from halfsync.runtime.forking import fork, restore, unblock
from halfsync.runtime.originals import os, signal, socket
from halfsync.runtime.output import STANDARD, say
from halfsync.runtime.signals import forget_signals
from halfsync.supervisor.channel import WORD_BYTES, Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence

    from halfsync.host.directory import StartDirectory
    from halfsync.listening.listeners import Listener

# Either says it of a listener, by its descriptor in the new one, on which its processes do not accept any more.
DROPS = "drops"
DESCRIPTORS = 65_536  # if the system has no limit
LOOK_S = 0.02  # between two looks whether a program that boots has ended

Queue = tuple[socket.socket, socket.socket]


@dataclass(slots=True, kw_only=True)
class PeerProgram:
    """Another program of the same service: its number, and what was said between it and this one.

    given: the listeners that both have, by their descriptors in the new one.
    """

    pid: int
    channel: Channel
    given: dict[int, socket.socket]
    told: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)

    def tell(self, word: str) -> None:
        """Say a word, once and for all."""
        if word not in self.told:
            self.channel.tell(word)
            self.told.add(word)

    def listen(self) -> None:
        """Take in what it has said, and say what could not be said before."""
        while (word := self.channel.next()) is not None:
            self.heard.add(word)
        self.channel.go_on()

    @property
    def dropped(self) -> set[socket.socket]:
        """The listeners on which it has said that it does not accept."""
        words = (word.split() for word in self.heard if word.startswith(DROPS))
        return {self.given[int(descriptor)] for _, descriptor in words}

    def accepts(self, listener: socket.socket) -> bool:
        """Tell whether it accepts on a listener: both have it, and it has not said that it does without."""
        return listener in self.given.values() and listener not in self.dropped


@dataclass(slots=True, kw_only=True)
class Successor(PeerProgram):
    """A new program that was started, as the old one sees it. intermediary: the process between; 0: it has gone."""

    intermediary: int
    control: socket.socket  # by which the process between tells the exit code, and ends once it is closed
    code: int | None = None  # which it ended with; None: it has not, or nobody knows
    stopped: bool = False  # it was told by a signal to end

    @property
    def fds(self) -> list[int]:
        """What becomes readable when there is something for `listen`."""
        return [fd for fd in (self.channel.fd, self.control.fileno()) if fd >= 0]

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and its exit code is known if anybody knows it."""
        return self.channel.lost and self.control.fileno() < 0

    def listen(self) -> None:
        """Take in what it has said, and whether it has ended."""
        PeerProgram.listen(self)
        while self.control.fileno() >= 0:
            try:
                said = self.control.recv(WORD_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if said:
                self.code = int(said)
            else:
                self.control.close()

    def release(self) -> None:
        """Let the process between go, while the new program goes on."""
        self.control.close()
        if self.intermediary:
            # It is a child, and was not reaped: the number is its own.
            os.kill(self.intermediary, signal.SIGKILL)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the new program, unless it has ended."""
        if not self.channel.lost:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self) -> None:
        """Close what leads to it."""
        self.channel.close()
        self.control.close()


@dataclass(slots=True, kw_only=True)
class Predecessor(PeerProgram):
    """What a new program was given by the old one. listeners: by name. handoff_queue: the old one's queue.

    passed: what `Sockets` takes; None: the old one does not tell.
    """

    listeners: dict[str, list[Listener]]
    passed: dict[int, int] | None
    handoff_queue: Queue

    @property
    def descriptors(self) -> list[int]:
        """What is not a listener."""
        return [*(end.fileno() for end in self.handoff_queue), self.channel.fd]

    def close(self) -> None:
        """Close what is not a listener."""
        self.channel.close()
        for end in self.handoff_queue:
            end.close()


def start_successor(
    listeners: Mapping[str, Sequence[Listener]],
    passed: Mapping[int, int],
    handoff_queue: Queue,
    *,
    start: StartDirectory,
    umask: int,
    ignored: Collection[int],
    config: str | None,
    variables: Callable[[int], Mapping[str, str]],
) -> Successor:
    """Start this program's command line again, with the same sockets. Raises OSError.

    passed: as `Sockets` has it. start: the directory in which this program was started. umask and ignored: its umask,
    and the signals that it ignored then. config: the file that gave the settings. variables: returns what to add to the
    environment of a process with this number.
    """
    ours, theirs = Channel.pair()
    given: dict[str, object] = {
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
        "channel": theirs.fd,
    }
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as undoing:
        undoing.callback(ours.close)
        undoing.callback(near.close)
        try:
            intermediary, mask = fork()
            if intermediary == 0:
                _run_intermediary(far, lambda: _become(given, start, umask, ignored, variables))
        finally:
            theirs.close()
            far.close()
        pid = 0
        try:
            pid = int(near.recv(WORD_BYTES) or -errno.EAGAIN)
            restore(mask)
        except BaseException:
            if pid > 0:
                os.kill(pid, signal.SIGKILL)  # else it would take this process for dead, and serve
            restore(mask)
            raise
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        undoing.pop_all()
    return Successor(
        pid=pid, channel=ours, intermediary=intermediary, control=near, given=_by_descriptor(listeners)
    )


def _by_descriptor(listeners: Mapping[str, Sequence[Listener]]) -> dict[int, socket.socket]:
    return {one.socket.fileno(): one.socket for some in listeners.values() for one in some}


def _run_intermediary(old: socket.socket, become: Callable[[], NoReturn]) -> NoReturn:
    """Start the new program; tell the old one its number, and what it ended with. Go when the old one does not listen.

    This process has nothing open but that, lest others take it for the new program or the old one.
    """
    try:
        forget_signals()
        try:
            pid, _ = fork()
        except OSError as error:
            old.send(b"%d" % -(error.errno or errno.EAGAIN), socket.MSG_NOSIGNAL)
            os._exit(1)
        if pid == 0:
            become()
        unblock()
        kept = old.fileno()
        os.closerange(STANDARD, kept)
        os.closerange(kept + 1, max(os.sysconf("SC_OPEN_MAX"), DESCRIPTORS))
        old.send(b"%d" % pid, socket.MSG_NOSIGNAL)
        ended = 0
        while not ended and not readable([kept], LOOK_S):
            ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            old.send(b"%d" % os.waitstatus_to_exitcode(status), socket.MSG_NOSIGNAL)
    finally:
        os._exit(0)


def _file(listener: Listener) -> list[object] | None:
    file = listener.file
    return None if file is None else [file.path, file.device, file.inode]


def _become(
    given: dict[str, object],
    start: StartDirectory,
    umask: int,
    ignored: Collection[int],
    variables: Callable[[int], Mapping[str, str]],
) -> NoReturn:
    """Be the new program. Ends the process where that cannot be."""
    try:
        forget_signals()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)  # which lasts, also in the new program
        unblock()
        activation, passed = pass_on(os.getpid())
        for descriptor in {*_descriptors(given), *passed}:
            os.set_inheritable(descriptor, True)
        start.enter()
        os.umask(umask)
        environ = {**os.environ, **variables(os.getpid()), **activation, GIVEN: json.dumps(given)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)
    except OSError as error:
        say(f"halfsync: {sys.executable} cannot be started again: {reason_of(error)}")
    finally:
        os._exit(1)


def _descriptors(given: Mapping[str, object]) -> list[int]:
    listeners, handoff_queue, channel = given["listeners"], given["handover"], given["channel"]
    assert isinstance(listeners, dict)
    assert isinstance(handoff_queue, list)
    assert isinstance(channel, int)
    return [*(fd for some in listeners.values() for fd, _ in some), *handoff_queue, channel]


def find_given_config() -> str | None:
    """Return the file that gave the settings of an old program, if one has started this program and had one."""
    text = os.environ.get(GIVEN)
    config: str | None = None if text is None else json.loads(text).get("config")
    return config


def inherit(environ: MutableMapping[str, str] | None = None) -> Predecessor | None:
    """Take what an old program gives to this process; None: nothing. The environment is cleared of it."""
    found = os.environ if environ is None else environ
    text = found.pop(GIVEN, None)
    if text is None:
        return None
    given = json.loads(text)
    for descriptor in _descriptors(given):
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
        given=_by_descriptor(listeners),
        listeners=listeners,
        passed=None if passed is None else {int(number): inode for number, inode in passed.items()},
        handoff_queue=(receiver, sender),
    )


def _listener(
    descriptor: int, file: tuple[str, int, int] | None, made: Mapping[str, Any] | None, old: int
) -> Listener:
    """Describe a listener that was given.

    file: a socket file that goes with it, which is the old program's. made: the settings by which the old one opened
    it. Another version may have others.
    """
    return replace(
        describe_socket(socket.socket(fileno=descriptor)),
        file=None if file is None else UnixFile(*file, old),
        made=Made(**made) if made and set(made) == set(Made._fields) else None,
    )
