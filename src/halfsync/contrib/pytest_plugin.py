"""The fixture `halfsync_server` of pytest: a server on 127.0.0.1 for one test.

A plugin of pytest: it is there once halfsync is installed.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol, Unpack

    from halfsync import Server
    from halfsync.server import Application
    from halfsync.settings.options import ServerOptions

    class StartServer(Protocol):
        """Starts a server for the test that asks for it."""

        def __call__(self, application: Application, **options: Unpack[ServerOptions]) -> Server:
            """Start a server of an application, with these settings, on a port of 127.0.0.1 that the system chooses."""


@pytest.fixture
def halfsync_server() -> Iterator[StartServer]:
    """Return a function that starts a server of an application; each is drained, then closed, after the test.

    ``server = halfsync_server(app, threads=2)`` serves at ``server.url``.
    """
    from halfsync import Server  # noqa: PLC0415 - most tests need none

    with ExitStack() as stack:

        def start(application: Application, **options: Unpack[ServerOptions]) -> Server:
            settings: ServerOptions = {"bind": "127.0.0.1:0", "graceful_timeout": 5.0, **options}
            return stack.enter_context(Server(application, **settings))

        yield start
