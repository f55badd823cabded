"""Fields besides X-Forwarded-Proto by which a trusted proxy says that its client used TLS (`secure_scheme_headers`).

Their names begin with X-Forwarded-, so a request of a peer that is not trusted has none of them here (environ.pyx).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def note_scheme(environ: dict[str, Any], secure: Iterable[tuple[str, str]]) -> None:
    """Let the scheme be https if a field says so, and X-Forwarded-Proto and Forwarded say nothing.

    secure: keys of the environ with the values that say so, in lower case. As with X-Forwarded-Proto, the last word of
    a list counts, and the port is then that of the host that the proxy names, or 443.
    """
    if "HTTP_X_FORWARDED_PROTO" in environ or "HTTP_FORWARDED" in environ:
        return
    for key, value in secure:
        said: str | None = environ.get(key)
        if said is not None and said.rpartition(",")[2].strip().lower() == value:
            break
    else:
        return
    environ["wsgi.url_scheme"] = "https"
    if "HTTP_X_FORWARDED_PORT" not in environ:
        named: str = environ.get("HTTP_X_FORWARDED_HOST", "").rpartition(",")[2].strip()
        _, colon, port = named.rpartition(":")
        environ["SERVER_PORT"] = port if colon and port.isdecimal() else "443"


def with_schemes(application: Application, headers: Iterable[tuple[str, str]]) -> Application:
    """Return the application behind `note_scheme`. headers: names of fields and values."""
    secure = [("HTTP_" + name.upper().replace("-", "_"), value.lower()) for name, value in headers]

    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        note_scheme(environ, secure)
        return application(environ, start_response)

    return call
