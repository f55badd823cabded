"""Listening sockets: what is opened, how it is described, and the errors if it cannot be opened."""

import errno
import grp
import os
import pwd
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from halfsync.errors import BindError, UsageError
from halfsync.listening.activation import find_sockets
from halfsync.listening.listeners import Listener
from halfsync.listening.opening import open_listeners
from halfsync.runtime import originals

Opener = Callable[..., list[Listener]]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def listen() -> Iterator[Opener]:
    """Open listeners that are closed after the test."""
    opened: list[Listener] = []

    def open_them(
        *binds: str, backlog: int = 8, mode: int | None = None, owner: str | None = None
    ) -> list[Listener]:
        opened.extend(found := open_listeners(binds, backlog, unix_mode=mode, unix_owner=owner))
        return found

    yield open_them
    for listener in opened:
        listener.close()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket, wherever the test runs."""
    with tempfile.TemporaryDirectory(prefix="hs") as name:
        yield Path(name)


def refused(*binds: str) -> BindError:
    with pytest.raises(BindError) as caught:
        open_listeners(binds, 8)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_tcp_listener_is_ready_for_the_engine(listen: Opener) -> None:
    (listener,) = listen("127.0.0.1:0")
    sock = listener.socket
    assert listener.family == socket.AF_INET
    assert not sock.getblocking()
    assert not sock.get_inheritable()
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    port = str(sock.getsockname()[1])
    assert (listener.server_name, listener.server_port) == ("127.0.0.1", port)
    assert listener.url == f"http://127.0.0.1:{port}"


def test_accepted_sockets_inherit_no_delay(listen: Opener) -> None:
    (listener,) = listen("127.0.0.1:0")
    with socket.create_connection(listener.socket.getsockname()):
        listener.socket.setblocking(True)
        accepted, _ = listener.socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@needs_ipv6
def test_ipv6_is_written_in_brackets(listen: Opener) -> None:
    (listener,) = listen("[::1]:0")
    assert listener.family == socket.AF_INET6
    assert listener.server_name == "[::1]"
    assert listener.url == f"http://[::1]:{listener.server_port}"


@needs_ipv6
def test_all_interfaces_are_one_socket_for_each_family_and_one_port(listen: Opener) -> None:
    four, six = listen(":0")
    assert (four.server_name, six.server_name) == ("0.0.0.0", "[::]")
    assert four.server_port == six.server_port
    with socket.create_connection(("127.0.0.1", int(four.server_port))):
        four.socket.setblocking(True)
        accepted, peer = four.socket.accept()
        accepted.close()
        assert peer[0] == "127.0.0.1"


@needs_ipv6
def test_the_ipv6_wildcard_alone_takes_ipv4_too(listen: Opener) -> None:
    (listener,) = listen("[::]:0")
    socket.create_connection(("127.0.0.1", int(listener.server_port))).close()


def test_a_name_is_resolved(listen: Opener) -> None:
    found = listen("localhost:0")
    assert {listener.server_name for listener in found} <= {"127.0.0.1", "[::1]"}
    assert len({listener.server_port for listener in found}) == 1


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(originals.socket, "getaddrinfo", lambda *_, **__: found)


def test_an_address_that_the_machine_lacks_is_skipped_if_there_is_another(
    listen: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "192.0.2.1", "127.0.0.1", "127.0.0.1")
    assert [listener.server_name for listener in listen("two.example:0")] == ["127.0.0.1"]


def test_an_address_in_use_is_never_skipped(listen: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = listen("127.0.0.2:0")
    resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
    assert refused(f"two.example:{taken.server_port}").errno == errno.EADDRINUSE
    # And the first one was closed again.
    monkeypatch.undo()
    listen(f"127.0.0.1:{taken.server_port}")


def test_no_address_at_all() -> None:
    error = refused("192.0.2.1:0")
    assert (error.errno, error.problem) == (errno.EADDRNOTAVAIL, "this machine has no such address")


def test_a_port_in_use(listen: Opener) -> None:
    (taken,) = listen("127.0.0.1:0")
    error = refused(f"127.0.0.1:{taken.server_port}")
    assert error.errno == errno.EADDRINUSE
    assert str(error).startswith(f"bind 127.0.0.1:{taken.server_port}: the address is in use; ")


def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(originals.socket, "getaddrinfo", fail)
    error = refused("nowhere.invalid:80")
    assert error.problem == "the host 'nowhere.invalid' is unknown (name or service not known)"


def test_a_host_that_is_no_name() -> None:
    assert "is unknown" in refused("x" * 300 + ":80").problem


class Denied(socket.socket):
    """A socket whose bind is refused, as an unprivileged user's is."""

    def bind(self, address: object, /) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")


