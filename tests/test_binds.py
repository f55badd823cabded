"""What ``--bind`` accepts, and what it says to the rest."""

from pathlib import Path

import pytest

from halfsync.binds import Bind, FdBind, SystemdBind, TcpBind, UnixBind, overlap, parse_bind
from halfsync.errors import UsageError
from halfsync.settings import Settings


@pytest.mark.parametrize(
    ("spec", "bind"),
    [
        ("127.0.0.1:8000", TcpBind("127.0.0.1", 8000)),
        ("localhost:0", TcpBind("localhost", 0)),
        (":8000", TcpBind("", 8000)),
        ("[::1]:65535", TcpBind("::1", 65535)),
        ("[::]:80", TcpBind("::", 80)),
        ("unix:/run/x.sock", UnixBind("/run/x.sock")),
        ("unix:///run/x.sock", UnixBind("/run/x.sock")),
        ("unix:x.sock", UnixBind("x.sock")),
        ("unix:@name", UnixBind("@name")),
        ("fd://3", FdBind(3)),
        ("systemd", SystemdBind("")),
        ("systemd:web", SystemdBind("web")),
        ("systemd:app.socket", SystemdBind("app.socket")),
    ],
)
def test_forms(spec: str, bind: Bind) -> None:
    assert parse_bind(spec) == bind


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("8000", "write it as 127.0.0.1:8000"),
        ("localhost", "write it as localhost:8000"),
        ("", "write it as HOST:8000"),
        ("localhost:", "'' in 'localhost:' is not a port"),
        ("localhost:65536", "from 0 to 65535"),
        ("localhost:-1", "is not a port"),
        ("localhost:٣", "is not a port"),
        ("::1:8000", "write it as [::1]:8000"),
        ("::1", "write it as [::1]:8000"),
        ("[::1]", "write it as [::1]:8000"),
        ("::", "write it as [::]:8000"),
        ("2001:db8::1", "write it as [2001:db8::1]:8000"),
        ("2001:db8::1:443", "write it as [2001:db8::1]:443"),
        ("2001:db8:0:0:0:0:0:1", "write it as [2001:db8:0:0:0:0:0:1]:8000"),
        ("::ffff:10.0.0.1", "write it as [::ffff:10.0.0.1]:8000"),
        ("a:b:80", "has an IPv6 address without brackets"),
        ("run/x.sock", "write it as unix:run/x.sock"),
        ("/run/x.sock", "write it as unix:/run/x.sock"),
        ("./x", "write it as unix:./x"),
        ("x.sock", "write it as unix:x.sock"),
        ("app.socket", "write it as unix:app.socket"),
        ("@name", "write it as unix:@name"),
        ("*:8000", "write it as :8000 for all interfaces"),
        ("fd:3", "write it as fd://3"),
        ("tcp://0.0.0.0:80", "write it as 0.0.0.0:80"),
        ("http://localhost:80/", "write it as localhost:80"),
        ("http://localhost", "give HOST:PORT"),
        ("localhost:" + "9" * 5000, "is not a port"),
        ("9" * 5000, "is not an address with a port"),
        ("fd://" + "9" * 5000, "write it as fd://3"),
        ("[localhost]:80", "brackets around no IPv6 address"),
        ("http://localhost:80", "is a URL"),
        ("/run/x.sock:1", "is a path"),
        ("a:1,b:2", "is not a host"),
        ("unix:", "names no path"),
        ("unix:@", "names no path"),
        ("unix:/" + "x" * 107, "longer than the 107 bytes"),
        ("fd://x", "write it as fd://3"),
        ("fd://-1", "write it as fd://3"),
        ("fd://99999999999", "write it as fd://3"),
        ("systemd:", "write it as systemd:NAME"),
        ("systemd:a:b", "write it as systemd:NAME"),
        ("systemd:a\n", "write it as systemd:NAME"),
        ("systemd:é", "write it as systemd:NAME"),
    ],
)
def test_mistakes_say_what_would_be_right(spec: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_bind(spec)
    assert says in str(caught.value)


def test_the_longest_unix_path_is_accepted() -> None:
    assert parse_bind("unix:/" + "x" * 106) == UnixBind("/" + "x" * 106)


SAME = [
    ("127.0.0.1:8000", "127.0.0.1:8000"),
    ("127.0.0.1:8000", "127.0.0.1:08000"),
    ("127.0.0.1:8000", "127.1:8000"),
    ("127.0.0.1:8000", "0x7f000001:8000"),
    ("localhost:8000", "LocalHost:8000"),
    ("[::1]:8000", "[0:0::0001]:8000"),
    ("[FE80::1]:8000", "[fe80::1]:8000"),
    (":8000", "127.0.0.1:8000"),
    (":8000", "[::1]:8000"),
    (":8000", "localhost:8000"),
    ("0.0.0.0:8000", "127.0.0.1:8000"),
    ("[::]:8000", "[::1]:8000"),
    ("[::]:8000", "127.0.0.1:8000"),
    ("[::]:8000", "0.0.0.0:8000"),
    ("unix:x", "unix:./x"),
    ("unix:x", "unix:y/../x"),
    ("unix:/run/x", "unix:///run//x"),
    ("unix:@x", "unix:@x"),
    ("fd://3", "fd://03"),
    ("systemd:a", "systemd:a"),
    ("systemd", "systemd:a"),
]
DIFFERENT = [
    ("127.0.0.1:8000", "127.0.0.1:8001"),
    ("127.0.0.1:8000", "127.0.0.2:8000"),
    ("127.0.0.1:8000", "[::1]:8000"),
    ("0.0.0.0:8000", "[::1]:8000"),
    ("127.0.0.1:0", "127.0.0.1:0"),
    (":0", ":0"),
    ("unix:x", "unix:@x"),
    ("unix:x", "unix:y"),
    ("unix:@x", "unix:@X"),
    ("fd://3", "fd://4"),
    ("systemd:a", "systemd:b"),
    ("systemd:a", "fd://3"),
    ("127.0.0.1:8000", "unix:x"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_address_is_recognised_however_it_is_spelled(one: str, other: str) -> None:
    for bind, admin in ((one, other), (other, one)):
        assert overlap(parse_bind(bind), parse_bind(admin))
        with pytest.raises(
            UsageError, match=r"^admin_bind: .* and probes need an address of their own;"
        ) as caught:
            Settings.from_options(bind=("127.0.0.9:9", bind), admin_bind=("127.0.0.9:10", admin))
        assert admin in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_addresses_are_no_mistake(one: str, other: str) -> None:
    for bind, admin in ((one, other), (other, one)):
        assert not overlap(parse_bind(bind), parse_bind(admin))
        assert Settings.from_options(bind=bind, admin_bind=admin).admin_bind == (admin,)


def test_a_socket_file_is_the_same_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert overlap(UnixBind(f"{tmp_path}/x"), UnixBind(f"{tmp_path}/link/x"))


def test_the_default_of_bind_counts() -> None:
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:8000 is also a bind"):
        Settings.from_options(admin_bind="127.0.0.1:8000")
