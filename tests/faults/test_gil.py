"""While the application holds the GIL, the engine works: it accepts, refuses, and keeps every deadline."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.serving import EXIT_TIMEOUT_S, Serving, environment

HOLD_S = 5.0
HEAD_TIMEOUT_S = 0.5
BOUND_S = 4.0  # for all that goes on during the hold, two deadlines of half a second included

# The hold begins with the second piece of a response whose first piece announces it.
APP = """
import ctypes, time
usleep = ctypes.PyDLL(None).usleep  # a C call through PyDLL keeps the GIL

def call():
    usleep({hold_s} * 1_000_000)

def spin():
    end = time.monotonic() + {hold_s}
    while time.monotonic() < end:
        pass

def held():
    yield b"now"
    {hold}()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return held() if environ["PATH_INFO"] == "/hold" else [b"hello"]
"""


@pytest.mark.parametrize("poller", ["epoll", "poll"])
@pytest.mark.parametrize("hold", ["call", "spin"])
def test_the_engine_works_while_the_gil_is_held(tmp_path: Path, hold: str, poller: str) -> None:
    app = APP.format(hold=hold, hold_s=int(HOLD_S))
    options = ("--head-timeout", f"{HEAD_TIMEOUT_S}s", "--poller", poller)
    with Serving(tmp_path, app, *options) as serving:
        client = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("gil_client.py")), str(serving.address[1])],
            capture_output=True,
            text=True,
            timeout=EXIT_TIMEOUT_S,
            check=True,
            env=environment(),
        )
    told = json.loads(client.stdout)
    print(told)
    assert told["held"] == 200
    assert (told["malformed"], told["too_long"], told["half"], told["late"]) == (400, 413, 408, 408)
    assert told["malformed_s"] < 2
    assert told["too_long_s"] < 2
    assert told["late_s"] < BOUND_S
    assert told["waits"] == 200
    if hold == "call":
        # It could not have been answered before: so the GIL was held, and all of the above came during the hold.
        assert told["waits_s"] > HOLD_S - 0.5
