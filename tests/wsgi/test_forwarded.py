"""The client that proxies name, in the environ: X-Forwarded-*, Forwarded (RFC 7239), and SCRIPT_NAME."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halfsync.http.trust import TrustedPeers
from halfsync.testing import exchanges
from halfsync.wsgi.body import Input
from halfsync.wsgi.environ import EnvironFactory
from tests.client import fetch
from tests.conftest import Serve
from tests.proxies import sockaddr

PLENTY = 1 << 30
TRUSTED = ("127.0.0.1", "::1", "10.0.0.0/8", "2001:db8:1::/48", "unix")
REMEMBERED = 256  # names that the table takes

Environ = dict[str, Any]
Fields = list[tuple[str, str]]
Make = Callable[..., Environ]


def factory(*trusted: str, root: str = "", hops: int = 0) -> EnvironFactory:
    constants: dict[str, object] = {"wsgi.url_scheme": "http"}
    return EnvironFactory([("server", "8000")], constants, Input(), TrustedPeers(trusted, hops), root)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes the environ of a request with some fields, from a peer."""
    exchange = exchanges.PyExchange(
        exchanges.PyStore(os.fsencode(tmp_path), 0), max_body=PLENTY, body_memory=PLENTY
    )
    usual = factory(*TRUSTED)

    def make_one(
        *fields: tuple[str, str],
        peer: str = "127.0.0.1",
        environs: EnvironFactory = usual,
        target: str = "/",
    ) -> Environ:
        exchange.renew()
        head = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "proxy:8000"), *fields])
        wire = f"GET {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1")
        while wire:
            taken, result = exchange.receive(wire)
            assert result >= 0, result
            wire = wire[taken:]
        return exchange.environ(environs, sockaddr(peer, 4711), 0, 0.0, None)

    yield make_one
    exchange.close()


def client(environ: Environ) -> tuple[str, str]:
    return environ["REMOTE_ADDR"], environ["REMOTE_PORT"]


def seen(environ: Environ) -> dict[str, str]:
    """What an application reads of how it was reached."""
    keys = ("wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT")
    return {key: environ[key] for key in keys}


PLAIN = {
    "wsgi.url_scheme": "http",
    "HTTP_HOST": "proxy:8000",
    "SERVER_NAME": "server",
    "SERVER_PORT": "8000",
}
PEER = ("127.0.0.1", "4711")

# --- the client ---------------------------------------------------------------------------------

WALKS = [
    ("203.0.113.7", ("203.0.113.7", "")),
    ("2001:db8::7", ("2001:db8::7", "")),
    ("::ffff:203.0.113.7", ("203.0.113.7", "")),
    ("203.0.113.7:1234", ("203.0.113.7", "1234")),
    ("[2001:db8::7]", ("2001:db8::7", "")),
    ("[2001:db8::7]:1234", ("2001:db8::7", "1234")),
    ("6.6.6.6, 203.0.113.7", ("203.0.113.7", "")),
    ("6.6.6.6,203.0.113.7", ("203.0.113.7", "")),
    ("6.6.6.6, 203.0.113.7, 10.0.0.1", ("203.0.113.7", "")),
    ("6.6.6.6, 203.0.113.7:5, 10.0.0.1:6, [2001:db8:1::2]:7", ("203.0.113.7", "5")),
    ("10.0.0.2, 10.0.0.1", ("10.0.0.2", "")),
    (" \t203.0.113.7\t , ,, 10.0.0.1 ,", ("203.0.113.7", "")),
    ("", PEER),
    (",,", PEER),
    ("unknown", PEER),
    ("203.0.113.7, unknown", PEER),
    ("203.0.113.7, unknown, 10.0.0.1:8", ("10.0.0.1", "8")),
    ("203.0.113.7, _hidden, 10.0.0.1", ("10.0.0.1", "")),
    ("203.0.113.7, rubbish, 10.0.0.1", ("10.0.0.1", "")),
    ("203.0.113.7 10.0.0.1", PEER),
    ('"203.0.113.7"', PEER),
    ("203.0.113.7:", PEER),
    ("203.0.113.7:65536", PEER),
    ("203.0.113.7:-1", PEER),
    ("203.0.113.7:1:2", PEER),
    ("203.0.113.7:_p", PEER),
    ("203.0.113.07", PEER),
    ("[203.0.113.7]", PEER),
    ("[2001:db8::7", PEER),
    ("[2001:db8::7]1234", PEER),
    ("2001:db8::7]:1234", PEER),
    ("fe80::1%eth0", PEER),
    ("localhost", PEER),
    ("1" * 300, PEER),
    ('6.6.6.6, ", 203.0.113.7', ("203.0.113.7", "")),
]


