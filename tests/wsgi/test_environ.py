"""The environ made of a request: its table of names, its values, and what PEP 3333 asks for."""

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.http.trust import TrustedPeers
from halfsync.testing import exchanges
from halfsync.wsgi.body import Input
from halfsync.wsgi.environ import EnvironFactory

PLENTY = 1 << 30
REMEMBERED = 256  # names that the table takes
NAME_BYTES = 40
VALUE_BYTES = 200
NOTHING = Input()

Environ = dict[str, Any]
Make = Callable[..., Environ]
Fields = list[tuple[str, str]]


def factory(trusted: tuple[str, ...] = ("unix",), root: str = "") -> EnvironFactory:
    constants: dict[str, object] = {"wsgi.version": (1, 0), "wsgi.url_scheme": "http"}
    servers = [("first", "80"), ("second", "8080")]
    return EnvironFactory(servers, constants, NOTHING, TrustedPeers(trusted), root)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes the environ of one request after the other, with one factory."""
    exchange = exchanges.PyExchange(
        exchanges.PyStore(os.fsencode(tmp_path), 0), max_body=PLENTY, body_memory=PLENTY
    )
    usual = factory()

    def make_one(
        line: str = "GET / HTTP/1.1",
        fields: Fields | None = None,
        *,
        body: str = "",
        host: str | None = "h",
        environs: EnvironFactory = usual,
        address: bytes = b"",
        listener: int = 0,
        waited: float = 0.0,
        has_input: bool = False,
    ) -> Environ:
        fields = [*([("Host", host)] if host is not None else []), *(fields or [])]
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        exchange.renew()
        wire = f"{line}\r\n{head}\r\n{body}".encode("latin-1")
        while wire:
            taken, result = exchange.receive(wire)
            assert result >= 0, result
            wire = wire[taken:]
        assert exchange.ready
        made = exchange.environ(environs, address, listener, waited, exchange.input() if has_input else None)
        return {key: value for key, value in made.items() if key != "HTTP_HOST" or value != host}

    yield make_one
    exchange.close()


DEFAULTS = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "REQUEST_URI": "/",
    "RAW_URI": "/",
    "SERVER_NAME": "first",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "",
    "REMOTE_PORT": "",
    "wsgi.input": NOTHING,
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "halfsync.queue_wait": 0.0,
    "halfsync.timeline": ANY,
}


def test_the_least_request_has_the_defaults(make: Make) -> None:
    assert make() == DEFAULTS


def is_interned(text: str) -> bool:
    """Tell whether this very string is what the interpreter interned under its text."""
    return sys.intern(text[:1] + text[1:]) is text


@pytest.mark.parametrize("name", ["X-Chosen-{}", "{}", "X-Forwarded-{}", "X-" + "long-" * NAME_BYTES + "{}"])
def test_no_name_that_a_client_chose_is_interned(make: Make, name: str) -> None:
    # From Python 3.12 on what is interned is never freed: a client could fill the memory with names.
    environs = factory()
    for number in range(2 * REMEMBERED):
        chosen = name.format(f"q{os.getpid()}z{number}")
        made = make(fields=[(chosen, "a")], environs=environs)
        key = next(key for key in made if key == "HTTP_" + chosen.upper().replace("-", "_"))
        assert not is_interned(key)


def test_no_value_that_a_client_chose_is_interned(make: Make) -> None:
    chosen = f"q{os.getpid()}z"
    made = make(
        f"{chosen} /{chosen}?{chosen} HTTP/1.1", [("User-Agent", chosen + "1"), ("X-A", chosen + "2")]
    )
    for key in ("REQUEST_METHOD", "REQUEST_URI", "PATH_INFO", "QUERY_STRING", "HTTP_USER_AGENT", "HTTP_X_A"):
        assert chosen in made[key]
        assert not is_interned(made[key])


@pytest.mark.parametrize(
    "name", ["User-Agent", "Cookie", "Authorization", "Content-Type", "Referer", "X-Forwarded-For"]
)
def test_the_usual_names_are_the_strings_of_every_program(make: Make, name: str) -> None:
    made = make(fields=[(name, "a")], address=struct.pack("=H", socket.AF_UNIX))
    name = name.upper().replace("-", "_")
    key = next(key for key in made if key in (name, "HTTP_" + name))
    assert sys.intern(key) is key


def test_each_environ_is_a_dict_of_its_own(make: Make) -> None:
    make()["REQUEST_METHOD"] = "changed"
    assert make() == DEFAULTS
    assert type(make()) is dict


def test_the_listener_gives_name_and_port(make: Make) -> None:
    environ = make(listener=1)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("second", "8080")


def test_what_the_server_knows_of_a_request(make: Make) -> None:
    environ = make("POST / HTTP/1.0", [("Content-Length", "4")], body="body", waited=0.25, has_input=True)
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert environ["halfsync.queue_wait"] == 0.25
    assert environ["CONTENT_LENGTH"] == "4"
    assert environ["wsgi.input"].read() == b"body"


@pytest.mark.parametrize("keeps", [True, False])
def test_a_wait_that_is_kept_stays_that_of_its_request(make: Make, keeps: bool) -> None:
    kept = []
    for waited in (0.25, 0.5, 0.0, 1.5):
        environ = make(waited=waited)
        assert environ["halfsync.queue_wait"] == waited
        if keeps:
            kept.append(environ.pop("halfsync.queue_wait"))
    assert kept == ([0.25, 0.5, 0.0, 1.5] if keeps else [])


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "GE", "PURGE", "!"]
)
def test_the_method_is_as_it_was_sent(make: Make, method: str) -> None:
    assert make(f"{method} / HTTP/1.1")["REQUEST_METHOD"] == method


@pytest.mark.parametrize(
    ("line", "path", "query"),
    [
        ("GET /a/b?c=d?e HTTP/1.1", "/a/b", "c=d?e"),
        ("GET /? HTTP/1.1", "/", ""),
        ("GET /?%41 HTTP/1.1", "/", "%41"),
        ("GET //a//b HTTP/1.1", "//a//b", ""),
        ("GET http://other HTTP/1.1", "/", ""),
        ("GET http://other?q HTTP/1.1", "/", "q"),
        ("GET http://other/a%20b HTTP/1.1", "/a b", ""),
        ("OPTIONS * HTTP/1.1", "", ""),
    ],
)
def test_the_target_is_taken_apart(make: Make, line: str, path: str, query: str) -> None:
    environ = make(line)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == line.split()[1]


@pytest.mark.parametrize("host", ["OTHER:81", "[::1]:81", "[::1]", "127.0.0.1", "a:"])
@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
def test_the_host_of_an_absolute_target_counts(make: Make, scheme: str, host: str) -> None:
    plain = make("GET /a?b HTTP/1.1")
    environ = make(f"GET {scheme}://{host}/a?b HTTP/1.1")
    assert environ["HTTP_HOST"] == host
    # The client can set neither the name nor the scheme of the connection.
    for key in ("PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme"):
        assert environ[key] == plain[key]


def test_an_absolute_target_without_a_host_field(make: Make) -> None:
    assert make("GET http://other/ HTTP/1.0", host=None)["HTTP_HOST"] == "other"


@pytest.mark.parametrize("minor", range(1, 10))
def test_a_higher_minor_version_is_the_highest_that_we_have(make: Make, minor: int) -> None:
    assert make(f"GET / HTTP/1.{minor}")["SERVER_PROTOCOL"] == "HTTP/1.1"


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            ["%", "%4", "%41", "%e9", "%E9", "%2f", "%00", "%zz", "%25", "/", "a", "~", "+", "%C3%A9"]
        )
    ).map("".join)
)
def test_a_path_is_decoded_as_latin_1(path: str) -> None:
    exchange = exchanges.PyExchange(exchanges.PyStore(b"/tmp", 0), max_body=0, body_memory=0)
    try:
        assert exchange.receive(b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % path.encode())[1] == 1
        environ = exchange.environ(factory(), b"", 0, 0.0, None)
        assert environ["PATH_INFO"] == "/" + unquote_to_bytes(path).decode("latin-1")
        assert environ["REQUEST_URI"] == "/" + path
    finally:
        exchange.close()


def test_names_become_keys(make: Make) -> None:
    environ = make(
        fields=[("X-One", "1"), ("x-tWO", "2"), ("Content-Type", "text/plain"), ("!#$", "3"), ("A", "")]
    )
    assert {key: value for key, value in environ.items() if key not in DEFAULTS} == {
        "HTTP_X_ONE": "1",
        "HTTP_X_TWO": "2",
        "CONTENT_TYPE": "text/plain",
        "HTTP_!#$": "3",
        "HTTP_A": "",
    }


@pytest.mark.parametrize("name", ["X_Forwarded_For", "Content_Length", "_", "a_", "a" * NAME_BYTES + "_"])
def test_a_name_with_an_underscore_cannot_pass_for_another(make: Make, name: str) -> None:
    for _ in range(2):  # new to the table, and known to it
        assert make(fields=[(name, "forged")]) == DEFAULTS
    assert make(fields=[(name, "forged"), ("X-Forwarded-For", "true")])["HTTP_X_FORWARDED_FOR"] == "true"


@pytest.mark.parametrize("name", ["X-Twice", "x" * (NAME_BYTES + 1), "Content-Type", "Accept"])
def test_repeated_fields_are_joined(make: Make, name: str) -> None:
    key = name.upper().replace("-", "_")
    key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
    environ = make(
        fields=[(name, "one"), ("Other", "x"), (name.upper(), "two"), (name.lower(), ""), (name, "three")]
    )
    assert environ[key] == "one, two, , three"


def test_repeated_cookies_are_joined_as_cookies(make: Make) -> None:
    assert make(fields=[("Cookie", "a=1"), ("cookie", "b=2")])["HTTP_COOKIE"] == "a=1; b=2"


def test_values_are_latin_1(make: Make) -> None:
    assert make(fields=[("X-Name", "\xe9\xff\t!")])["HTTP_X_NAME"] == "\xe9\xff\t!"


def test_a_chunked_body_has_a_length_for_the_application(make: Make) -> None:
    environ = make("POST / HTTP/1.1", [("Transfer-Encoding", "chunked")], body="3\r\nabc\r\n0\r\n\r\n")
    assert environ["CONTENT_LENGTH"] == "3"
    assert "HTTP_TRANSFER_ENCODING" not in environ


def test_values_that_repeat_and_are_no_secrets_are_shared(make: Make) -> None:
    def twice(name: str, key: str, value: str) -> bool:
        first, second = (make(fields=[(name, value)])[key] for _ in range(2))
        assert first == second == value
        return first is second

    for name in ("User-Agent", "Accept"):
        key = "HTTP_" + name.upper().replace("-", "_")
        assert twice(name, key, "v" * VALUE_BYTES)
        assert not twice(name, key, "v" * (VALUE_BYTES + 1))
        assert twice(name, key, "other")  # the last value counts
    assert not twice("Authorization", "HTTP_AUTHORIZATION", "secret")
    assert not twice("Cookie", "HTTP_COOKIE", "secret")


@pytest.mark.parametrize("many", [REMEMBERED - 10, REMEMBERED * 4])
def test_the_table_of_names_is_bounded_and_right_when_full(make: Make, many: int) -> None:
    names = [f"X-{number}" for number in range(many)]
    for _ in range(2):
        for at in range(0, many, 90):
            some = names[at : at + 90]
            environ = make(fields=[(name, name.lower()) for name in some])
            expected = {f"HTTP_{name.replace('-', '_')}": name.lower() for name in some}
            assert environ == {**DEFAULTS, **expected}


@pytest.mark.parametrize(("known", "remembered"), [(REMEMBERED - 1, True), (REMEMBERED, False)])
def test_how_many_names_are_remembered(make: Make, known: int, remembered: bool) -> None:
    names = [f"Z-{number}" for number in range(known - 1)]  # Host is one too
    for at in range(0, len(names), 90):
        make(fields=[(name, "") for name in names[at : at + 90]])
    first, second = (make(fields=[("Accept", "a/b")])["HTTP_ACCEPT"] for _ in range(2))
    assert (first is second) == remembered  # values are shared by way of the table


def test_a_full_table_keeps_no_new_key(make: Make) -> None:
    for at in range(0, REMEMBERED * 2, 90):
        make(fields=[(f"Y-{number}", "") for number in range(at, at + 90)])
    late = "HTTP_Y_LATE"
    kept = [key for key in make(fields=[("Y-Late", "")]) if key == late]
    before = sys.getrefcount(kept[0])
    for _ in range(10):
        make(fields=[("Y-Late", "")])
    after = sys.getrefcount(kept[0])
    assert after == before


V4 = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(4711), bytes([192, 0, 2, 7]))
V6 = struct.pack(
    "=HHI16sI", socket.AF_INET6, socket.htons(4712), 0, socket.inet_pton(socket.AF_INET6, "2001:db8::7"), 0
)
MAPPED = struct.pack(
    "=HHI16sI", socket.AF_INET6, socket.htons(1), 0, socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.9"), 0
)
UNIX = struct.pack("=H", socket.AF_UNIX)


def test_the_peer_is_in_the_environ_whatever_came_before(make: Make) -> None:
    """The last address is remembered; the next may be of another kind and begin with the same bytes."""
    told = {
        V4: ("192.0.2.7", "4711"),
        V6: ("2001:db8::7", "4712"),
        MAPPED: ("192.0.2.9", "1"),
        UNIX: ("", ""),
        b"": ("", ""),
    }
    for first in told:
        for address in (first, *told, first):
            environ = make(address=address)
            assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == told[address]
