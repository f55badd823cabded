"""The request to a new process before it serves: which clients can reach its server, and what the application sees."""

import re
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client import fetch
from tests.faults.serving import MODELS, Serving, children
from tests.wsgi import until

HELD = """
import os, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/warm":
        told = [environ[name] for name in ("REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme", "HTTP_HOST")]
        os.write(2, f"held as {told}\\n".encode())
        while not os.path.exists("go"):
            time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""
ANSWERS = """
def app(environ, start_response):
    status = environ["QUERY_STRING"].replace("_", " ")
    start_response(status or "200 OK", [("Content-Type", "text/plain"), ("Location", "https://localhost/")])
    return [b"large " * 100_000]
"""
STREAM = """
from halfsync.stream.handler import EndStream
class Talk:
    def __init__(self):
        self.data = b""
    def received(self, data):
        self.data += data
        if b"\\r\\n\\r\\n" in self.data:
            ok = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"
            raise EndStream(ok if b"GET /warm" in self.data else b"?\\r\\n")
    def closed(self):
        pass
app = Talk
"""


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return MODELS[request.param]


def family(pid: int) -> set[int]:
    """Return a process and all that come from it."""
    found = {pid}
    for child in children(pid):
        found |= family(child)
    return found


def inodes(pids: set[int]) -> set[int]:
    """Return the sockets that these processes have open."""
    found: set[int] = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if (match := re.fullmatch(r"socket:\[(\d+)\]", str(fd.readlink()))) is not None:
                    found.add(int(match[1]))
    return found


def listening(pids: set[int]) -> list[str]:
    """Return the addresses of the unix and TCP sockets of these processes that listen, or that have a name."""
    own = inodes(pids)
    unix = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    tcp = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [
        *(
            f"unix {line[7:]}"
            for line in unix
            if int(line[6]) in own and (int(line[3], 16) & 0x10000 or line[7:])
        ),
        *(f"tcp {line[1]}" for line in tcp if int(line[9]) in own and line[3] == "0A"),
    ]


@pytest.mark.parametrize("more", [(), ("--proxy-protocol", "--max-connections-per-client", "1")])
def test_no_other_process_can_reach_the_server_of_the_request(
    tmp_path: Path, model: tuple[str, ...], more: tuple[str, ...]
) -> None:
    serving = Serving(tmp_path, HELD, *model, *more, "--workers", "1", "--warmup", "/warm")
    try:
        held = serving.wait_line("held as")
        found = listening(family(serving.process.pid))
        assert len(found) == 1 and found[0].startswith("tcp 0100007F:"), found  # what --bind names
        assert held == "held as ['', 'localhost', '80', 'http', 'localhost']"
        (tmp_path / "go").touch()
        serving.wait_line("1 process serves")
    finally:
        (tmp_path / "go").touch()
        serving.__exit__(None, None, None)


@pytest.mark.parametrize("query", ["", "301_Moved", "404_Missing"])
def test_answers_below_400_count_as_success(tmp_path: Path, model: tuple[str, ...], query: str) -> None:
    serving = Serving(tmp_path, ANSWERS, *model, "--workers", "1", "--warmup", f"/?{query}")
    try:
        if query.startswith("4"):
            assert serving.exit_code() == 3
            assert any("was answered 404" in line for line in serving.lines)
        else:
            serving.wait_line("1 process serves")
    finally:
        serving.__exit__(None, None, None)


def test_a_static_file_may_be_asked_for(tmp_path: Path, model: tuple[str, ...]) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "warm").write_text("a file")
    options = ("--workers", "1", "--static", "/files=files", "--access-log", "log", "--warmup", "/files/warm")
    with Serving(tmp_path, HELD, *model, *options) as serving:
        assert fetch(serving.address, "/files/warm").body == b"a file"
        until((tmp_path / "log").read_text)
        assert "halfsync-warmup" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("warmup", ["/warm", "/other"])
def test_a_stream_that_speaks_http_may_be_asked(tmp_path: Path, model: tuple[str, ...], warmup: str) -> None:
    serving = Serving(tmp_path, STREAM, *model, "--stream", "--workers", "1", "--warmup", warmup)
    try:
        if warmup == "/warm":
            serving.wait_line("1 process serves")
        else:
            assert serving.exit_code() == 3
            assert any("was not answered" in line for line in serving.lines)
    finally:
        serving.__exit__(None, None, None)