@pytest.mark.parametrize(("value", "told"), WALKS)
def test_x_forwarded_for_is_walked_from_the_right(make: Make, value: str, told: tuple[str, str]) -> None:
    environ = make(("X-Forwarded-For", value))
    assert client(environ) == told
    assert environ["HTTP_X_FORWARDED_FOR"] == value.strip(" \t")
    assert seen(environ) == PLAIN


# Addresses do not count: each hop adds one, trusted or not.
HOPS = [
    (1, "6.6.6.6, 203.0.113.7", ("203.0.113.7", "")),
    (1, "203.0.113.7, 10.0.0.1", ("10.0.0.1", "")),
    (2, "6.6.6.6, 203.0.113.7, 198.51.100.1", ("203.0.113.7", "")),
    (3, "6.6.6.6, 203.0.113.7:5, 10.0.0.1, 198.51.100.1", ("203.0.113.7", "5")),
    (3, "203.0.113.7, 198.51.100.1", ("203.0.113.7", "")),
    (2, "203.0.113.7, unknown, 10.0.0.1", ("10.0.0.1", "")),
    (2, "6.6.6.6, 203.0.113.7, , 10.0.0.1", ("203.0.113.7", "")),
    (2, "", PEER),
]


@pytest.mark.parametrize(("hops", "value", "told"), HOPS)
def test_so_many_proxies_are_passed(make: Make, hops: int, value: str, told: tuple[str, str]) -> None:
    environs = factory("127.0.0.1", hops=hops)
    assert client(make(("X-Forwarded-For", value), environs=environs)) == told
    if "unknown" not in value and ":" not in value:
        elements = ", ".join(f"for={one.strip()}" for one in value.split(",") if one.strip())
        assert client(make(("Forwarded", elements), environs=environs)) == told


def test_hops_are_counted_over_repeated_fields(make: Make) -> None:
    fields = [("X-Forwarded-For", one) for one in ("6.6.6.6", "203.0.113.7, 198.51.100.2", "198.51.100.1")]
    assert client(make(*fields, environs=factory("127.0.0.1", hops=3))) == ("203.0.113.7", "")
    assert client(make(*fields, environs=factory("*", hops=1))) == ("198.51.100.1", "")


def test_hops_do_not_make_a_peer_trusted(make: Make) -> None:
    environ = make(("X-Forwarded-For", "203.0.113.7"), environs=factory("10.0.0.1", hops=1))
    assert client(environ) == PEER


FORWARDED = [
    ("for=203.0.113.7", ("203.0.113.7", "")),
    ("For=203.0.113.7", ("203.0.113.7", "")),
    ('for="203.0.113.7"', ("203.0.113.7", "")),
    ('for="203.0.113.7:1234"', ("203.0.113.7", "1234")),
    ('for="203.0.113.7:_port"', ("203.0.113.7", "")),
    ('for="[2001:db8::7]"', ("2001:db8::7", "")),
    ('for="[2001:db8::7]:1234"', ("2001:db8::7", "1234")),
    ('for="\\2\\0\\3.0.113.7"', ("203.0.113.7", "")),
    ("for=6.6.6.6, for=203.0.113.7", ("203.0.113.7", "")),
    ("for=6.6.6.6, for=203.0.113.7, for=10.0.0.1", ("203.0.113.7", "")),
    ('for=203.0.113.7;by=10.0.0.9;proto=http, for=10.0.0.1;ext="a,b;c=\\"d"', ("203.0.113.7", "")),
    ("for=203.0.113.7;;by=_x; ", ("203.0.113.7", "")),
    ("by=10.0.0.9 ; for=203.0.113.7", ("203.0.113.7", "")),
    (", for=203.0.113.7, ,", ("203.0.113.7", "")),
    ("", PEER),
    ("proto=http", PEER),
    ("for=unknown", PEER),
    ("for=_hidden", PEER),
    ("for=203.0.113.7, for=unknown, for=10.0.0.1", ("10.0.0.1", "")),
    ("for=203.0.113.7, for=_gazonk, for=10.0.0.1", ("10.0.0.1", "")),
    ("for=203.0.113.7, rubbish, for=10.0.0.1", ("10.0.0.1", "")),
    ("for=203.0.113.7, for=, for=10.0.0.1", ("10.0.0.1", "")),
    ("203.0.113.7", PEER),
    ("for", PEER),
    ("=203.0.113.7", PEER),
    ("for =203.0.113.7", PEER),
    ("for= 203.0.113.7", PEER),
    ("for=203.0.113.7 by=x", PEER),
    ("for=203.0.113.7;for=203.0.113.7", PEER),
    ("for=203.0.113.7;by=x;BY=y", PEER),
    ("for=203.0.113.7:1234", PEER),
    ("for=2001:db8::7", PEER),
    ('for="2001:db8::7"', PEER),
    ("for=[2001:db8::7]", PEER),
    ('for="203.0.113.7:_"', PEER),
    ('for="203.0.113.7:_p!"', PEER),
    ('for="203.0.113.7', PEER),
    ('for=203.0.113.7"', PEER),
    ('for="203.0.113.7\\"', PEER),
    ('for="203.0.113.7"x', PEER),
    (f'for="{"1" * 300}"', PEER),
    (f"for=203.0.113.7;ext={'x' * 300}", PEER),
    # What a client sends cannot change how the element is read that the proxy adds behind it.
    ('for="6.6.6.6, for=203.0.113.7', ("203.0.113.7", "")),
    ('for=6.6.6.6, for=", for=203.0.113.7', ("203.0.113.7", "")),
    ('for="\\, for="203.0.113.7:1"', ("203.0.113.7", "1")),
    ('for=6.6.6.6;x=", for=203.0.113.7, for="10.0.0.1"', ("203.0.113.7", "")),
]


