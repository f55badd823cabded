"""Moving connections from the hand-off queue of one program to that of another.

Each program has its own queue, so that neither can end the other's. A record and its descriptor are moved unchanged:
only the processes at both ends know what a record contains (`halfsync.shared.handoff_queue`).
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

from halfsync.runtime.originals import os, socket

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDS_PER_TURN = 64  # before the supervisor does anything else
RECORD_BYTES = 128 * 1024  # more than the longest record
_LATER = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS, errno.EINTR)


class Relay:
    """Takes records from a source, and puts them into a target. Owned by a supervisor, which owns both ends.

    ``over``: no process can put anything into the source any longer, and everything in it has been moved.
    """

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self._source = source
        self._target = target
        self._held: tuple[bytes, Sequence[tuple[int, int, bytes]]] | None = None
        self._waits = False
        self.over = False

    @property
    def fds(self) -> list[int]:
        """Descriptors that become readable when there is something to move; none while a record waits for room."""
        return [] if self.over or self._waits else [self._source.fileno()]

    @property
    def waits(self) -> bool:
        """Whether it waits for room in the target or for a free descriptor, for which there is no event."""
        return self._waits

    @property
    def is_empty(self) -> bool:
        """Whether nothing was left to move at the last look."""
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
        """Take a record, if there is one. A descriptor must be free: without one, the kernel drops the record's."""
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
        """Put a record. Return whether it is done with. If no process can take it any longer, close its connection."""
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
