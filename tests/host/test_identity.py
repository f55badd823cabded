"""Users and groups: names that are looked up, and root that is dropped permanently, or not at all."""

import grp
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halfsync.errors import UsageError
from halfsync.host import identity
from halfsync.host.identity import Identity, become, find_identity, set_umask
from halfsync.settings import Settings

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
UNKNOWN_ID = 54_321  # in no password file

# Changes the user in a process of its own, and prints the user of each of its threads, and what it may still do.
CHANGE = """
import ctypes, json, os, socket, sys, threading
from pathlib import Path
from halfsync.errors import UsageError
from halfsync.settings import Settings
from halfsync.host.identity import become, find_identity

def may(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        return False
    return True

options, before = json.loads(sys.argv[1]), sys.argv[2]
if before == "keep":  # SECBIT_NO_SETUID_FIXUP: capabilities stay when root is given up
    assert ctypes.CDLL(None).prctl(28, 4, 0, 0, 0) == 0
elif before == "permitted":  # PR_SET_KEEPCAPS: they stay permitted, and can be taken up again
    assert ctypes.CDLL(None).prctl(8, 1, 0, 0, 0) == 0
elif before == "user":
    os.setgroups([]); os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)
end = threading.Event()
thread = threading.Thread(target=end.wait, daemon=True)
thread.start()
try:
    listener = socket.create_server(("127.0.0.1", 0))
    become(find_identity(Settings.from_options(**options)))
    uids = [
        [line.split()[1:] for line in (task / "status").read_text().splitlines() if line.startswith("Uid:")][0]
        for task in Path("/proc/self/task").iterdir()
    ]
    said = {
        "user": os.getresuid(), "group": os.getresgid(), "groups": sorted(os.getgroups()), "threads": uids,
        "root": [may(os.setuid, 0), may(os.seteuid, 0), may(os.setgid, 0), may(os.setgroups, [0])],
        "listens": listener.getsockname()[1] > 0,
    }
except UsageError as error:
    said = {"refused": str(error)}
end.set()
print(json.dumps(said))
"""


# Serves once its sockets are open and root is dropped, and prints the user that answers, and those of its threads.
SERVE = """
import os, socket, sys
from pathlib import Path
import halfsync
from halfsync.settings import Settings
from halfsync.host.identity import become, find_identity

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"user {os.getuid()}".encode()]

server = halfsync.Server(app, bind=f"unix:{sys.argv[2]}/x.sock", model=sys.argv[1])
become(find_identity(Settings.from_options(user="nobody")))
with server, socket.socket(socket.AF_UNIX) as client:
    client.connect(server.address)
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    answer = b"".join(iter(lambda: client.recv(4096), b"")).decode()
    users = {
        line.split()[1]
        for task in Path("/proc/self/task").iterdir()
        for line in (task / "status").read_text().splitlines() if line.startswith("Uid:")
    }
print(answer[answer.index("user "):], *users)
"""


def changed(before: str = "", **options: object) -> dict[str, Any]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHANGE, json.dumps(options), before],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def found(**options: object) -> Identity:
    return find_identity(Settings.from_options(**options))


def refused(**options: object) -> str:
    with pytest.raises(UsageError) as caught:
        found(**options)
    return str(caught.value)


@pytest.fixture
def powerless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no capabilities, whoever runs the tests."""
    monkeypatch.setattr(identity, "_has_capabilities", lambda _: False)


def test_no_user_or_group_is_set() -> None:
    assert found() == Identity()
    assert not found().changes
    become(found())


@as_root
def test_names_and_numbers() -> None:
    nobody = pwd.getpwnam("nobody")
    assert found(user="nobody") == Identity(nobody.pw_uid, nobody.pw_gid, "nobody", "argument")
    assert found(user=nobody.pw_uid) == found(user="nobody")
    assert found(user="nobody", group="daemon").group == grp.getgrnam("daemon").gr_gid
    assert found(user=UNKNOWN_ID, group=UNKNOWN_ID) == Identity(UNKNOWN_ID, UNKNOWN_ID, "", "argument")
    assert found(group="daemon") == Identity(None, grp.getgrnam("daemon").gr_gid, "", "argument")


def test_an_unknown_user_or_group_is_rejected() -> None:
    assert refused(user="nobody-of-that-name") == (
        "argument: there is no user 'nobody-of-that-name'; check the name, or give its number"
    )
    assert "there is no group 'nobody-of-that-name'" in refused(group="nobody-of-that-name")
    assert "there is no user '4294967295'" in refused(user=str(2**32 - 1))
    assert refused(user=UNKNOWN_ID) == (
        f"argument: user {UNKNOWN_ID} is not in the password file, so its group is unknown; give group too"
    )


@pytest.mark.usefixtures("powerless")
def test_a_change_without_the_right_is_rejected() -> None:
    own, other = os.getuid(), os.getuid() + 1
    assert refused(user=other, group=os.getgid()) == (
        f"argument: only root can switch to user {other} and group {os.getgid()}, and this process runs as user {own}; "
        "start as root, or as that user without this setting"
    )
    assert f"only root can switch to group {os.getgid() + 1}, and" in refused(group=os.getgid() + 1)


@pytest.mark.usefixtures("powerless")
def test_no_right_is_needed_to_stay_the_same_user() -> None:
    assert not found(user=os.getuid(), group=os.getgid()).changes
    become(found(user=os.getuid(), group=os.getgid()))


@pytest.mark.usefixtures("powerless")
def test_a_user_without_a_password_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers are run with an arbitrary number."""
    monkeypatch.setattr(os, "getresuid", lambda: (UNKNOWN_ID,) * 3)
    monkeypatch.setattr(os, "getresgid", lambda: (0,) * 3)
    for options in ({}, {"user": UNKNOWN_ID}, {"user": UNKNOWN_ID, "group": 0}):
        become(found(**options))