@pytest.mark.parametrize(("value", "told"), FORWARDED)
def test_forwarded_is_walked_from_the_right(make: Make, value: str, told: tuple[str, str]) -> None:
    environ = make(("Forwarded", value))
    assert client(environ) == told
    assert environ["HTTP_FORWARDED"] == value.strip(" \t")
    assert environ["HTTP_HOST"] == "proxy:8000"


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-for", "Forwarded", "FORWARDED"])
def test_repeated_fields_are_one_list(make: Make, name: str) -> None:
    prefix = "for=" if name.lower() == "forwarded" else ""
    hops = ["6.6.6.6", "203.0.113.7", "10.0.0.2", "10.0.0.1"]
    for cuts in range(8):
        lines = [hops[0]]
        for at, hop in enumerate(hops[1:]):
            if cuts >> at & 1:
                lines.append(hop)
            else:
                lines[-1] += f", {prefix}{hop}"
        environ = make(*((name, prefix + line) for line in lines))
        assert client(environ) == ("203.0.113.7", ""), lines
        key = "HTTP_" + name.upper().replace("-", "_")
        assert environ[key] == ", ".join(prefix + hop for hop in hops)


def test_a_malformed_field_ends_the_walk_of_those_before_it(make: Make) -> None:
    environ = make(("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "rubbish, 10.0.0.1"))
    assert client(environ) == ("10.0.0.1", "")
    environ = make(("Forwarded", "for=203.0.113.7"), ("Forwarded", 'for=", for=10.0.0.1'))
    assert client(environ) == ("10.0.0.1", "")


def test_with_all_peers_trusted_the_left_most_address_counts(make: Make) -> None:
    environs = factory("*")
    for peer in ("192.0.2.1", "2001:db8::1", ""):
        environ = make(("X-Forwarded-For", "203.0.113.7, 6.6.6.6"), peer=peer, environs=environs)
        assert client(environ) == ("203.0.113.7", "")


def test_a_unix_socket_is_trusted_if_it_is_listed(make: Make) -> None:
    assert client(make(("X-Forwarded-For", "203.0.113.7"), peer="")) == ("203.0.113.7", "")
    assert client(make(("X-Forwarded-For", "unknown"), peer="")) == ("", "")
    environ = make(("X-Forwarded-For", "203.0.113.7"), peer="", environs=factory("127.0.0.1"))
    assert client(environ) == ("", "")
    assert "HTTP_X_FORWARDED_FOR" not in environ


# --- how it reached us ----------------------------------------------------------------------------


def test_x_forwarded_fields_name_scheme_host_and_port(make: Make) -> None:
    environ = make(("X-Forwarded-Proto", "https"))
    assert seen(environ) == {**PLAIN, "wsgi.url_scheme": "https", "SERVER_PORT": "443"}
    environ = make(("X-Forwarded-Proto", "HTTP"))
    assert seen(environ) == {**PLAIN, "SERVER_PORT": "80"}
    environ = make(("X-Forwarded-Host", "shop.example"))
    assert seen(environ) == {
        **PLAIN,
        "HTTP_HOST": "shop.example",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "80",
    }
    environ = make(("X-Forwarded-Port", "8443"))
    assert seen(environ) == {**PLAIN, "SERVER_PORT": "8443"}
    environ = make(("X-Forwarded-Host", "[2001:db8::1]:444"), ("X-Forwarded-Proto", "https"))
    assert seen(environ) == {
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "[2001:db8::1]:444",
        "SERVER_NAME": "[2001:db8::1]",
        "SERVER_PORT": "444",
    }
    environ = make(
        ("X-Forwarded-Host", "[2001:db8::1]"), ("X-Forwarded-Port", "444"), ("X-Forwarded-Proto", "https")
    )
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("[2001:db8::1]", "444")
    assert client(environ) == PEER


def test_of_x_forwarded_lists_the_last_value_counts(make: Make) -> None:
    environ = make(
        ("X-Forwarded-Proto", "http, https ,"),
        ("X-Forwarded-Host", "forged.example"),
        ("X-Forwarded-Host", "also.example, shop.example"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-Port", "444"),
    )
    assert seen(environ) == {
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "shop.example",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "444",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-Proto", ""),
        ("X-Forwarded-Proto", "ws"),
        ("X-Forwarded-Proto", "httpss"),
        ("X-Forwarded-Proto", "https, javascript"),
        ("X-Forwarded-Host", ""),
        ("X-Forwarded-Host", "a b"),
        ("X-Forwarded-Host", "user@shop.example"),
        ("X-Forwarded-Host", "shop.example/path"),
        ("X-Forwarded-Host", "shop.example:99999"),
        ("X-Forwarded-Host", "shop.example, b/c"),
        ("X-Forwarded-Host", "h" * 263),
        ("X-Forwarded-Port", ""),
        ("X-Forwarded-Port", "65536"),
        ("X-Forwarded-Port", "80a"),
        ("X-Forwarded-Port", "123456"),
        ("Forwarded", "proto=ftp;host=a/b"),
        ("Forwarded", 'proto="https";host="shop.example'),
    ],
)
def test_what_is_no_scheme_host_or_port_changes_nothing(make: Make, name: str, value: str) -> None:
    assert seen(make((name, value))) == PLAIN


def test_forwarded_names_scheme_and_host_with_the_client(make: Make) -> None:
    told = 'for=203.0.113.7;proto=https;host="shop.example:444"'
    shop = {
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "shop.example:444",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "444",
    }
    assert seen(make(("Forwarded", told))) == shop
    environ = make(
        (
            "Forwarded",
            f"for=6.6.6.6;host=forged.example;proto=http, {told}, for=10.0.0.1;proto=http;host=inner",
        )
    )
    assert seen(environ) == shop
    assert client(environ) == ("203.0.113.7", "")
    # Its word is not lost when it cannot or will not name the client.
    for unnamed in (told.replace("203.0.113.7", "unknown"), told.partition(";")[2]):
        environ = make(("Forwarded", f"for=6.6.6.6;host=forged.example, {unnamed}, for=10.0.0.1;host=inner"))
        assert seen(environ) == shop
        assert client(environ) == ("10.0.0.1", "")


def test_the_proxys_host_wins_over_an_absolute_target(make: Make) -> None:
    environ = make(("X-Forwarded-Host", "shop.example"), target="http://proxy:8000/")
    assert environ["HTTP_HOST"] == "shop.example"


# --- peers not trusted ----------------------------------------------------------------------------

EVERYTHING = [
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "forged.example"),
    ("X-Forwarded-Port", "444"),
    ("X-Forwarded-Prefix", "/forged"),
    ("X-Forwarded-Anything-At-All-With-A-Name-That-Is-Too-Long-To-Be-Remembered", "1"),
    ("Forwarded", "for=6.6.6.6;proto=https;host=forged.example"),
    ("x-FORWARDED-for", "6.6.6.6"),
]


def test_fields_of_other_peers_are_removed(make: Make) -> None:
    for peer in ("192.0.2.1", "2001:db8:2::1"):
        environ = make(*EVERYTHING, ("X-Other", "kept"), ("X-Forwarded", "kept"), peer=peer)
        assert client(environ) == (peer, "4711")
        assert seen(environ) == PLAIN
        assert {key for key in environ if "FORWARDED" in key} == {"HTTP_X_FORWARDED"}
        assert environ["HTTP_X_OTHER"] == "kept"


def test_a_full_table_of_names_does_not_let_them_through(make: Make) -> None:
    environs = factory("127.0.0.1")
    for at in range(0, REMEMBERED * 2, 90):
        make(*((f"Y-{number}", "") for number in range(at, at + 90)), environs=environs)
    environ = make(*EVERYTHING, peer="192.0.2.1", environs=environs)
    assert not {key for key in environ if "FORWARDED" in key}
    assert client(make(("X-Forwarded-For", "203.0.113.7"), environs=environs)) == ("203.0.113.7", "")


def test_trust_is_that_of_each_peer(make: Make) -> None:
    for _ in range(2):
        for peer, told in (("10.0.0.1", "203.0.113.7"), ("192.0.2.1", "192.0.2.1"), ("", "203.0.113.7")):
            assert make(("X-Forwarded-For", "203.0.113.7"), peer=peer)["REMOTE_ADDR"] == told


@pytest.mark.parametrize("name", [name for name, _ in EVERYTHING[:4]])
def test_forwarded_is_ignored_beside_any_x_forwarded_field(make: Make, name: str) -> None:
    """A client behind a proxy that knows only these could otherwise say what it likes in Forwarded."""
    value = dict(EVERYTHING)[name]
    for fields in ([(name, value), EVERYTHING[6]], [EVERYTHING[6], (name, value)]):
        environ = make(*fields)
        assert "HTTP_FORWARDED" not in environ
        assert client(environ) == (("6.6.6.6", "") if name == "X-Forwarded-For" else PEER)
        assert environ["wsgi.url_scheme"] == ("https" if name == "X-Forwarded-Proto" else "http")
        assert environ["HTTP_HOST"] == ("forged.example" if name == "X-Forwarded-Host" else "proxy:8000")


def test_a_field_that_only_applications_read_does_not_silence_forwarded(make: Make) -> None:
    environ = make(("X-Forwarded-Prefix", "/shop"), ("Forwarded", "for=203.0.113.7"))
    assert client(environ) == ("203.0.113.7", "")
    assert environ["HTTP_X_FORWARDED_PREFIX"] == "/shop"
    assert environ["HTTP_FORWARDED"] == "for=203.0.113.7"


NOISE = st.text(alphabet='for=by;host=proto",\\[]:._- \t0123456789abcunknown', max_size=60)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=NOISE)
def test_nothing_that_a_client_sends_hides_it(make: Make, noise: str) -> None:
    """The proxy's own element is the last: whatever comes before it, it names the client."""
    environ = make(("X-Forwarded-For", f"{noise}, 203.0.113.7:5"))
    assert client(environ) == ("203.0.113.7", "5")
    for own in ("for=203.0.113.7;proto=https", 'proto=https;for="203.0.113.7:5"'):
        for fields in ([f"{noise}, {own}"], [noise, own]):
            environ = make(*(("Forwarded", field) for field in fields))
            assert environ["REMOTE_ADDR"] == "203.0.113.7"
            assert environ["wsgi.url_scheme"] == "https"


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=NOISE, hop=st.sampled_from(["10.0.0.1", "unknown", "x"]))
def test_nothing_raises(make: Make, noise: str, hop: str) -> None:
    for name in ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "Forwarded"):
        make((name, noise), (name, f"{noise},{hop}"))


