"""What is promised of the generator: it sees a stall as arithmetic does, and agrees with wrk on throughput."""

import re
import selectors
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest

from halfsync.lab import generating, kernel, machine
from halfsync.lab.load import Load
from halfsync.lab.server import serving
from tests.lab.scripted import HOST, OK

STALL_S = 1.4
LOAD_S = 6.0
RATE = 250.0
AGREEMENT = 0.05
ROUNDS = 5
APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
"""


@contextmanager
def stalling(after_s: float) -> Iterator[int]:
    """Run a server that answers at once, but for one stall, so long after its first request. Gives its port."""
    reply, ends = OK.pieces[0], threading.Event()

    def serve() -> None:
        stalls_at = None
        while not ends.is_set():
            for key, _ in selector.select(0.05):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is listener:
                    selector.register(sock.accept()[0], selectors.EVENT_READ)
                    continue
                if stalls_at is None:
                    stalls_at = time.monotonic() + after_s
                asked = sock.recv(65536).count(b"\r\n\r\n")
                if not asked:
                    selector.unregister(sock)
                    sock.close()
                    continue
                if time.monotonic() >= stalls_at:
                    time.sleep(STALL_S)  # this is the stall
                    stalls_at = float("inf")
                sock.sendall(reply * asked)

    with selectors.DefaultSelector() as selector, socket.create_server((HOST, 0), backlog=128) as listener:
        selector.register(listener, selectors.EVENT_READ)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ends.set()
            thread.join()
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()


def stalled_beyond(share: float) -> float:
    """Return the latency that such a share of the requests exceeds: they came evenly, and waited for the stall's end.

    Of the requests in `LOAD_S`, those in the first x seconds of the stall waited for more than `STALL_S - x`.
    """
    return STALL_S - share * LOAD_S


def test_a_stall_is_seen_by_each_request_that_was_due_in_it() -> None:
    with stalling(after_s=2.5) as port:
        load = Load(port, 8, LOAD_S, warm_up_s=0.5, rate=RATE, even=True, grace_s=30.0)
        outcome = generating.run(load)
    assert outcome.due == outcome.answered == LOAD_S * RATE
    for name, share in (("99.9", 0.001), ("99", 0.01), ("90", 0.1)):
        assert outcome.latencies.at[name] == pytest.approx(stalled_beyond(share), rel=0.05), name
    assert outcome.latencies.max_s == pytest.approx(STALL_S, rel=0.05)
    # The same load, as it looks if a client waits for an answer before it counts the next request.
    assert outcome.uncorrected.at["99"] < stalled_beyond(0.01) / 10
    assert outcome.uncorrected.max_s == pytest.approx(STALL_S, rel=0.05)


def test_a_closed_loop_does_not_see_the_stall_in_its_99th_percentile() -> None:
    with stalling(after_s=2.5) as port:
        outcome = generating.run(Load(port, 8, LOAD_S, warm_up_s=0.5, grace_s=30.0))
    # Each of its clients met the stall once, among thousands of requests.
    assert outcome.answered > 100 * 8
    assert outcome.latencies.max_s == pytest.approx(STALL_S, rel=0.05)
    assert outcome.latencies.at["99"] < stalled_beyond(0.01) / 10


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
def test_it_agrees_with_wrk_on_the_throughput_of_a_saturated_server(tmp_path: Path) -> None:
    (tmp_path / "saturated_app.py").write_text(APP)
    cpus = machine.cpus_for()
    ratios, shares = [], []
    with serving("saturated_app:app", chdir=tmp_path, cpus=set(cpus.server)) as served:
        for _ in range(ROUNDS):
            wrk = ask_wrk(served.port, 64, 2, cpus.generator)
            before, began = served.cost().cpu_s, time.monotonic()
            outcome = generating.run(Load(served.port, 64, 2.0, warm_up_s=0.2), cpu=cpus.generator)
            shares.append((served.cost().cpu_s - before) / (time.monotonic() - began))
            ratios.append(outcome.rate / wrk)
            assert outcome.answered == outcome.due
    assert median(ratios) == pytest.approx(1.0, abs=AGREEMENT), (ratios, shares)
