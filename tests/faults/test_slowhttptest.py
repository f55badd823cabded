"""slowhttptest, a tool that tries to block servers, against the defaults: a healthy client notices nothing.

In the suite its attacks are short and small. HALFSYNC_SLOW=1 (`make stress`) has them as long and large as its manual.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.client import fetch
from tests.faults.serving import Serving
from tests.sharing import foreign_environment

FULL = os.environ.get("HALFSYNC_SLOW") == "1"
CONNECTIONS = 1000 if FULL else 200
DURATION_S = 60 if FULL else 30  # at most: it ends with the last slow connection
RATE = CONNECTIONS // 2  # connections a second
BOUND_S = 2.0  # what a busy machine may make of the 100 ms that are promised on an idle one
EVERY_S = 0.02
APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x" * 1_000_000] if environ["PATH_INFO"] == "/page" else [b"hello"]
"""
# Slow heads, slow bodies, and slow readers, which pipeline ten requests each and read five bytes a second.
ATTACKS = {
    "slowloris": ("-H", "-i", "5", "-x", "24", "-t", "GET"),
    "slow body": ("-B", "-i", "5", "-s", "8192", "-x", "10"),
    "slow read": ("-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "5", "-k", "10"),
}


@pytest.mark.skipif(shutil.which("slowhttptest") is None, reason="slowhttptest is not installed")
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_healthy_client_sees_no_failure(tmp_path: Path, attack: str) -> None:
    # The short attack is over before any default deadline has come, so there the deadlines are short as well.
    deadlines = () if FULL else ("--head-timeout", "2s", "--rate-window", "2s", "--write-timeout", "2s")
    # Ten thousand pages of a megabyte in two seconds are an overload, if the machine is busy.
    options = ("--threads", "4", "--no-overload-control", *deadlines)
    with Serving(tmp_path, APP, *options) as serving:
        host, port = serving.address
        url = f"http://{host}:{port}/{'page' if attack == 'slow read' else ''}"
        at_rest = len(list(Path(f"/proc/{serving.process.pid}/fd").iterdir()))
        command = ["slowhttptest", *ATTACKS[attack], "-c", str(CONNECTIONS), "-r", str(RATE)]
        attacker = subprocess.Popen(
            [*command, "-l", str(DURATION_S), "-u", url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=foreign_environment(),
        )
        try:
            slowest, asked, held, most = 0.0, 0, 0, 0
            while attacker.poll() is None:
                held = len(list(Path(f"/proc/{serving.process.pid}/fd").iterdir())) - at_rest
                most = max(most, held)
                if most > CONNECTIONS // 2 and held < CONNECTIONS // 10:
                    break  # all over: a slow reader does not even see that it was cut off
                since = time.monotonic()
                assert fetch(serving.address).body == b"hello"
                slowest, asked = max(slowest, time.monotonic() - since), asked + 1
                time.sleep(EVERY_S)  # a client that goes easy on the machine; nothing is waited for
        finally:
            attacker.kill()
            attacker.wait()
        print(f"{attack}: {asked} requests, the slowest {slowest * 1000:.1f} ms")
        assert asked > 0
        assert slowest < BOUND_S
        assert most > CONNECTIONS // 2, "the attack came"
        assert held < CONNECTIONS // 10, "the slow ones are ended by their deadlines"