# --- where the application is mounted -------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "target", "script", "path"),
    [
        ("", "/a", "", "/a"),
        ("/shop", "/shop/a?b=c", "/shop", "/a"),
        ("/shop", "/shop/", "/shop", "/"),
        ("/shop", "/shop", "/shop", ""),
        ("/shop", "/shopping/a", "/shop", "/shopping/a"),
        ("/shop", "/a", "/shop", "/a"),
        ("/shop", "/", "/shop", "/"),
        ("/shop", "/sh%6Fp/%61", "/shop", "/a"),
        ("/shop", "/shop/shop/a", "/shop", "/shop/a"),
        ("/a/b", "/a/b/c", "/a/b", "/c"),
        ("/a/b", "/a/c", "/a/b", "/a/c"),
        ("/café", "/caf%C3%A9/a", "/caf\xc3\xa9", "/a"),
        ("/shop", "http://proxy:8000/shop/a", "/shop", "/a"),
    ],
)
def test_the_root_path_is_taken_off_what_begins_with_it(
    make: Make, root: str, target: str, script: str, path: str
) -> None:
    environ = make(target=target, environs=factory(root=root))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script, path)
    assert environ["REQUEST_URI"] == target


def test_the_setting_reaches_the_server(serve: Serve, tmp_path: Path) -> None:
    def tell(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["REMOTE_ADDR"].encode()]

    fields = [("X-Forwarded-For", "6.6.6.6, 203.0.113.7, 198.51.100.1")]
    log = tmp_path / "log"
    with serve(tell, forwarded_hops=2, access_log=str(log), log_format="%(remote)s") as server:
        assert fetch(server.address, fields=fields).body == b"203.0.113.7"
    assert log.read_text() == "203.0.113.7\n"
    with serve(tell) as server:
        assert fetch(server.address, fields=fields).body == b"198.51.100.1"
