"""Thousands of requests from clients most of which behave badly: the server serves on, and leaks nothing."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from wsgiref.types import StartResponse

import pytest

from tests.client import fetch
from tests.conftest import Serve, on_both_pollers
from tests.faults.serving import environment
from tests.wsgi import TEXT, Environ, until

pytestmark = on_both_pollers

# `make test` is to stay short; `make stress` asks for a hundred thousand.
REQUESTS = int(os.environ.get("HALFSYNC_STRESS_REQUESTS", "20000"))
SEED = int(os.environ.get("HALFSYNC_TEST_SEED", "20240229"))
REQUESTS_PER_S = 100  # at the very least, on a busy machine and under a sanitizer
PIECE = 20_000
LIMIT_MS = 100  # of a turn, in the setting that has such a limit


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Read the body, and answer with as many bytes as the path says, as it says, and when."""
    _, kind, size, *wait_ms = environ["PATH_INFO"].split("/")
    environ["wsgi.input"].read()
    for wait in wait_ms:
        time.sleep(float(wait) / 1000)
    start_response("200 OK", [*TEXT])
    if kind == "f":
        file = TemporaryFile()  # noqa: SIM115 - the response closes it
        file.write(b"x" * int(size))
        file.seek(0)
        body: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return body
    if kind == "w":
        return [b"x" * int(size)]
    if kind == "s":
        time.sleep(0.0005)  # so that requests wait in the queue; nothing depends on how long
    return (b"x" * min(PIECE, int(size) - at) for at in range(0, int(size), PIECE))


@pytest.mark.timeout(60 + REQUESTS // REQUESTS_PER_S)
@pytest.mark.parametrize(
    "settings",
    # With little room for responses workers wait for slow readers; bodies are in memory, so none is refused.
    [
        {},
        {"spool_memory": 8 << 10, "spool_disk": 64 << 10, "body_memory": 1 << 20},
        {"request_timeout": LIMIT_MS / 1000, "threads": 16, "max_stuck": 64},
    ],
    ids=["defaults", "little-room", "deadline"],
)
def test_a_storm_of_clients(serve: Serve, settings: dict[str, Any]) -> None:
    requests = REQUESTS // 6  # three settings, two pollers
    print(f"HALFSYNC_TEST_SEED={SEED}")
    with serve(app, **settings) as server:
        result = subprocess.run(
            [
                sys.executable,
                str(Path(__file__).with_name("storm.py")),
                str(server.address[1]),
                str(requests),
                str(SEED),
                str(int(settings.get("request_timeout", 0) * 1000)),
            ],
            stdout=subprocess.PIPE,
            check=True,
            env=environment(),
        )
        told = json.loads(result.stdout)
        print(told, server.statistics())
        assert told["begun"] >= requests
        assert told["faults"] == []
        assert told["answered"] > requests / 2
        assert fetch(server.address, "/w/1000").body == b"x" * 1000
        until(lambda: server.statistics()["open"] <= 1)
        until(lambda: server.statistics()["stuck"] == 0)
        statistics = server.statistics()
        assert statistics["queued"] == statistics["spooled"] == 0
    # That no native object, descriptor or thread is left is asserted after every test that serves.
