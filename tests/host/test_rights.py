"""Which paths root opens, and which are opened with the rights of the user that a server becomes."""

import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from halfsync.host.identity import Identity
from halfsync.host.rights import find_fixed, opening

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")

NOBODY = pwd.getpwnam("nobody")
IDENTITY = Identity(NOBODY.pw_uid, NOBODY.pw_gid, NOBODY.pw_name)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Go to a directory of root's in one with the sticky bit."""
    with TemporaryDirectory(prefix="hs") as name:
        Path(name).chmod(0o755)
        monkeypatch.chdir(name)
        (Path(name) / "logs").mkdir()
        (Path(name) / "logs" / "log").touch()
        yield Path(name)


def change(command: str) -> None:
    """Run a command of the shell in the directory."""
    subprocess.run(["sh", "-ec", command], env={**os.environ, "GROUP": str(NOBODY.pw_gid)}, check=True)


FIXED = {
    "as it is": "true",
    "the file is not there": "rm logs/log",
    "the file is the user's": "chown nobody logs/log",
    "only root may search the directory": "chmod 700 logs",
    "a link of root's to a file": "mv logs/log real; ln -s ../real logs/log",
    "a link of root's to nothing": "rm logs/log; ln -s ../real logs/log",
    "a link of root's to a directory": "mv logs real; ln -s real logs",
    "an absolute link": 'mv logs real; ln -s "$PWD/real" logs',
}
OPEN = {
    "the user's directory": "chown nobody logs",
    "the directory of a group": 'chgrp "$GROUP" logs; chmod 775 logs',
    "the directory of all": "chmod 777 logs",
    "a directory like /tmp": "chmod 1777 logs",
    "a directory like /tmp, and no file": "chmod 1777 logs; rm logs/log",
    "the directory above": "chown nobody .",
    "a group's directory above": 'chgrp "$GROUP" .; chmod 775 .',
    "a link in the user's directory": "mv logs/log real; ln -s ../real logs/log; chown nobody logs",
    "a link to the user's directory": "mkdir users; chown nobody users; ln -sf ../users/log logs/log",
    "a link in a directory like /tmp": "chmod 1777 .; mv logs real; ln -s real logs",
    "a link that leads to itself": "ln -sf log logs/log",
    "no directory": "mv logs others",
}


@pytest.mark.parametrize("how", FIXED)
def test_what_only_root_can_replace(folder: Path, how: str) -> None:
    change(FIXED[how])
    for path in ("logs/log", f"{folder}/logs/log", "./logs/../logs//log"):
        assert find_fixed(path) == os.path.realpath("logs/log")
        with opening(path, IDENTITY) as place:
            assert place == os.path.realpath("logs/log")
            assert os.geteuid() == 0


@pytest.mark.parametrize("how", OPEN)
def test_what_another_can_replace_is_opened_by_the_user(folder: Path, how: str) -> None:
    before = (os.getresuid(), os.getresgid(), os.getgroups())
    change(OPEN[how])
    assert find_fixed("logs/log") == find_fixed(f"{folder}/logs/log") == ""
    with opening("logs/log", IDENTITY) as place:
        assert place == "logs/log"
        assert (os.geteuid(), os.getegid()) == (NOBODY.pw_uid, NOBODY.pw_gid)
        assert set(os.getgroups()) <= {NOBODY.pw_gid}
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


def test_the_rights_of_before_are_back_after_an_error(folder: Path) -> None:
    change("chown nobody logs")
    (folder / "logs" / "log").chmod(0o600)
    with pytest.raises(PermissionError), opening("logs/log", IDENTITY) as place:
        os.open(place, os.O_RDONLY)
    assert os.geteuid() == os.getegid() == 0


def test_a_descriptor_of_this_process_is_opened_by_root() -> None:
    reader, writer = os.pipe()
    for path in (f"/dev/fd/{writer}", f"/proc/self/fd/{writer}"):
        with opening(path, IDENTITY) as place:
            assert os.geteuid() == 0
            again = os.open(place, os.O_WRONLY)
            assert stat.S_ISFIFO(os.fstat(again).st_mode)
            os.close(again)
    os.close(reader)
    os.close(writer)


def test_without_another_user_nothing_changes(folder: Path) -> None:
    change("chown nobody logs")
    for identity in (None, Identity(), Identity(0, 0)):
        with opening("logs/log", identity) as place:
            assert (place, os.geteuid()) == ("logs/log", 0)
