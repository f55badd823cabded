"""What a supervisor and one of its processes say to each other: whole words, over a pair of connected sockets.

Each hears by it of the other's death, whatever ended it: the socket then reads as ended.
"""

from __future__ import annotations

from contextlib import suppress

from halfsync.runtime.originals import socket

WORD_BYTES = 256


class Channel:
    """One end. Owned by the process that it is for; the other's end must be closed there."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._unsaid: list[str] = []  # words for which there was no room yet
        self.lost = False  # the other has ended

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return two ends. Raises OSError."""
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(first), cls(second)

    @property
    def fd(self) -> int:
        """A descriptor that becomes readable when there is a word, or the other has ended; -1 after that."""
        return -1 if self.lost else self._socket.fileno()

    def tell(self, word: str) -> None:
        """Say a word; once, where it could not be said before. Lost if the other has ended.

        The other may be too busy to listen: what finds no room waits for `go_on`.
        """
        if word not in self._unsaid:
            self._unsaid.append(word)
        self.go_on()

    def go_on(self) -> None:
        """Say what could not be said before, as far as there is room now."""
        with suppress(OSError):  # no room; or it has ended, which is heard of by reading
            while self._unsaid:
                self._socket.send(self._unsaid[0].encode(), socket.MSG_NOSIGNAL)
                del self._unsaid[0]

    @property
    def is_full(self) -> bool:
        """Whether there is something for `go_on`, which nothing tells the time for."""
        return bool(self._unsaid) and not self.lost

    def next(self) -> str | None:
        """Return the next word; None when there is none. After the last, `lost` tells that the other has ended."""
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
