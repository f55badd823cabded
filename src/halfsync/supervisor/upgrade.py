"""Starting this program again beside itself (SIGUSR2), with its sockets and its hand-off queue.

At a stop, a service manager (systemd) waits for a main process only if that was its own child when it became the main
process. So the new program must not remain a child of the old one. An intermediary process starts it, waits while it
boots, and reports its exit code. Once the intermediary has ended, the new program is a child of the process that adopts
orphans.

One environment variable has what the new program gets: descriptors, and what they are. The service manager's variables
are set for the new program too. takeover.py has the words of the two programs, and which of them owns what until when.
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

# Either program names a listener on which its processes no longer accept, by its descriptor in the new program.
DROPS = "drops"
DESCRIPTORS = 65_536  # if the system has no limit
LOOK_S = 0.02  # between two checks whether a booting program has ended

Queue = tuple[socket.socket, socket.socket]


@dataclass(slots=True, kw_only=True)
class PeerProgram:
    """Another program of the same service: its pid, and the words between it and this one.

    given: the listeners that both have, by their descriptors in the new program.
    """

    pid: int
    channel: Channel
    given: dict[int, socket.socket]
    told: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)

    def tell(self, word: str) -> None:
        """Send a word, unless it was sent before."""
        if word not in self.told:
            self.channel.tell(word)
            self.told.add(word)

    def listen(self) -> None:
        """Read its words, and send words for which there was no room before."""
        while (word := self.channel.next()) is not None:
            self.heard.add(word)
        self.channel.go_on()

    @property
    def dropped(self) -> set[socket.socket]:
        """The listeners on which it has said that it does not accept."""
        words = (word.split() for word in self.heard if word.startswith(DROPS))
        return {self.given[int(descriptor)] for _, descriptor in words}

    def accepts(self, listener: socket.socket) -> bool:
        """Return whether it accepts on a listener: both programs have that, and it has not said that it does not."""
        return listener in self.given.values() and listener not in self.dropped


@dataclass(slots=True, kw_only=True)
class Successor(PeerProgram):
    """A new program, as the old one sees it. intermediary: the pid of the process between them; 0: it has ended."""

    intermediary: int
    control: socket.socket  # the intermediary reports the exit code by it, and ends once it is closed
    code: int | None = None  # the exit code; None: it has not ended, or the code is unknown
    stopped: bool = False  # it was sent a signal to end

    @property
    def fds(self) -> list[int]:
        """Descriptors that become readable when there is something for `listen`."""
        return [fd for fd in (self.channel.fd, self.control.fileno()) if fd >= 0]

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and its exit code is known if it will ever be."""
        return self.channel.lost and self.control.fileno() < 0

    def listen(self) -> None:
        """Read its words, and its exit code if it has ended."""
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
        """End the intermediary, while the new program goes on."""
        self.control.close()
        if self.intermediary:
            # It is a child, and was not reaped, so the pid is still its own.
            os.kill(self.intermediary, signal.SIGKILL)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the new program, unless it has ended."""
        if not self.channel.lost:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self) -> None:
        """Close the sockets to it."""
        self.channel.close()
        self.control.close()


@dataclass(slots=True, kw_only=True)
class Predecessor(PeerProgram):
    """What the old program has given to a new one. listeners: by name. handoff_queue: the old program's.

    passed: as for `Sockets`; None: the old program did not say.
    """

    listeners: dict[str, list[Listener]]
    passed: dict[int, int] | None
    handoff_queue: Queue

    @property
    def descriptors(self) -> list[int]:
        """The descriptors other than listeners."""
        return [*(end.fileno() for end in self.handoff_queue), self.channel.fd]

    def close(self) -> None:
        """Close everything except the listeners."""
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
    """Run this program's command line again, with the same sockets. Raises OSError.

    passed: as for `Sockets`. start: the directory in which this program was started. umask and ignored: its umask then,
    and the signals that it ignored then. config: the file of the settings. variables: returns what to add to the
    environment of a process with this pid.
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
                os.kill(pid, signal.SIGKILL)  # else it would assume that this process is dead, and serve
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
    """Start the new program, tell the old one its pid and its exit code, and end when the old one stops listening.

    This process keeps nothing else open, so that no other process takes it for the new program or the old one.
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
    """Become the new program. If that fails, end the process."""
    try:
        forget_signals()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)  # which stays so in the new program
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
    """Return a listener that was given.

    file: its socket file, which is the old program's. made: the settings with which the old program opened it. Another
    version may have other settings.
    """
    return replace(
        describe_socket(socket.socket(fileno=descriptor)),
        file=None if file is None else UnixFile(*file, old),
        made=Made(**made) if made and set(made) == set(Made._fields) else None,
    )
