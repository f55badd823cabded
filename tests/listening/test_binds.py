"""What ``--bind`` accepts, and the errors for everything else."""

import itertools
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halfsync.errors import UsageError
from halfsync.listening.binds import Bind, FdBind, SystemdBind, TcpBind, UnixBind, overlap, parse_bind
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
        ("https://0.0.0.0:443", TcpBind("0.0.0.0", 443)),
        ("https://:443", TcpBind("", 443)),
        ("HTTPS://[::1]:443/", TcpBind("::1", 443)),
        ("http://localhost:80/", TcpBind("localhost", 80)),
        ("https://unix:/run/x.sock", UnixBind("/run/x.sock")),
        ("https://fd://3", FdBind(3)),
        ("https://systemd:web", SystemdBind("web")),
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
        ("a:b:80", "'a:b' in 'a:b:80' is not a host; give HOST:PORT"),
        ("a[b:80", "is not a host; give HOST:PORT"),
        ("::1]:8000", "write it as [::1]:8000"),
        ("[::1]8000", "write it as [::1]:8000"),
        ("::1]", "write it as [::1]:8000"),
        ("[::1:443", "write it as [::1]:443"),
        ("fe80::1%eth0", "write it as [fe80::1%eth0]:8000"),
        ("*", "write it as :8000 for all interfaces"),
        ("*:http", "give HOST:PORT"),
        (".", "give HOST:PORT"),
        ("@", "give HOST:PORT"),
        ("99999", "give HOST:PORT"),
        ("localhost:8000/", "write it as localhost:8000"),
        ("[::1]:8000/shop", "write it as [::1]:8000"),
        ("0.0.0.0/8000", "write it as 0.0.0.0:8000"),
        ("localhost/8000", "write it as localhost:8000"),
        ("[::1]/8000", "write it as [::1]:8000"),
        ("::1/8000", "write it as [::1]:8000"),
        ("10.0.0.0/8", "write it as unix:10.0.0.0/8"),
        ("systemd/web", "write it as unix:systemd/web"),
        ("tcp:127.0.0.1:80", "write it as 127.0.0.1:80"),
        ("HTTP:[::1]:80/", "write it as [::1]:80"),
        ("http://[::1]/", "write it as http://[::1]:8000"),
        ("https://tcp:127.0.0.1:80", "write it as https://127.0.0.1:80"),
        ("http://localhost:80/shop", "write it as http://localhost:80"),
        ("http://http://localhost:80", "write it as http://localhost:80"),
        ("//run/x", "write it as unix:/run/x"),
        ("UNIX:/run/x", "write it as unix:/run/x"),
        ("Unix:run/x", "write it as unix:run/x"),
        ("Systemd", "write it as systemd"),
        ("SYSTEMD:web", "write it as systemd:web"),
        ("fd:/3", "write it as fd://3"),
        ("FD://3", "write it as fd://3"),
        ("[127.0.0.1]:80", "write it as 127.0.0.1:80"),
        ("[a:b]:80", "brackets around something that is not an IPv6 address; give HOST:PORT"),
        ("[[[a]]]:80", "give HOST:PORT"),
        ("tcp:" * 5000 + "80", "give HOST:PORT"),
        ("[" * 5000 + "]" * 5000 + ":80", "give HOST:PORT"),
        ("run/x.sock", "write it as unix:run/x.sock"),
        ("/run/x.sock", "write it as unix:/run/x.sock"),
        ("./x", "write it as unix:./x"),
        ("x.sock", "write it as unix:x.sock"),
        ("app.socket", "write it as unix:app.socket"),
        ("@name", "write it as unix:@name"),
        ("*:8000", "write it as :8000 for all interfaces"),
        ("fd:3", "write it as fd://3"),
        ("tcp://0.0.0.0:80", "write it as 0.0.0.0:80"),
        ("http://localhost", "write it as http://localhost:8000"),
        ("localhost:" + "9" * 5000, "is not a port"),
        ("9" * 5000, "is not an address with a port"),
        ("fd://" + "9" * 5000, "write it as fd://3"),
        ("[localhost]:80", "brackets around something that is not an IPv6 address"),
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
def test_errors_say_what_would_be_right(spec: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_bind(spec)
    assert says in str(caught.value)


# Advice that names two forms.
FIXED = {
    "write it as unix:/run/app.sock or unix:@name": [
        "write it as unix:/run/app.sock",
        "write it as unix:@name",
    ],
    "write it as systemd:NAME, with the FileDescriptorName= of the socket unit, or systemd for all": [
        "write it as systemd:NAME",
        "write it as systemd",
    ],
}


def check_advice(spec: str) -> None:
    """Refuse a bind or not, and never advise what is refused."""
    try:
        parse_bind(spec)
    except UsageError as error:
        for advice in FIXED.get(error.remedy, [error.remedy]):
            assert advice.startswith(("write it as ", "give ", "choose "))
            if advice.startswith("write"):
                assert parse_bind(advice.removeprefix("write it as ").removesuffix(" for all interfaces"))


PIECES = (
    "*", "localhost", "a", "127.0.0.1", "0.0.0.0", "::1", "::", "[::1]", "fe80::1%eth0", "2001:db8::1",
    "::ffff:10.0.0.1", "8000", "80", "0", "99999", "x.sock", "run", "é", "unix", "UNIX", "systemd", "Systemd", "fd",
    "FD", "tcp", "http", "https://", "NAME",
    ":", ":", ":", "/", "/", "//", "[", "]", "@", ".", "..", "~", ",", "-", "%", " ", "\0", "\n", "x" * 110,
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
@example("x" * 108 + "/x.sock")
def test_no_advice_is_refused_itself(spec: str) -> None:
    check_advice(spec)


def test_no_advice_about_two_pieces_is_refused_itself() -> None:
    for pieces in itertools.product(dict.fromkeys((*PIECES, "")), repeat=2):
        check_advice("".join(pieces))


def test_a_path_in_the_home_directory_is_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/web")
    with pytest.raises(UsageError, match=r"write it as unix:/home/web/x\.sock"):
        parse_bind("~/x.sock")


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
def test_other_addresses_are_no_error(one: str, other: str) -> None:
    for bind, admin in ((one, other), (other, one)):
        assert not overlap(parse_bind(bind), parse_bind(admin))
        assert Settings.from_options(bind=bind, admin_bind=admin).admin_bind == (admin,)


def test_a_socket_file_is_the_same_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert overlap(UnixBind(f"{tmp_path}/x"), UnixBind(f"{tmp_path}/link/x"))


def test_the_default_of_bind_counts() -> None:
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:8000 is also a bind"):
        Settings.from_options(admin_bind="127.0.0.1:8000")
