"""Full disks: requests that need them are refused or cut, lost access-log lines are counted, all else works."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.client import Connection, CutError, build, fetch, slow_reader
from tests.disks import short_files, small_disk
from tests.faults.serving import MODELS, Serving
from tests.faults.watching import file_bytes
from tests.sharing import open_files
from tests.wsgi import until

KIB, MIB = 1 << 10, 1 << 20
DISK = MIB
LARGE = 10 * MIB  # more than disk and sockets hold

APP = f"""
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/large":
        return (b"x" * 100_000 for _ in range({LARGE} // 100_000))
    return [b"%d bytes" % len(body)]
"""
LARGE_BODY = b"x" * (LARGE // 100_000 * 100_000)

AGENT = "a" * 1000
REQUESTS = 300
LEFT = 64 * KIB  # on the disk of the log: for some sixty lines
LINE = re.compile(
    r'127\.0\.0\.1 - - \[[^]]+\] "GET /\d+ HTTP/1\.1" 200 7 "-" "a{1000}" \d+\.\d{6} \d+\.\d{6}'
)
NOTE = re.compile(r"halfsync: (\d+) lines were dropped: .*")

Disk = Callable[[Path, int], AbstractContextManager[None]]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder that is the disk, or replaces it."""
    made = tmp_path / "disk"
    made.mkdir()
    return made


def disk_of_its_own(folder: Path, _pid: int) -> AbstractContextManager[None]:
    return small_disk(folder, DISK)


def files_with_a_limit(_folder: Path, pid: int) -> AbstractContextManager[None]:
    return short_files(DISK, pid)


@pytest.mark.parametrize("disk", [disk_of_its_own, files_with_a_limit])
def test_bodies_that_it_does_not_take_are_answered_503(
    tmp_path: Path, folder: Path, model: tuple[str, str], disk: Disk
) -> None:
    with Serving(tmp_path, APP, *model, "--temp-dir", str(folder)) as serving:
        with disk(folder, serving.process.pid), Connection(serving.address) as other:
            other.send(build("/", method="POST", body=bytes(DISK // 2))[:-1])
            until(lambda: file_bytes(serving.process.pid, folder) >= DISK // 2 - 1)
            for _ in range(3):
                refused = fetch(serving.address, method="POST", body=bytes(3 * MIB))
                assert (refused.status, refused.one("Retry-After")) == (503, "1")
                assert fetch(serving.address).body == b"0 bytes"
                assert fetch(serving.address, method="POST", body=bytes(100 * KIB)).status == 200
            other.send(b"\0")
            assert other.response().body == b"%d bytes" % (DISK // 2)
            other.send(build())
            assert other.response().body == b"0 bytes"
        until(lambda: open_files(folder) == 0)
        assert fetch(serving.address, method="POST", body=bytes(100 * KIB)).status == 200
        assert not [line for line in serving.lines if "Traceback" in line], serving.lines


@pytest.mark.parametrize("disk", [disk_of_its_own, files_with_a_limit])
@pytest.mark.parametrize("name", MODELS)
def test_a_response_that_it_does_not_take_is_cut(tmp_path: Path, folder: Path, name: str, disk: Disk) -> None:
    """Where responses never lie on a disk, that is no matter."""
    on_disk = name.startswith("proactor")
    with Serving(tmp_path, APP, *MODELS[name], "--temp-dir", str(folder)) as serving:
        with disk(folder, serving.process.pid):
            for version in ("HTTP/1.1", "HTTP/1.0"):
                with slow_reader(serving.address) as slow:
                    slow.send(build("/large", version=version))
                    if not on_disk:
                        assert slow.response().body == LARGE_BODY
                        continue
                    # Not a byte is read until the disk is full.
                    until(lambda: file_bytes(serving.process.pid, folder) > DISK - 100_000)
                    assert fetch(serving.address).body == b"0 bytes"
                    with pytest.raises((CutError, ConnectionResetError)):
                        slow.response()
                assert fetch(serving.address).body == b"0 bytes"
        assert fetch(serving.address, "/large").body == LARGE_BODY
        assert not [line for line in serving.lines if "Traceback" in line], serving.lines


def ask(connection: Connection, name: int) -> None:
    """Make a request whose line in the log is a kilobyte long."""
    connection.send(build(f"/{name}", fields=[("User-Agent", AGENT)]))
    assert connection.response().body == b"0 bytes"


@contextmanager
def full_log(folder: Path, pid: int, disk: Disk) -> Iterator[None]:
    """Leave room for LEFT bytes of the log."""
    if disk is files_with_a_limit:
        with short_files(LEFT, pid):
            yield
        return
    filler = folder / "filler"
    filler.write_bytes(bytes(DISK - LEFT))
    yield
    filler.unlink()


@pytest.mark.parametrize("disk", [disk_of_its_own, files_with_a_limit])
def test_lines_of_the_access_log_that_it_does_not_take_are_counted(
    tmp_path: Path, folder: Path, model: tuple[str, str], disk: Disk
) -> None:
    log = folder / "log"
    with small_disk(folder, DISK), Serving(tmp_path, APP, *model, "--access-log", str(log)) as serving:
        with Connection(serving.address) as connection:
            ask(connection, 0)
            with full_log(folder, serving.process.pid, disk):
                for number in range(1, REQUESTS):
                    ask(connection, number)
                until(lambda: log.stat().st_size > LEFT - 2 * KIB)
            ask(connection, REQUESTS)  # and no client noticed
        # The number of lost lines is written in their place, before the next line.
        until(lambda: log.read_text().endswith("\n") and f"GET /{REQUESTS} " in log.read_text())
        lines = log.read_text().splitlines()
        told = [int(found[1]) for line in lines if (found := NOTE.fullmatch(line))]
        whole = [line for line in lines if LINE.fullmatch(line)]
        assert told, lines[-3:]
        assert len(lines) - len(told) - len(whole) <= len(told), "of each loss one line is torn at most"
        assert len(whole) + sum(told) == REQUESTS + 1
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not [line for line in serving.lines if "dropped" in line or "Traceback" in line]


def test_lines_that_stay_lost_are_counted_in_the_servers_log(tmp_path: Path, model: tuple[str, str]) -> None:
    with Serving(tmp_path, APP, *model, "--access-log", "/dev/full") as serving:
        with Connection(serving.address) as connection:
            for number in range(10):
                ask(connection, number)
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert "lost 10 lines" in serving.wait_line("the access log lost")
