"""The programs before and after this one in an upgrade, as this one sees them: their words, sockets and ends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from halfsync.runtime.originals import os, signal, socket
from halfsync.supervisor.channel import WORD_BYTES

if TYPE_CHECKING:
    from halfsync.listening.listeners import Listener
    from halfsync.supervisor.channel import Channel

# Either program names a listener on which its processes no longer accept, by its descriptor in the new program.
DROPS = "drops"

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
