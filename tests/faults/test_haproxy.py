"""Behind HAProxy, which checks the readiness of each server: restarts in turn, and reloads, lose no request."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.client import Connection
from tests.conformance.test_nginx import HAPROXY
from tests.faults.load import APP, Load
from tests.faults.serving import EXIT_TIMEOUT_S, MODELS, Serving, free_port
from tests.sharing import foreign_environment
from tests.wsgi import until

ROUNDS = int(os.environ.get("HALFSYNC_RELOADS", "5"))
BETWEEN = 20  # requests that are answered between two events, at least
FILE = Path(__file__).parents[2] / "docs" / "deploy" / "haproxy.cfg"
CHECK_S = 0.1
# Two checks fail before a server is given up, and one may just have begun.
DRAIN_DELAY_S = 5 * CHECK_S

pytestmark = [
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed"),
    pytest.mark.timeout(120 + 10 * ROUNDS),
]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


class Behind:
    """Two servers and a HAProxy in front, by the configuration of the documentation. As a context manager."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.address = ("127.0.0.1", free_port())
        self._ports = [(free_port(), free_port()) for _ in range(2)]
        self._options = options
        self.servers = [self.start(number) for number in range(2)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, number: int) -> Serving:
        """Start a server, and wait until all its processes serve."""
        port, admin = self._ports[number]
        folder = self._folder / f"server{number}"
        folder.mkdir(exist_ok=True)
        own = ("--workers", "2", "--admin-bind", f"127.0.0.1:{admin}", "--drain-delay", f"{DRAIN_DELAY_S}s")
        serving = Serving(folder, APP, *self._options, *own, bind=f"127.0.0.1:{port}").__enter__()
        serving.wait_line("all 2 processes serve")
        return serving

    def _configuration(self) -> str:
        text = FILE.read_text("utf-8")
        (line,) = re.findall(r"^ *server one .*\n", text, re.MULTILINE)
        servers = "".join(
            f"    server s{number} 127.0.0.1:{port} check port {admin} inter {CHECK_S * 1000:.0f}ms fall 2 rise 1\n"
            for number, (port, admin) in enumerate(self._ports)
        )
        # On a busy machine an answer may take longer than the interval, and not be a failure for it.
        text = text.replace(line, f"    timeout check 5s\n    option httpchk GET /readyz\n{servers}")
        text = text.replace("    log stdout format raw local0\n", f"    stats socket {self._folder}/admin\n")
        return text.replace("bind :80\n", f"bind 127.0.0.1:{self.address[1]}\n")

    def __enter__(self) -> "Behind":
        assert HAPROXY
        config = self._folder / "haproxy.cfg"
        config.write_text(self._configuration())
        log = self._stack.enter_context((self._folder / "haproxy.log").open("wb"))
        self._process = subprocess.Popen(
            [HAPROXY, "-db", "-f", str(config)], stdout=log, stderr=log, env=foreign_environment()
        )
        until(lambda: self.up() == [True, True])
        return self

    def __exit__(self, *_exc_info: object) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(EXIT_TIMEOUT_S)
        for serving in self.servers:
            serving.__exit__(None, None, None)
        self._stack.close()

    def up(self) -> list[bool]:
        """Return what HAProxy holds of each server."""
        asked = socket.socket(socket.AF_UNIX)
        with asked:
            try:
                asked.connect(f"{self._folder}/admin")
            except OSError:
                return []
            with Connection(asked) as connection:
                connection.send(b"show stat\n")
                lines = connection.rest().decode().splitlines()
        names = lines[0].removeprefix("# ").split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
        return [row["status"].startswith("UP") for row in rows if row["svname"] in ("s0", "s1")]


@contextmanager
def behind(tmp_path: Path, model: tuple[str, ...]) -> Iterator[Behind]:
    threads = ("--threads", "16")  # in a pool each connection that HAProxy keeps is held by one
    with Behind(tmp_path, *model, *threads) as both:
        yield both


def test_restarts_in_turn_cost_no_request(tmp_path: Path, model: tuple[str, ...]) -> None:
    with behind(tmp_path, model) as both, Load(lambda: both.address) as load:
        for turn in range(ROUNDS):
            number = turn % 2
            load.wait_answers(BETWEEN)
            leaving = both.servers[number]
            leaving.signal(signal.SIGTERM)
            until(lambda number=number: not both.up()[number])  # type: ignore[misc]
            assert leaving.exit_code() == 0
            leaving.__exit__(None, None, None)
            both.servers[number] = both.start(number)
            until(lambda: both.up() == [True, True])
        load.wait_answers(BETWEEN)
        print(f"{load.tally.answered} answered, {load.tally.reconnected} connections closed while idle")
        assert not load.tally.failures, load.tally.reasons()


def test_reloads_cost_no_request(tmp_path: Path, model: tuple[str, ...]) -> None:
    """HAProxy keeps its connections to the servers, and those change process."""
    with behind(tmp_path, model) as both, Load(lambda: both.address) as load:
        for number in range(1, ROUNDS + 1):
            load.wait_answers(BETWEEN)
            for serving in both.servers:
                serving.signal(signal.SIGHUP)
            for serving in both.servers:
                serving.wait_lines("the reload is complete", number)
            until(lambda: both.up() == [True, True])
        load.wait_answers(BETWEEN)
        print(f"{load.tally.answered} answered, {load.tally.reconnected} connections closed while idle")
        assert not load.tally.failures, load.tally.reasons()
        assert not [line for serving in both.servers for line in serving.lines if " ERROR " in line]
