"""Asking a new process for something before it counts as ready: what is loaded late is loaded then.

The request is a real one, by a server of the same settings on a socket that nobody else knows; it ends before the
process begins to serve.
"""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from halfsync.errors import LoadError
from halfsync.listeners import describe_socket
from halfsync.originals import os, socket
from halfsync.server import Server

if TYPE_CHECKING:
    from halfsync.server import Application
    from halfsync.settings import Settings
    from halfsync.stream.handler import StreamFactory

FAILS_FROM = 400


def warm_up(application: Application | StreamFactory, settings: Settings) -> None:
    """Ask for `warmup`, and read the whole answer. LoadError: it is an error, or there is none.

    It takes as long as the application does: `boot_timeout` is the limit.
    """
    assert settings.warmup is not None
    name = f"\0halfsync-warmup-{os.getpid()}-{secrets.token_hex(8)}"
    private = socket.socket(socket.AF_UNIX)
    private.bind(name)
    private.listen(1)
    private.setblocking(False)
    plain = replace(settings, access_log=None, proxy_protocol=False, request_timeout=0.0)
    with Server(application, settings=plain, listeners=[describe_socket(private)]):
        client = HTTPConnection("localhost")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(name)
        with closing(client):
            try:
                client.request(
                    "GET", settings.warmup, headers={"Connection": "close", "User-Agent": "halfsync-warmup"}
                )
                response = client.getresponse()
                response.read()
            except (OSError, HTTPException) as error:
                raise _refuse(settings, f"was not answered: {error}") from None
    if response.status >= FAILS_FROM:
        raise _refuse(settings, f"was answered {response.status}")


def _refuse(settings: Settings, what: str) -> LoadError:
    return LoadError(
        f"the request for {settings.warmup} {what}",
        origin=settings.origins.get("warmup", "warmup"),
        remedy="the log above may show why; correct the application, or the path",
    )