def test_permission_denied_explains_low_ports(monkeypatch: pytest.MonkeyPatch, short_path: Path) -> None:
    monkeypatch.setattr(originals.socket, "socket", Denied)
    assert "port 80 is below 1024; choose a higher port" in str(refused("127.0.0.1:80"))
    assert "below" not in str(refused("127.0.0.1:8000"))
    assert "permission denied; choose a directory" in str(refused(f"unix:{short_path}/x"))


def test_a_bad_bind_is_a_mistake_in_the_usage() -> None:
    with pytest.raises(UsageError, match="bind: '80' is not an address with a port"):
        open_listeners(["80"], 8)


def test_all_or_nothing(listen: Opener, short_path: Path) -> None:
    (taken,) = listen("127.0.0.1:0")
    path = short_path / "first.sock"
    before = len(list(Path("/proc/self/fd").iterdir()))
    refused(f"unix:{path}", f"127.0.0.1:{taken.server_port}")
    assert not path.exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_unix_socket_answers_and_is_removed_at_close(listen: Opener, short_path: Path) -> None:
    path = short_path / "x.sock"
    (listener,) = listen(f"unix:{path}")
    assert (listener.family, listener.url) == (socket.AF_UNIX, f"unix:{path}")
    assert (listener.server_name, listener.server_port) == ("localhost", "80")
    assert not listener.socket.getblocking()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()


def test_the_socket_of_a_dead_server_is_replaced(listen: Opener, short_path: Path) -> None:
    path = short_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen(1)
    listen(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_the_socket_of_a_live_server_is_not_replaced(listen: Opener, short_path: Path) -> None:
    path = short_path / "x.sock"
    listen(f"unix:{path}")
    assert "another server is listening there" in refused(f"unix:{path}").problem
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_server_with_a_full_backlog_is_alive(listen: Opener, short_path: Path) -> None:
    path = short_path / "x.sock"
    listen(f"unix:{path}", backlog=0)
    clients: list[socket.socket] = []
    try:
        while True:
            clients.append(client := socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(str(path)) == errno.EAGAIN:
                break
        assert refused(f"unix:{path}").errno == errno.EADDRINUSE
    finally:
        for client in clients:
            client.close()


def test_a_file_that_is_no_socket_is_not_replaced(short_path: Path) -> None:
    path = short_path / "precious"
    path.write_text("data")
    assert refused(f"unix:{path}").problem == "the path exists and is not a socket"
    assert path.read_text() == "data"


def test_a_missing_directory(short_path: Path) -> None:
    assert refused(f"unix:{short_path}/gone/x.sock").problem == "the directory does not exist"


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o600, 0o777])
@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_a_unix_socket_has_the_mode_that_was_asked_for(
    listen: Opener, short_path: Path, mode: int, umask: int
) -> None:
    path = short_path / "x.sock"
    before = os.umask(umask)
    try:
        listen(f"unix:{path}", f"unix:@{short_path}", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.lstat().st_mode) == mode


