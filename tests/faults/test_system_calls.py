"""System calls that fail in the middle of things: only the connection concerned is affected.

The calls are made to fail in a real server by what is preloaded into it (interposing.py).
"""

import errno
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client import Connection, CutError, build, fetch
from tests.faults.interposing import PASS, STEPS_MOST, Faults, short
from tests.faults.serving import MODELS, Serving
from tests.faults.watching import descriptors
from tests.wsgi import pattern, until

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is needed to make system calls fail")

MIB = 1 << 20
LARGE = 8 * MIB  # more than the sockets hold
UPLOAD = MIB  # to disk

APP = """
from pathlib import Path
LARGE = Path("files/large").read_bytes()
PIECE = 100_000

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/large":
        return (LARGE[at : at + PIECE] for at in range(0, len(LARGE), PIECE))
    if path == "/file":
        return environ["wsgi.file_wrapper"](open("files/large", "rb"))
    return [b"%d bytes" % len(body)]
"""
BODIES = {
    "/small": b"0 bytes",
    "/large": pattern(LARGE),
    "/file": pattern(LARGE),
    "/static/large": pattern(LARGE),
}
FILES = ("/file", "/static/large")
VERSIONS = ("HTTP/1.1", "HTTP/1.0")  # to the second the end of a connection may be the end of a body


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


class Faulty:
    """A server whose system calls can be made to fail, and a client that connected before and is served throughout."""

    def __init__(self, serving: Serving, faults: Faults, resident: Connection) -> None:
        self.address, self.faults = serving.address, faults
        self.pid = serving.process.pid
        self._resident = resident
        self._ask_resident()
        self._descriptors = descriptors(self.pid)

    def _ask_resident(self) -> None:
        self._resident.send(build("/small"))
        assert self._resident.response().body == BODIES["/small"]

    def see_nothing_left(self) -> None:
        """Wait until no descriptor of a closed connection is open."""
        until(lambda: descriptors(self.pid) <= self._descriptors)

    def see_all_well(self) -> None:
        """Check that old and new connections are served."""
        self._ask_resident()
        assert fetch(self.address, "/small").body == BODIES["/small"]

    def arm(self, name: str, steps: Sequence[int]) -> None:
        """Have the next calls fail so, once those of earlier clients are over."""
        self.see_nothing_left()
        self.faults.arm(name, steps)

    def see_whole(self, path: str, version: str = "HTTP/1.1", body: bytes | None = None) -> None:
        """See that a response arrives whole."""
        method = "GET" if body is None else "POST"
        response = fetch(self.address, path, method=method, body=body, version=version)
        assert response.status == 200
        assert response.body == (BODIES[path] if body is None else b"%d bytes" % len(body))

    def see_cut(self, path: str, version: str = "HTTP/1.1", body: bytes | None = None) -> None:
        """See that a response does not look complete: it ends before its framing says so, or by a reset."""
        with pytest.raises((CutError, ConnectionResetError, BrokenPipeError)):
            self.see_whole(path, version, body)


@pytest.fixture
def faulty(tmp_path: Path, model: tuple[str, str]) -> Iterator[Faulty]:
    """Return a server of each model in turn."""
    with serving_faulty(tmp_path, *model) as made:
        yield made


@contextmanager
def serving_faulty(directory: Path, *options: str) -> Iterator[Faulty]:
    """Serve with a plan of faults; in the end no descriptor may be left."""
    (directory / "files").mkdir()
    (directory / "files" / "large").write_bytes(pattern(LARGE))
    faults = Faults(directory)
    options += ("--static", "/static=files", "--temp-dir", str(directory))
    with (
        Serving(directory, APP, *options, more=faults.environment) as serving,
        Connection(serving.address) as resident,
    ):
        made = Faulty(serving, faults, resident)
        yield made
        made.see_all_well()
        made.see_nothing_left()
        assert not [line for line in serving.lines if "Traceback" in line], serving.lines


def test_sendfile_that_fails_midway_cuts_its_response(faulty: Faulty) -> None:
    for error in (errno.EIO, errno.EINVAL, errno.ENOMEM):
        for path in FILES:
            for version in VERSIONS:
                steps = [short(100_000), PASS, error]
                faulty.arm("sendfile", steps)
                faulty.see_cut(path, version)
                assert faulty.faults.taken("sendfile") == len(steps)
            faulty.see_whole(path)


def test_an_interrupted_or_short_sendfile_is_continued(faulty: Faulty) -> None:
    # Once the call reports that there is no room, the server waits for some; interrupted later, it must not wait again.
    steps = [errno.EAGAIN, *[errno.EINTR] * 3, short(1), errno.EINTR, *[short(70_000)] * 20, errno.EINTR]
    for path in FILES:
        faulty.arm("sendfile", steps)
        faulty.see_whole(path)
        assert faulty.faults.taken("sendfile") == len(steps)


def test_a_send_that_fails_cuts_its_response(faulty: Faulty) -> None:
    for error in (errno.ENOBUFS, errno.ECONNRESET, errno.EPIPE):
        for version in VERSIONS:
            for path, steps in (
                ("/small", [error]),
                ("/large", [PASS, error]),
                (
                    "/large",
                    [*[short(50_000)] * 10, error],
                ),  # short ones have the proactor's engine send the rest
            ):
                faulty.arm("send", steps)
                faulty.see_cut(path, version)
                assert faulty.faults.taken("send") == len(steps), path
            faulty.see_whole("/large", version)


