"""What a server opens before it changes to another user, and what it may do afterwards."""

import os
import pwd
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client import fetch
from tests.faults.serving import MODELS, Serving, children, environment
from tests.wsgi import until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")

APP = """
import os, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise ValueError("of the application")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getuid()}".encode()]
"""
# Only root can read the modules, except the application: as if Python were installed below /root.
ONLY_ROOT_IMPORTS = """
import os, sys
def hook(event, arguments):
    if event == "import" and os.geteuid() != 0 and arguments[0] != "served":
        os.write(2, f"late import of {arguments[0]}\\n".encode())
        raise ImportError(f"{arguments[0]} is root's")
sys.addaudithook(hook)
"""
ALONE, WORKERS = (), ("--workers", "2")
NOBODY = pwd.getpwnam("nobody") if os.getuid() == 0 else None


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return MODELS[request.param]


@pytest.fixture(params=[ALONE, WORKERS], ids=["alone", "workers"])
def run(request: pytest.FixtureRequest) -> tuple[str, ...]:
    options: tuple[str, ...] = request.param
    return options


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that any user may search, with one in it that only root may: pytest's are root's alone."""
    with tempfile.TemporaryDirectory(prefix="hs") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "modules").mkdir()
        (folder / "modules" / "sitecustomize.py").write_text(ONLY_ROOT_IMPORTS)
        (folder / "secret").mkdir(mode=0o700)
        (folder / "open").mkdir(mode=0o755)
        yield folder


def serve(folder: Path, *options: str) -> Serving:
    path = os.pathsep.join([str(folder / "modules"), environment()["PYTHONPATH"]])
    serving = Serving(
        folder, APP, "--user", "nobody", "--temp-dir", "/tmp", *options,
        more={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    (folder / "served.py").chmod(0o644)
    return serving


def wait_for_all(serving: Serving, run: tuple[str, ...]) -> None:
    """Wait until every process serves that is to reopen its log."""
    if run:
        serving.wait_line("all 2 processes serve")


def asked(serving: Serving, target: str) -> None:
    assert NOBODY is not None
    assert fetch(serving.address, target).body.decode() == str(NOBODY.pw_uid)


def processes(serving: Serving, run: tuple[str, ...]) -> set[int]:
    """Return the processes that reopen the log: those under a supervisor, or the one that serves alone."""
    return children(serving.process.pid) if run else {serving.process.pid}


def logs(pids: set[int], name: str) -> list[str]:
    """Return the names of a log as these processes have it open."""
    found = []
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it may have been closed
                target = str(fd.readlink())
                if name in target:
                    found.append(target)
    return found


def taken(pipe: int) -> bytes:
    """Return what waits in a pipe, if anything does."""
    try:
        return os.read(pipe, 4096)
    except BlockingIOError:
        return b""


def ended_well(serving: Serving) -> None:
    serving.signal(signal.SIGTERM)
    assert serving.exit_code() == 0, serving.lines
    assert not [line for line in serving.lines if "late import" in line], serving.lines


def test_an_access_log_in_a_directory_of_roots(
    folder: Path, model: tuple[str, ...], run: tuple[str, ...]
) -> None:
    log = folder / "secret" / "access.log"
    with serve(folder, *model, *run, "--access-log", str(log)) as serving:
        wait_for_all(serving, run)
        asked(serving, "/first")
        until(lambda: "/first" in log.read_text())
        log.rename(folder / "secret" / "rotated")
        serving.signal(signal.SIGUSR1)
        serving.wait_lines("cannot be reopened: permission denied", 2 if run else 1)
        assert len([line for line in serving.lines if "cannot be reopened" in line]) == (2 if run else 1)
        asked(serving, "/second")
        until(lambda: "/second" in (folder / "secret" / "rotated").read_text())
        serving.signal(signal.SIGUSR1)  # it can be asked again, and again
        serving.wait_lines("cannot be reopened: permission denied", 4 if run else 2)
        asked(serving, "/third")
        assert fetch(serving.address, "/raise").status == 500
        until(lambda: "/raise" in (folder / "secret" / "rotated").read_text())
        ended_well(serving)


def test_a_rotated_log_that_the_user_may_open(folder: Path, model: tuple[str, ...]) -> None:
    """The supervisor makes it for the user, as nginx does; the directory is root's, and all may search it."""
    log = folder / "open" / "access.log"
    with serve(folder, *model, *WORKERS, "--access-log", str(log)) as serving:
        wait_for_all(serving, WORKERS)
        assert NOBODY is not None
        asked(serving, "/first")
        until(lambda: "/first" in log.read_text())
        assert (log.stat().st_uid, log.stat().st_gid, log.stat().st_mode & 0o777) == (
            NOBODY.pw_uid, NOBODY.pw_gid, 0o644,
        )  # fmt: skip
        for number in range(2):
            log.rename(folder / "open" / f"rotated.{number}")
            if number:  # by what rotates the logs
                log.touch(mode=0o600)
            serving.signal(signal.SIGUSR1)
            until(lambda: set(logs(processes(serving, WORKERS), "/open/")) == {str(log)})
            asked(serving, f"/again{number}")
            until(lambda: f"/again{number}" in log.read_text())  # noqa: B023 - it is called at once
            assert log.stat().st_uid == NOBODY.pw_uid
        assert not [line for line in serving.lines if "cannot be" in line]
        ended_well(serving)