def test_no_client_can_connect_before_a_unix_socket_has_its_owner_and_mode(
    listen: Opener, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = short_path / "x.sock"
    tried: list[int] = []
    change = os.chmod

    def chmod(*arguments: Any) -> None:
        for changes in (False, True):
            if changes:
                change(*arguments)
            with socket.socket(socket.AF_UNIX) as early:
                tried.append(early.connect_ex(str(path)))

    monkeypatch.setattr(originals.os, "chmod", chmod)
    listen(f"unix:{path}", mode=0o666, owner=f"{os.getuid()}:{os.getgid()}")
    assert tried == [errno.ECONNREFUSED] * 2
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("when", ["lstat", "chown"])
def test_a_link_in_the_place_of_a_socket_gets_neither_its_owner_nor_its_mode(
    listen: Opener, short_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A user who may write to the directory replaces it before the server changes them, or in between."""
    path, precious = short_path / "x.sock", short_path / "precious"
    precious.touch(mode=0o600)
    call = getattr(os, when)

    def called(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        if path.is_socket():
            path.unlink()
            path.symlink_to(precious)
        return result

    monkeypatch.setattr(originals.os, when, called)
    if when == "lstat":
        with pytest.raises(BindError, match="another process has replaced the socket file"):
            listen(f"unix:{path}", mode=0o666)
    else:
        listen(f"unix:{path}", mode=0o666, owner=f"{os.getuid()}:{os.getgid()}")
    assert stat.S_IMODE(precious.stat().st_mode) == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file to another user")
@pytest.mark.parametrize(
    ("owner", "user", "group"),
    [
        ("nobody", "nobody", ""),
        ("nobody:daemon", "nobody", "daemon"),
        (":daemon", "", "daemon"),
        ("4711:4712", "", ""),
    ],
)
def test_a_unix_socket_has_the_owner_that_was_asked_for(
    listen: Opener, short_path: Path, owner: str, user: str, group: str
) -> None:
    path = short_path / "x.sock"
    listen(f"unix:{path}", mode=0o660, owner=owner)
    found = path.lstat()
    if owner[0].isdigit():
        assert (found.st_uid, found.st_gid) == (4711, 4712)
    else:
        assert found.st_uid == (pwd.getpwnam(user).pw_uid if user else os.getuid())
        assert found.st_gid == (grp.getgrnam(group).gr_gid if group else os.getgid())
    assert stat.S_IMODE(found.st_mode) == 0o660


@pytest.mark.parametrize(
    ("owner", "problem"),
    [
        ("nobody-of-that-name", "there is no user 'nobody-of-that-name'"),
        (":nobody-of-that-name", "there is no group 'nobody-of-that-name'"),
        (str(2**32 - 1), f"there is no user '{2**32 - 1}'"),
    ],
)
def test_an_owner_that_there_is_not(short_path: Path, owner: str, problem: str) -> None:
    path = short_path / "x.sock"
    with pytest.raises(BindError) as caught:
        open_listeners([f"unix:{path}"], 8, unix_owner=owner)
    assert str(caught.value).startswith(f"unix_owner: {problem}; check the name")
    assert not path.exists()


def test_an_owner_that_may_not_be_set(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chown(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(originals.os, "chown", chown)
    path = short_path / "x.sock"
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(
        BindError, match="owner or mode cannot be set: permission denied; start as root"
    ) as caught:
        open_listeners([f"unix:{path}"], 8, unix_owner="0")
    assert caught.value.errno == errno.EPERM
    assert not path.exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_close_does_not_remove_the_socket_of_a_later_server(listen: Opener, short_path: Path) -> None:
    path = short_path / "x.sock"
    (old,) = listen(f"unix:{path}")
    path.unlink()
    listen(f"unix:{path}")
    old.close()
    assert path.exists()


def test_close_in_a_child_does_not_remove_the_parents_file(
    listen: Opener, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = short_path / "x.sock"
    (listener,) = listen(f"unix:{path}")
    parent = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(originals.os, "getpid", lambda: parent + 1)
        listener.close()
    assert path.exists()


def test_close_finds_the_file_from_another_directory(
    listen: Opener, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(short_path)
    (listener,) = listen("unix:x.sock")
    monkeypatch.chdir("/")
    listener.close()
    listener.close()
    assert not (short_path / "x.sock").exists()


def test_an_abstract_socket(listen: Opener) -> None:
    name = f"halfsync-test-{os.getpid()}"
    (listener,) = listen(f"unix:@{name}")
    assert listener.url == f"unix:@{name}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name)
    assert "another server" in refused(f"unix:@{name}").problem


def test_an_inherited_socket_is_prepared(listen: Opener) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    given.set_inheritable(True)
    port = given.getsockname()[1]
    (listener,) = listen(f"fd://{given.detach()}")
    assert listener.url == f"http://127.0.0.1:{port}"
    assert not listener.socket.getblocking()
    assert not listener.socket.get_inheritable()


def test_an_inherited_unix_socket_keeps_its_file(listen: Opener, short_path: Path) -> None:
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(short_path / "x.sock"))
    given.listen(1)
    (listener,) = listen(f"fd://{given.detach()}")
    assert listener.url == f"unix:{short_path}/x.sock"
    listener.close()
    assert (short_path / "x.sock").exists()


def test_descriptors_that_cannot_serve_are_refused_and_stay_open() -> None:
    with (
        socket.socket() as idle,
        socket.socket(type=socket.SOCK_DGRAM) as datagram,
        Path("/dev/null").open() as file,
    ):
        assert "does not listen" in refused(f"fd://{idle.fileno()}").problem
        assert "does not listen" in refused(f"fd://{datagram.fileno()}").problem
        assert "is not a socket" in refused(f"fd://{file.fileno()}").problem
        for number in (idle.fileno(), datagram.fileno(), file.fileno()):
            os.fstat(number)
    assert "is not open" in refused("fd://99999").problem


def test_a_socket_that_the_program_was_not_started_with_is_refused_and_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        started_with = find_sockets()
        number = first.fileno()
        os.dup2(second.fileno(), number, inheritable=False)
        for passed, problem in ((started_with, "was closed by an earlier reload"), ({}, "was not passed")):
            with pytest.raises(BindError, match=f"descriptor {number} .*{problem}"):
                open_listeners([f"fd://{number}"], 8, passed=passed)
        os.fstat(number)
        (listener,) = open_listeners([f"fd://{second.fileno()}"], 8, passed=started_with)
        assert listener.socket.detach() == second.fileno()
        os.close(number)
        with pytest.raises(BindError, match="was closed by an earlier reload"):
            open_listeners([f"fd://{number}"], 8, passed=started_with)
        first.detach()
