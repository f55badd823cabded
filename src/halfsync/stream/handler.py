"""What a handler of raw TCP is, for those who write one.

A handler is sans-I/O: bytes in, bytes out, no sockets and no threads of its own. So the same class serves under all
four models, and a test calls it like any other object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class StreamHandler(Protocol):
    """One connection's side of a protocol. Made for each connection when its first bytes have come.

    The calls for one connection come one after the other and in the order of its bytes, though not always in the same
    thread. Those of different connections run at the same time: what handlers share needs a lock (and under the model
    `process` is not shared at all).
    """

    def received(self, data: bytes) -> bytes | Iterable[bytes] | None:
        """Take what has arrived, and return what to send.

        data: one byte or more, at most 256 KiB, cut wherever the network cut it. Returned are bytes, or an
        iterable of bytes whose pieces are sent as they come; None and b"" send nothing. Nothing more of the
        connection is read until all of it was taken from the iterable. Raise `EndStream`, here or from the
        iterable, to have the connection closed after what it holds is sent. Any other exception is logged, and
        the connection is reset: the client must not take what it has for the whole.
        """
        ...

    def closed(self) -> None:
        """Know that the connection has ended, whoever ended it. Called once, after the last `received`.

        What it raises is logged.
        """
        ...


class EndStream(Exception):  # noqa: N818 - it ends a conversation, and is no error
    """Raised by `StreamHandler.received`: send `data`, then close the connection."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.data = data


if TYPE_CHECKING:
    StreamFactory = Callable[[], StreamHandler]
