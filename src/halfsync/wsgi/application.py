"""Make the bridge to an application, and the environ keys that all requests have in common."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from halfsync.runtime.output import standard_error
from halfsync.version import VERSION
from halfsync.wsgi.body import Input
from halfsync.wsgi.bridge import WsgiBridge
from halfsync.wsgi.environ import EnvironFactory
from halfsync.wsgi.file_wrapper import FileWrapper

if TYPE_CHECKING:
    from halfsync.http.trust import TrustedPeers
    from halfsync.listening.endpoints import Endpoints
    from halfsync.settings import Settings


def make_bridge(
    application: Any,
    servers: list[tuple[str, str, str]],
    settings: Settings,
    trusted: TrustedPeers,
    endpoints: Endpoints | None = None,
) -> WsgiBridge:
    """Return the bridge to an application. servers: as for `EnvironFactory`.

    trusted: the peers whose forwarded fields are believed. endpoints: as for `EnvironFactory`.
    """
    constants = {
        "SERVER_SOFTWARE": f"halfsync/{VERSION}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",  # of connections that another process has accepted
        "wsgi.errors": standard_error if sys.stderr is None else sys.stderr,
        "wsgi.multithread": settings.model == "thread"
        or (settings.model != "process" and settings.threads > 1),
        "wsgi.multiprocess": settings.model == "process" or (settings.workers or 1) > 1,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }
    environs = EnvironFactory(
        servers, constants, Input(), trusted, settings.root_path, endpoints, settings.request_id_field
    )
    if settings.secure_scheme_headers:
        from halfsync.wsgi.scheme import with_schemes  # noqa: PLC0415 - few proxies send others

        application = with_schemes(application, settings.secure_scheme_headers)
    return WsgiBridge(application, environs, settings)
