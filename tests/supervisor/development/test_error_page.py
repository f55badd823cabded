"""The page that is served instead of an application that cannot be loaded."""

import io
import sys
from typing import Any
from wsgiref.validate import validator

import pytest

from halfsync.errors import LoadError
from halfsync.stream.handler import EndStream
from halfsync.supervisor.development.error_page import make_page, stand_in

ERROR = LoadError(
    "importing shop failed: KeyError: '<secret>'",
    origin="shop:app",
    remedy="the traceback above shows where",
    traceback='Traceback (most recent call last):\n  File "/srv/<x>/shop.py", line 7, in <module>\nKeyError: 1\n',
)


def ask(page: Any, accept: str | None, method: str = "GET") -> tuple[str, dict[str, str], str]:
    """Return status, fields and body of an answer, by a server that is strict about WSGI."""
    said: list[Any] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": "/any",
        "QUERY_STRING": "",
        "SERVER_NAME": "x",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if accept is not None:
        environ["HTTP_ACCEPT"] = accept

    def start_response(status: str, fields: list[tuple[str, str]], error: Any = None) -> Any:
        said.append((status, fields))
        return print

    answer = validator(page)(environ, start_response)
    body = b"".join(answer)
    answer.close()  # type: ignore[attr-defined]
    ((status, fields),) = said
    assert int(dict(fields)["Content-Length"]) == len(body)
    return status, dict(fields), body.decode()


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=0.9, Text/HTML;q=0.8"])
def test_browsers_get_html_in_which_nothing_is_markup(accept: str) -> None:
    status, fields, body = ask(make_page(ERROR), accept)
    assert status.startswith("500 ") and fields["Content-Type"] == "text/html; charset=utf-8"
    assert fields["Cache-Control"] == "no-store"
    assert "/srv/&lt;x&gt;/shop.py&quot;, line 7" in body and "&lt;secret&gt;" in body
    assert "traceback above" not in body and "<x>" not in body and "<secret>" not in body


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_others_get_text(accept: str | None) -> None:
    _, fields, body = ask(make_page(ERROR), accept)
    assert fields["Content-Type"] == "text/plain; charset=utf-8"
    assert '"/srv/<x>/shop.py", line 7' in body and "shop:app: importing shop failed" in body


def test_error_without_a_traceback_has_its_line_only() -> None:
    _, _, body = ask(make_page(LoadError("no module named 'shop'")), "text/html")
    assert "no module named &#x27;shop&#x27;" in body and "<pre>" not in body


def test_cause_is_shown_if_the_error_has_no_traceback() -> None:
    try:
        raise RuntimeError("no database")
    except RuntimeError as cause:
        error = LoadError("worker 1 does not serve: its hook failed")
        error.__cause__ = cause
    assert "RuntimeError: no database" in ask(make_page(error), None)[2]


def test_names_that_are_not_utf8_are_shown_anyway() -> None:
    error = LoadError("failed", traceback='  File "/srv/\udcff.py", line 1\n')
    for accept in ("text/html", None):
        assert "\\udcff.py" in ask(make_page(error), accept)[2]


def test_stream_ends_at_its_first_bytes() -> None:
    handler = stand_in(ERROR, stream=True)()  # type: ignore[call-arg]
    with pytest.raises(EndStream) as caught:
        handler.received(b"word")  # type: ignore[union-attr]
    assert caught.value.data == b""
    handler.closed()  # type: ignore[union-attr]