@as_root
@pytest.mark.parametrize(
    ("options", "user", "group"),
    [
        ({"user": "nobody"}, "nobody", None),
        ({"user": "nobody", "group": "daemon"}, "nobody", "daemon"),
        ({"user": UNKNOWN_ID, "group": UNKNOWN_ID}, UNKNOWN_ID, UNKNOWN_ID),
    ],
)
def test_root_is_given_up_for_good(options: dict[str, Any], user: str | int, group: str | int | None) -> None:
    uid = user if isinstance(user, int) else pwd.getpwnam(user).pw_uid
    if group is None:
        group = pwd.getpwuid(uid).pw_gid
    gid = group if isinstance(group, int) else grp.getgrnam(group).gr_gid
    said = changed(**options)
    assert (said["user"], said["group"], said["root"]) == ([uid] * 3, [gid] * 3, [False] * 4)
    assert said["threads"] == [[str(uid)] * 4] * 2
    assert said["listens"]
    assert gid in said["groups"]
    assert 0 not in said["groups"]


@as_root
def test_the_users_other_groups_come_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    for name in ("initgroups", "setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, lambda *given, name=name: calls.append((name, *given)))
    monkeypatch.setattr(identity, "_check_for_good", lambda _: calls.append(("checked",)))
    become(Identity(7, 8, "login"))
    become(Identity(7, 8))
    become(Identity(None, 8))
    assert calls == [
        ("initgroups", "login", 8), ("setresgid", 8, 8, 8), ("setresuid", 7, 7, 7), ("checked",),
        ("setgroups", [8]), ("setresgid", 8, 8, 8), ("setresuid", 7, 7, 7), ("checked",),
        ("setresgid", 8, 8, 8), ("checked",),
    ]  # fmt: skip


@as_root
@pytest.mark.parametrize("before", ["keep", "permitted"])
def test_root_that_could_be_had_back_is_refused(before: str) -> None:
    said = changed(before, user="nobody")
    assert said["refused"].startswith("argument: as user ")
    assert "this process could become root again; start it as that user" in said["refused"]


@as_root
@pytest.mark.parametrize("model", ["proactor", "thread", "pool", "process"])
def test_a_server_with_open_sockets_serves_as_another_user(model: str) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory(prefix="hs") as folder:
        Path(folder).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", SERVE, model, folder],
            env=environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.stdout, done.returncode) == (f"user {nobody} {nobody}\n", 0), done.stderr


@as_root
def test_an_ordinary_user_is_refused_at_once() -> None:
    said = changed("user", user="nobody")
    assert f"only root can switch to user {pwd.getpwnam('nobody').pw_uid} and" in said["refused"]
    assert changed("user", user=UNKNOWN_ID)["user"] == [UNKNOWN_ID] * 3
    assert changed("user")["user"] == [UNKNOWN_ID] * 3


@as_root
def test_root_may_ask_for_root() -> None:
    assert changed(user="root")["user"] == [0] * 3
    assert changed(group="daemon")["group"] == [grp.getgrnam("daemon").gr_gid] * 3


def test_an_error_of_the_system_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    for name in ("initgroups", "setgroups", "setresgid"):
        monkeypatch.setattr(os, name, deny)
    with pytest.raises(UsageError) as caught:
        become(Identity(UNKNOWN_ID, 8, "", "--user"))
    assert str(caught.value) == (
        f"--user: cannot become user {UNKNOWN_ID} and group 8: invalid argument; "
        "start as root, with the capabilities SETUID and SETGID"
    )


def test_capabilities_are_read_if_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert identity._has_capabilities(b"CapEff") == (os.geteuid() == 0)
    # If /proc is not mounted, only the user counts.
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert identity._has_capabilities(b"NoSuchLine")


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_umask_is_set_if_it_is_given() -> None:
    set_umask(Settings.from_options())
    assert os.umask(0o022) == 0o022
    set_umask(Settings.from_options(umask="077"))
    assert os.umask(0o022) == 0o077
