"""What ``--bind`` accepts, and what it says to the rest."""

import pytest

from halfsync.binds import Bind, FdBind, SystemdBind, TcpBind, UnixBind, parse_bind
from halfsync.errors import UsageError


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
