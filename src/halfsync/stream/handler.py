"""The interface of a handler for raw TCP.

A handler is sans-I/O: bytes in, bytes out, no sockets and no threads of its own. So the same class serves under all
four models, and a test calls it like any other object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class StreamHandler(Protocol):
    """The server's side of a protocol on one connection. Made for each connection when its first bytes have come.

    The calls for one connection follow one another in the order of its bytes, but not always in the same thread. Calls
    for different connections run at the same time: what handlers share needs a lock (and under the model `process`
    nothing is shared).
    """

    def received(self, data: bytes) -> bytes | Iterable[bytes] | None:
        """Take the bytes received, and return what to send.

        data: one byte or more, at most 256 KiB, divided where the network divided it. Return bytes, or an iterable of
        bytes whose pieces are sent as they come; None and b"" send nothing. Nothing more of the connection is read
        until the iterable ends. Raise `EndStream`, here or from the iterable, to send its data and then close the
        connection. Any other exception is logged, and the connection is reset, since the client must not take a part
        for the whole.
        """
        ...

    def closed(self) -> None:
        """Handle the end of the connection, whichever side ended it. Called once, after the last `received`.

        An exception is logged.
        """
        ...


class EndStream(Exception):  # noqa: N818 - it ends a stream, and is no error
    """Raised by `StreamHandler.received`: send `data`, then close the connection."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.data = data


if TYPE_CHECKING:
    StreamFactory = Callable[[], StreamHandler]
