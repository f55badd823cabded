"""A request to a new process before it counts as ready, so that what is loaded late is loaded then.

The request is real. A server with the same settings, which listens nowhere, adopts one connection: an end of a socket
pair whose other end is here. No other process can reach that server, send it a request, or be trusted as a proxy. The
server ends before the process begins to serve.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from halfsync.errors import LoadError, reason_of
from halfsync.host.handlers import contain_handlers
from halfsync.runtime.originals import socket
from halfsync.server import seat_server
from halfsync.shared.handoff_queue import put_connection

if TYPE_CHECKING:
    from halfsync.opened import Opened
    from halfsync.server import Application
    from halfsync.settings import Settings
    from halfsync.stream.handler import StreamFactory

FAILS_FROM = 400


def warm_up(application: Application | StreamFactory, settings: Settings, opened: Opened) -> None:
    """Request `warmup`, and read the whole answer. LoadError: the answer is an error, or there is none.

    opened: what the settings name, opened before the process switched to another user. The request takes as long as the
    application does; `boot_timeout` is the limit.
    """
    contain_handlers()
    plain = replace(settings, access_log=None, proxy_protocol=False, request_timeout=0.0)
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reading, writing:
        handoff_queue = (reading.fileno(), writing.fileno())
        with seat_server(application, plain, listeners=[], handover=handoff_queue, opened=opened):
            status = _ask(settings, writing)
    if status >= FAILS_FROM:
        raise _refuse(settings, f"was answered {status}")


def _ask(settings: Settings, queue: socket.socket) -> int:
    """Send the request on a connection that is put into this queue, and return the status of the answer."""
    assert settings.warmup is not None
    client = HTTPConnection("localhost")
    client.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with closing(client):
        theirs.setblocking(False)
        with theirs:
            put_connection(queue.fileno(), theirs.fileno())
        try:
            client.request(
                "GET", settings.warmup, headers={"Connection": "close", "User-Agent": "halfsync-warmup"}
            )
            response = client.getresponse()
            response.read()
        except (OSError, HTTPException) as error:
            reason = reason_of(error) if isinstance(error, OSError) else error
            raise _refuse(settings, f"was not answered: {reason}") from None
    return response.status


def _refuse(settings: Settings, what: str) -> LoadError:
    return LoadError(
        f"the request for {settings.warmup} {what}",
        origin=settings.origins.get("warmup", "warmup"),
        remedy="the log above may show why; correct the application, or the path",
    )