# The user can put a link in the place of what the server opens: by its directory, or by one above it.
SWAPS = ("log", "directory")


def swap(folder: Path, what: str, target: Path) -> None:
    """Do what the application could do if its user owns the directory: make a link to a file of root's."""
    assert NOBODY is not None
    link = folder / "users" / ("logs/log" if what == "log" else "logs")
    link.rename(link.with_name("old"))
    link.symlink_to(target if what == "log" else target.parent)
    os.chown(link, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)


@pytest.fixture
def users(folder: Path) -> Path:
    """A directory of the user's, with one for logs in it."""
    assert NOBODY is not None
    for path in (folder / "users", folder / "users" / "logs"):
        path.mkdir()
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    return folder / "users"


@pytest.mark.parametrize("is_there", [True, False], ids=["file", "nothing"])
@pytest.mark.parametrize("what", SWAPS)
def test_root_opens_no_log_by_a_link_of_the_users(
    folder: Path, users: Path, model: tuple[str, ...], what: str, is_there: bool
) -> None:
    """Not as a process is started in the place of another, and not as the logs are opened again."""
    target = folder / "secret" / "log"
    if is_there:
        target.write_text("root's")
    with serve(folder, *model, "--workers", "1", "--access-log", "users/logs/log") as serving:
        asked(serving, "/first")
        until(lambda: "/first" in (users / "logs" / "log").read_text())
        assert (users / "logs" / "log").stat().st_uid == NOBODY.pw_uid if NOBODY else 0
        swap(folder, what, target)
        serving.signal(signal.SIGUSR1)
        serving.wait_line("cannot be reopened: permission denied")
        for pid in children(serving.process.pid):
            os.kill(pid, signal.SIGKILL)
        serving.wait_line("the access log 'users/logs/log' cannot be opened: permission denied")
    assert target.exists() == is_there
    if is_there:
        assert target.read_text() == "root's" and target.stat().st_uid == 0


def test_a_log_in_a_directory_of_the_users_is_made_and_opened_again_by_the_user(
    folder: Path, users: Path, model: tuple[str, ...], run: tuple[str, ...]
) -> None:
    log = users / "logs" / "log"
    with serve(folder, *model, *run, "--access-log", "users/logs/log") as serving:
        wait_for_all(serving, run)
        asked(serving, "/first")
        until(lambda: "/first" in log.read_text())
        assert NOBODY is not None
        assert (log.stat().st_uid, log.stat().st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
        log.rename(users / "logs" / "rotated")
        serving.signal(signal.SIGUSR1)
        until(lambda: set(logs(processes(serving, run), "/logs/")) == {str(log)})
        asked(serving, "/second")
        until(lambda: "/second" in log.read_text())
        ended_well(serving)


def test_standard_output_may_be_named_as_a_file(folder: Path, run: tuple[str, ...]) -> None:
    with serve(folder, *run, "--access-log", "/dev/stderr") as serving:
        asked(serving, "/first")
        serving.wait_line('"GET /first')
        ended_well(serving)


def test_root_opens_no_directory_of_static_files_by_a_link_of_the_users(
    folder: Path, users: Path, model: tuple[str, ...]
) -> None:
    """All may read the file of root's, but not search its directory."""
    (folder / "secret" / "page").write_text("root's")
    (users / "logs" / "page").write_text("a page")
    with serve(folder, *model, "--workers", "1", "--static", "/files=users/logs") as serving:
        assert fetch(serving.address, "/files/page").body == b"a page"
        swap(folder, "directory", folder / "secret" / "page")
        before = children(serving.process.pid)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: children(serving.process.pid) - before)
        assert b"root's" not in fetch(serving.address, "/files/page").body
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        assert fetch(serving.address, "/files/page").status == 404