def test_an_interrupted_or_short_send_is_continued(faulty: Faulty) -> None:
    for version in VERSIONS:
        for path, steps in (
            ("/small", [errno.EINTR, short(1), errno.EINTR, short(30), errno.EINTR]),
            ("/large", [*[short(50_000), errno.EINTR, short(1)] * 20]),
            ("/static/large", [errno.EINTR]),  # the head
        ):
            faulty.arm("send", steps)
            faulty.see_whole(path, version)
            assert faulty.faults.taken("send") == len(steps), path


def test_a_refusal_whose_send_is_interrupted_is_sent(faulty: Faulty) -> None:
    for steps in ([errno.EINTR], [errno.EAGAIN], [short(10)]):
        faulty.arm("send", steps)
        with Connection(faulty.address) as client:
            client.send(b"?\r\n\r\n")
            assert client.response().status == 400
            client.closed()
        assert faulty.faults.taken("send") == len(steps)


def test_a_receive_that_fails_ends_its_connection(faulty: Faulty) -> None:
    for error in (errno.ENOBUFS, errno.ECONNRESET, errno.EIO):
        for body, steps in ((None, [error]), (bytes(UPLOAD), [PASS, error])):
            faulty.arm("recv", steps)
            faulty.see_cut("/small", body=body)
            assert faulty.faults.taken("recv") == len(steps)
            faulty.see_whole("/small", body=body)


def test_an_interrupted_receive_is_repeated(faulty: Faulty) -> None:
    for body in (None, bytes(1000), bytes(UPLOAD)):
        steps = [errno.EINTR, errno.EINTR, PASS, errno.EINTR]
        faulty.arm("recv", steps)
        faulty.see_whole("/small", body=body)
        assert faulty.faults.taken("recv") >= 3


def test_a_disk_that_fails_midway_is_answered_503(faulty: Faulty) -> None:
    body = bytes(UPLOAD)
    for error in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
        faulty.arm("pwrite", [PASS, short(10), error])
        response = fetch(faulty.address, "/small", method="POST", body=body)
        assert (response.status, response.one("Retry-After")) == (503, "1")
        assert faulty.faults.taken("pwrite") == 3
        faulty.see_whole("/small", body=body)
    faulty.arm("pwrite", [errno.EINTR, short(1), errno.EINTR, PASS, short(1000)])
    faulty.see_whole("/small", body=body)
    assert faulty.faults.taken("pwrite") == 5
    faulty.arm("open", [errno.EOPNOTSUPP])  # a file system that makes no files without names
    faulty.see_whole("/small", body=body)
    assert faulty.faults.taken("open") == 1


@pytest.mark.parametrize("name", ["proactor", "proactor-poll"])
def test_a_disk_that_fails_under_a_response_cuts_it(tmp_path: Path, name: str) -> None:
    options = (*MODELS[name], "--spool-memory", "100000")
    with serving_faulty(tmp_path, *options) as faulty:
        for version in VERSIONS:
            for error in (errno.ENOSPC, errno.EIO):
                faulty.arm("pwrite", [PASS, error])
                with Connection(faulty.address) as slow:
                    slow.send(build("/large", version=version))
                    until(lambda: faulty.faults.taken("pwrite") == 2)  # not a byte was read
                    with pytest.raises((CutError, ConnectionResetError)):
                        slow.response()
                faulty.see_whole("/large", version)


def test_accepting_continues_after_every_error(faulty: Faulty) -> None:
    errors = [
        errno.EINTR, errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EPERM,
        errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE,
    ]  # fmt: skip
    for error in errors:
        faulty.arm("accept4", [error])
        faulty.see_all_well()
        assert faulty.faults.taken("accept4") == 1, errno.errorcode[error]
    faulty.arm("accept4", errors)
    faulty.see_all_well()
    assert faulty.faults.taken("accept4") == len(errors)


def test_accepting_pauses_while_it_fails(faulty: Faulty) -> None:
    for error in (errno.ENOBUFS, errno.EPERM):
        faulty.arm("accept4", [error] * STEPS_MOST)
        with Connection(faulty.address) as newcomer:
            newcomer.send(build("/small"))
            newcomer.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                newcomer.response()
            assert 2 <= faulty.faults.taken("accept4") <= 20, "about ten times a second"
            faulty.faults.disarm("accept4")
            newcomer.socket.settimeout(15)
            assert newcomer.response().body == BODIES["/small"]


def test_a_draining_server_answers_the_backlog_even_if_accepting_fails(
    tmp_path: Path, model: tuple[str, str]
) -> None:
    faults = Faults(tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "large").touch()
    with Serving(tmp_path, APP, *model, more=faults.environment) as serving:
        faults.arm("accept4", [errno.EMFILE] * 4)
        with Connection(serving.address) as newcomer:
            newcomer.send(build("/small"))
            until(lambda: faults.taken("accept4") >= 1)
            serving.signal(signal.SIGTERM)
            response = newcomer.response()
            assert (response.status, response.body) == (200, BODIES["/small"])
            newcomer.closed()
        assert faults.taken("accept4") == 4
        assert serving.exit_code() == 0


def test_waiting_continues_after_an_interruption(faulty: Faulty, model: tuple[str, str]) -> None:
    call = "epoll_wait" if "epoll" in model else "poll"
    for _ in range(5):
        faulty.arm(call, [errno.EINTR] * 4)
        faulty.see_all_well()
        until(lambda: faulty.faults.taken(call) == 4)
        faulty.see_whole("/large")
        faulty.see_whole("/small", body=bytes(UPLOAD))
