"""Messages between a supervisor and one of its processes: whole words, over a pair of connected sockets.

The channel also tells each side when the other has died, for any reason: the socket then reads as ended.
"""

from __future__ import annotations

from contextlib import suppress

from halfsync.runtime.originals import socket

WORD_BYTES = 256


class Channel:
    """One end of a channel. Owned by the process that uses it, which must close its copy of the other end."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._unsaid: list[str] = []  # words for which there was no room yet
        self.lost = False  # the other side has ended

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return two ends. Raises OSError."""
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(first), cls(second)

    @property
    def fd(self) -> int:
        """A descriptor that becomes readable when there is a word, or the other side has ended; -1 after that."""
        return -1 if self.lost else self._socket.fileno()

    def tell(self, word: str) -> None:
        """Send a word, or queue it once for `go_on` if the other side is too busy to read and there is no room.

        The word is lost if the other side has ended.
        """
        if word not in self._unsaid:
            self._unsaid.append(word)
        self.go_on()

    def go_on(self) -> None:
        """Send queued words, as far as there is room now."""
        with suppress(OSError):  # no room; or the other side has ended, which reading will show
            while self._unsaid:
                self._socket.send(self._unsaid[0].encode(), socket.MSG_NOSIGNAL)
                del self._unsaid[0]

    @property
    def is_full(self) -> bool:
        """Whether words wait for `go_on`. No event tells when there is room."""
        return bool(self._unsaid) and not self.lost

    def next(self) -> str | None:
        """Return the next word; None: there is none. `lost` is set after the last word of a side that has ended."""
        if self.lost:
            return None
        try:
            word = self._socket.recv(WORD_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            word = b""
        if not word:
            self.lost = True
            return None
        return word.decode()

    def close(self) -> None:
        """Close this end."""
        self.lost = True
        self._socket.close()
