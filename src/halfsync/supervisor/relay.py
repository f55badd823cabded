"""Moving connections from the handoff queue of one program to that of another.

Each program has a queue of its own, so that neither can end the other's. A record and its descriptor are moved as they
are: only the processes at both ends know what is in them (`halfsync.shared.handoff_queue`).
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

from halfsync.runtime.originals import os, socket

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDS_PER_TURN = 64  # before the supervisor does anything else
RECORD_BYTES = 128 * 1024  # more than any record has
_LATER = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS, errno.EINTR)


class Relay:
    """Takes records out of a source, and puts them into a target. Owned by a supervisor, which owns both ends.

    ``over``: nobody can put anything into the source any more, and all that was in it has been moved.
    """

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self._source = source
        self._target = target
        self._held: tuple[bytes, Sequence[tuple[int, int, bytes]]] | None = None
        self._waits = False
        self.over = False

    @property
    def fds(self) -> list[int]:
        """What becomes readable when there is something to move; nothing, while something waits for room."""
        return [] if self.over or self._waits else [self._source.fileno()]

    @property
    def waits(self) -> bool:
        """Whether something waits that nothing tells the time for: room in the target, or a free descriptor."""
        return self._waits

    @property
    def is_empty(self) -> bool:
        """Whether nothing was left to move when it was looked at last."""
        return self._held is None and not self._waits

    def move(self) -> None:
        """Move some records, as far as there is room for them."""
        self._waits = False
        for _ in range(RECORDS_PER_TURN):
            if self._held is None:
                self._take()
            if self._held is None or not self._put(*self._held):
                return

    def _take(self) -> None:
        """Take a record, if there is one. If no descriptor is free the kernel would drop that of the record."""
        try:
            os.close(os.dup(self._source.fileno()))
            data, rights, _, _ = self._source.recvmsg(
                RECORD_BYTES, socket.CMSG_SPACE(4), socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            self._waits = True
            return
        if data:
            self._held = data, rights
        else:
            self.over = True

    def _put(self, data: bytes, rights: Sequence[tuple[int, int, bytes]]) -> bool:
        """Put a record. Returns whether that is done with; if nobody can take it any more, its connection is closed."""
        try:
            self._target.sendmsg([data], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno in _LATER:
                self._waits = True
                return False
        self._drop()
        return True

    def _drop(self) -> None:
        """Close this process's copy of the connection of the record that is held."""
        if self._held is None:
            return
        rights, self._held = self._held[1], None
        for _, _, descriptor in rights:
            os.close(int.from_bytes(descriptor, sys.byteorder))

    def close(self) -> None:
        """Move no more. The ends stay open."""
        self.over, self._waits = True, False
        self._drop()