def test_a_reload_opens_another_log_before_its_process_becomes_the_user(
    folder: Path, model: tuple[str, ...]
) -> None:
    (folder / "halfsync.toml").write_text("access_log = 'secret/one'\nworkers = 1\n")
    with serve(folder, *model) as serving:
        asked(serving, "/first")
        until(lambda: "/first" in (folder / "secret" / "one").read_text())
        (folder / "halfsync.toml").write_text("access_log = 'secret/two'\nworkers = 1\n")
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        asked(serving, "/second")
        until(lambda: "/second" in (folder / "secret" / "two").read_text())
        (folder / "halfsync.toml").write_text("access_log = 'gone/three'\nworkers = 1\n")
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload failed")
        assert [line for line in serving.lines if "the access log 'gone/three' cannot be opened" in line]
        asked(serving, "/third")
        until(lambda: "/third" in (folder / "secret" / "two").read_text())
        ended_well(serving)


def test_directories_below_one_of_roots_are_served(
    folder: Path, model: tuple[str, ...], run: tuple[str, ...]
) -> None:
    files = folder / "secret" / "files"
    files.mkdir()
    (files / "page").write_text("a page")
    (files / "private").write_text("root's")
    (files / "private").chmod(0o600)
    options = ("--static", "/files=secret/files", *(("--warmup", "/files/page") if run else ()))
    with serve(folder, *model, *run, *options) as serving:
        assert fetch(serving.address, "/files/page").body == b"a page"
        assert fetch(serving.address, "/files/private").status == 404  # they are read as the user
        ended_well(serving)


def test_a_temporary_directory_is_checked_as_the_user(folder: Path, run: tuple[str, ...]) -> None:
    serving = serve(folder, *run, "--temp-dir", str(folder / "open"))
    try:
        assert serving.exit_code() == 2
        assert any("temporary files cannot be made in" in line for line in serving.lines)
        assert not any("Traceback" in line or "late import" in line for line in serving.lines)
    finally:
        serving.__exit__(None, None, None)


def test_nothing_is_imported_by_the_user(folder: Path, model: tuple[str, ...], run: tuple[str, ...]) -> None:
    log = folder / "access.log"
    options = (
        "--access-log", str(log), "--admin-bind", "127.0.0.2:0", "--static", "/files=open",
        "--pidfile", str(folder / "pid"), *(("--warmup", "/warm") if run else ()),
    )  # fmt: skip
    (folder / "open" / "page").write_text("a page")
    with serve(folder, *model, *run, *options) as serving:
        asked(serving, "/first")
        assert fetch(serving.address, "/files/page").body == b"a page"
        assert fetch(serving.address, "/raise").status == 500
        serving.wait_line("ValueError: of the application")
        if run:
            serving.signal(signal.SIGHUP)
            serving.wait_line("the reload is complete")
            asked(serving, "/second")
        serving.signal(signal.SIGUSR1)
        ended_well(serving)
        assert (folder / "pid").exists() == (not run)  # the user may not remove it; the supervisor is root


def test_a_named_pipe_without_a_reader_blocks_neither_start_nor_signal(
    folder: Path, model: tuple[str, ...], run: tuple[str, ...]
) -> None:
    log = folder / "access.log"
    os.mkfifo(log)
    log.chmod(0o666)
    serving = serve(folder, *model, *run, "--access-log", str(log))
    try:
        assert serving.exit_code() == 2
        assert any("cannot be opened: no process reads from this pipe" in line for line in serving.lines)
    finally:
        serving.__exit__(None, None, None)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    with serve(folder, *model, *run, "--access-log", str(log)) as serving:
        wait_for_all(serving, run)
        asked(serving, "/first")
        until(lambda: b"/first" in taken(reader))
        log.unlink()
        os.mkfifo(log)
        log.chmod(0o666)
        serving.signal(signal.SIGUSR1)
        serving.wait_lines("cannot be reopened: no process reads from this pipe", 2 if run else 1)
        asked(serving, "/second")
        until(lambda: b"/second" in taken(reader))
        os.close(reader)
        ended_well(serving)


def test_a_socket_file_is_removed_when_the_start_fails(folder: Path, model: tuple[str, ...]) -> None:
    (folder / "pid").write_text("1\n")
    serving = Serving(folder, APP, *model, "--pidfile", "pid", bind=f"unix:{folder}/x.sock")
    try:
        assert serving.exit_code() == 2
        assert any("belongs to process 1" in line for line in serving.lines)
        assert not (folder / "x.sock").exists()
    finally:
        serving.__exit__(None, None, None)
