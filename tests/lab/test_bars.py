"""What is promised of the generator: it sees a stall as arithmetic does, and agrees with wrk on throughput."""

import re
import selectors
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from halfsync.lab import generating, kernel, machine
from halfsync.lab.load import Load
from halfsync.lab.server import serving
from tests.lab.scripted import HOST, OK
from tests.sharing import is_sanitized

STALL_S = 1.4
LOAD_S = 6.0
RATE = 250.0
AGREEMENT = 0.05
ROUNDS = 5
APP = """
import time
def app(environ, start_response):
    time.sleep(0.005)  # on each of its threads: so it is saturated at a rate that no other program changes
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
"""


class Stalling:
    """A server that answers at once, but for one stall, so long after its first request. `lasted_s`: its length."""

    def __init__(self, after_s: float) -> None:
        self.lasted_s = 0.0
        self._after_s = after_s
        self._stalls_at: float | None = None
        self._ends = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "Stalling":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._close(key.fileobj)
        self._selector.close()

    def _close(self, sock: Any) -> None:
        self._selector.unregister(sock)
        sock.close()

    def _serve(self) -> None:
        while not self._ends.is_set():
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    self._selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                else:
                    self._answer(key.fileobj)

    def _answer(self, sock: Any) -> None:
        asked = sock.recv(65536).count(b"\r\n\r\n")
        if not asked:
            self._close(sock)
            return
        now = time.monotonic()
        if self._stalls_at is None:
            self._stalls_at = now + self._after_s
        elif now >= self._stalls_at and not self.lasted_s:
            time.sleep(STALL_S)  # this is the stall
            self.lasted_s = time.monotonic() - now
        sock.sendall(OK.pieces[0] * asked)

    def exceeded_by(self, share: float) -> float:
        """Return the latency in seconds that such a share of a load's requests exceeds, by arithmetic.

        They come evenly, in `LOAD_S`. Those in the first x seconds of the stall wait for more than its length less x.
        """
        return self.lasted_s - share * LOAD_S


def test_a_stall_is_seen_by_each_request_that_was_due_in_it() -> None:
    with Stalling(after_s=2.5) as peer:
        load = Load(peer.port, 8, LOAD_S, warm_up_s=0.5, rate=RATE, even=True, grace_s=30.0)
        outcome = generating.run(load)
    assert outcome.due == outcome.answered == LOAD_S * RATE
    assert outcome.latencies.max_s == pytest.approx(peer.lasted_s, rel=0.05)
    assert outcome.latencies.at["99.9"] == pytest.approx(peer.exceeded_by(0.001), rel=0.05)
    assert outcome.latencies.at["99"] == pytest.approx(peer.exceeded_by(0.01), rel=0.05)
    # The same load, as it looks if a latency counts from when a request could be sent: eight of them saw the stall.
    assert outcome.uncorrected.max_s == pytest.approx(peer.lasted_s, rel=0.05)
    assert outcome.uncorrected.at["99"] < peer.exceeded_by(0.01) / 4


def test_a_closed_loop_does_not_see_the_stall_in_its_99th_percentile() -> None:
    with Stalling(after_s=2.5) as peer:
        outcome = generating.run(Load(peer.port, 8, LOAD_S, warm_up_s=0.5, grace_s=30.0))
    # Each of its clients met the stall once, among thousands of requests.
    assert outcome.answered > 100 * 8
    assert outcome.latencies.max_s == pytest.approx(peer.lasted_s, rel=0.05)
    assert outcome.latencies.at["99"] < peer.exceeded_by(0.01) / 4


def ask_wrk(port: int, connections: int, seconds: int, cpu: int | None) -> float:
    """Return the requests per second that wrk counts."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://{HOST}:{port}/"]
    with kernel.pinned(None if cpu is None else {cpu}):
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Socket errors" not in said, said
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    return float(found[1])


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: tools/setup_system.sh does it")
@pytest.mark.skipif(is_sanitized(), reason="a sanitizer slows the generator down, and wrk not")
def test_it_agrees_with_wrk_on_the_throughput_of_a_saturated_server(tmp_path: Path) -> None:
    (tmp_path / "saturated_app.py").write_text(APP)
    cpus = machine.cpus_for()
    ratios = []
    flags = ("--threads", "4", "--no-overload-control")
    with serving("saturated_app:app", *flags, chdir=tmp_path, cpus=set(cpus.server)) as served:
        for _ in range(ROUNDS):
            wrk = ask_wrk(served.port, 64, 2, cpus.generator)
            outcome = generating.run(Load(served.port, 64, 2.0, warm_up_s=0.2), cpu=cpus.generator)
            ratios.append(outcome.rate / wrk)
            assert outcome.answered == outcome.due
    assert median(ratios) == pytest.approx(1.0, abs=AGREEMENT), ratios
