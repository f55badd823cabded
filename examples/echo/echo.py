"""The smallest handler of a stream: it sends back what a client sends.

    halfsync serve --stream echo:Echo --chdir examples/echo

and in another terminal, which echoes each line that you type until you press Ctrl-C:

    nc 127.0.0.1 8000
"""


class Echo:
    """One connection. The server makes it when the first bytes have arrived."""

    def received(self, data: bytes) -> bytes:
        """Return what to send: all that has arrived."""
        return data

    def closed(self) -> None:
        """Do nothing: there is nothing to clean up."""
