"""Fields by which a proxy says that its client used TLS: from a trusted peer, and only if nothing else says more."""

from typing import Any

import pytest

from halfsync.errors import UsageError
from halfsync.settings import Settings
from halfsync.settings.lists import SchemeHeaders
from halfsync.wsgi.scheme import note_scheme
from tests.client import fetch
from tests.conftest import Serve

SECURE = [("HTTP_X_FORWARDED_SSL", "on"), ("HTTP_X_FORWARDED_PROTOCOL", "ssl")]
HEADERS = {"X-Forwarded-Ssl": "on", "X-Forwarded-Protocol": "ssl"}


@pytest.mark.parametrize(
    ("fields", "scheme", "port"),
    [
        ({}, "http", "80"),
        ({"X_FORWARDED_SSL": "on"}, "https", "443"),
        ({"X_FORWARDED_SSL": "off, ON"}, "https", "443"),
        ({"X_FORWARDED_SSL": "on, off"}, "http", "80"),
        ({"X_FORWARDED_SSL": "off", "X_FORWARDED_PROTOCOL": "ssl"}, "https", "443"),
        ({"X_FORWARDED_SSL": "on", "X_FORWARDED_PROTO": "http"}, "http", "80"),
        ({"X_FORWARDED_SSL": "on", "FORWARDED": "proto=http"}, "http", "80"),
        ({"X_FORWARDED_SSL": "on", "X_FORWARDED_PORT": "8443"}, "https", "80"),  # which the server has noted
        ({"X_FORWARDED_SSL": "on", "X_FORWARDED_HOST": "a:444"}, "https", "444"),
        ({"X_FORWARDED_SSL": "on", "X_FORWARDED_HOST": "[::1]"}, "https", "443"),
    ],
    ids=str,
)
def test_a_field_says_https(fields: dict[str, str], scheme: str, port: str) -> None:
    environ = {"wsgi.url_scheme": "http", "SERVER_PORT": "80"}
    environ |= {f"HTTP_{name}": value for name, value in fields.items()}
    note_scheme(environ, SECURE)
    assert (environ["wsgi.url_scheme"], environ["SERVER_PORT"]) == (scheme, port)


def tell(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [f"{environ['wsgi.url_scheme']} {environ['SERVER_PORT']}".encode()]


@pytest.mark.parametrize(("trusted", "said"), [("127.0.0.1", b"https 443"), ("none", b"http ")])
def test_only_a_trusted_peer_is_believed(serve: Serve, trusted: str, said: bytes) -> None:
    with serve(tell, secure_scheme_headers=HEADERS, forwarded_allow_ips=trusted) as server:
        assert fetch(server.address, fields=[("X-Forwarded-SSL", "on")]).body.startswith(said)
        assert fetch(server.address).body.startswith(b"http ")


def test_it_is_off_by_default(serve: Serve) -> None:
    with serve(tell) as server:
        assert fetch(server.address, fields=[("X-Forwarded-SSL", "on")]).body.startswith(b"http ")


@pytest.mark.parametrize(
    "raw", [HEADERS, "X-Forwarded-Ssl=on,X-Forwarded-Protocol=ssl", list(HEADERS.items())]
)
def test_forms_of_the_setting(raw: object) -> None:
    settings = Settings.from_options(secure_scheme_headers=raw)
    assert dict(settings.secure_scheme_headers) == HEADERS
    shown = SchemeHeaders().show(settings.secure_scheme_headers)
    assert SchemeHeaders().convert(shown) == settings.secure_scheme_headers
    assert Settings.from_options(secure_scheme_headers="none").secure_scheme_headers == ()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"X-SSL": "1"}, "'X-SSL' does not begin with X-Forwarded-"),
        ({"X-Forwarded-Proto": "https"}, "is read already"),
        ({"X-Forwarded-Ssl": ""}, "is not NAME=VALUE"),
        ("X-Forwarded-Ssl", "is not NAME=VALUE"),
        (7, "is not NAME=VALUE"),
    ],
)
def test_mistakes(raw: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_options(secure_scheme_headers=raw)
    assert said in str(caught.value)
