"""What is served in development in the place of an application that cannot be loaded: the reason, on every path."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from halfsync.errors import LoadError
from halfsync.runtime.standard import FOR_TRACEBACKS, genuine
from halfsync.stream.handler import EndStream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from halfsync.server import Application
    from halfsync.stream.handler import StreamFactory

HEADING = "The application cannot be loaded"
ADVICE = "Save a change, and the next request is answered by the new code."
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>
:root {{ color-scheme: light dark; --line: #c9302c; --soft: #f6f6f6 }}
@media (prefers-color-scheme: dark) {{ :root {{ --line: #ff7b72; --soft: #1e2126 }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.5rem; border-left: .3rem solid var(--line); padding-left: .75rem }}
p {{ overflow-wrap: anywhere }}
pre {{ font: 14px/1.5 ui-monospace, monospace; background: var(--soft); padding: 1rem; overflow-x: auto }}
</style>
</head>
<body>
<h1>{heading}</h1>
<p>{summary}</p>
{details}<p><small>{advice}</small></p>
</body>
</html>
"""


def make_page(error: LoadError) -> Application:
    """Return a WSGI application that answers every request with 500 and this error, as HTML to clients that accept it.

    It shows the code to strangers, so it is for development only.
    """
    details = _details(error).rstrip("\n")
    # The remedy is to read the traceback, which is on the page. So it is shown only if there is no traceback.
    summary = str(LoadError(error.problem, origin=error.origin) if details else error)
    pre = f"<pre>{escape(details)}</pre>\n" if details else ""
    html = _PAGE.format(heading=HEADING, summary=escape(summary), details=pre, advice=ADVICE)
    plain = "\n\n".join(part for part in (f"{HEADING}.", summary, details, ADVICE) if part) + "\n"
    # A name that is not UTF-8, such as a file's, has surrogates, which no encoding accepts.
    pages = {
        "text/html": html.encode("utf-8", "backslashreplace"),
        "text/plain": plain.encode("utf-8", "backslashreplace"),
    }

    def page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        kind = "text/html" if "text/html" in environ.get("HTTP_ACCEPT", "").lower() else "text/plain"
        fields = [
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(pages[kind]))),
            ("Cache-Control", "no-store"),
            ("Vary", "Accept"),
        ]
        start_response("500 Internal Server Error", fields)
        return [pages[kind]]

    return page


def _details(error: LoadError) -> str:
    """Return the traceback: the application's, or that of an exception in a hook."""
    if error.traceback or error.__cause__ is None:
        return error.traceback
    with genuine(*FOR_TRACEBACKS):
        import traceback  # noqa: PLC0415 - only a failure needs it

        return "".join(traceback.format_exception(error.__cause__))


class _NoHandler:
    """The handler of a stream that cannot be loaded. It can send nothing that a client would understand."""

    def received(self, data: bytes) -> NoReturn:
        """End the connection."""
        raise EndStream

    def closed(self) -> None:
        """Do nothing: nothing was begun."""


def stand_in(error: LoadError, *, stream: bool) -> Application | StreamFactory:
    """Return what replaces an application that could not be loaded: the page; for a stream, a handler that ends it."""
    return _NoHandler if stream else make_page(error)
