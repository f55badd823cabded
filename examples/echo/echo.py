"""The smallest handler of a stream: what a client sends comes back to it.

    halfsync serve --stream echo:Echo --chdir examples/echo

and in another terminal, where each line that you type is answered with itself until you press Ctrl-C:

    nc 127.0.0.1 8000
"""


class Echo:
    """One connection, as the server makes it when the first bytes have come."""

    def received(self, data: bytes) -> bytes:
        """Return what to send: all of what came."""
        return data

    def closed(self) -> None:
        """Do nothing: a connection leaves nothing behind."""
