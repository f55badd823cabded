"""Signal handlers of the application that raise in the server's main thread: the server goes on, or drains."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving, children, environment
from tests.wsgi import until

APP = """
import os, signal, sys, time

LOADER = os.getpid()

def handler(number, frame):
    {0}

if not os.path.exists("armed"):
    open("armed", "w").close()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, {1}, {1})

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        os.write(2, b"begun\\n")
        while not os.path.exists("go"):
            time.sleep(0.005)
    if environ["PATH_INFO"] == "/alarm":
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
RUNS = {
    "alone": (),
    "workers": ("--workers", "1"),
    "preload": ("--workers", "1", "--preload"),
}
EXITS = {"exit": "sys.exit(7)", "interrupt": "raise KeyboardInterrupt"}
RAISES = {
    "error": ("TimeoutError('of the application')", "TimeoutError: of the application"),
    "base": ("BaseException('of the application')", "BaseException: of the application"),
}


def send_alarms(serving: Serving, run: str) -> None:
    """Send three, one after the other, to the process that has loaded the application first.

    One that another thread of it gets does not wake the main thread, which calls the handler: then another is sent.
    """
    pid = serving.process.pid if run != "workers" else min(children(serving.process.pid))
    for number in range(3):

        def is_called() -> bool:
            os.kill(pid, signal.SIGALRM)
            time.sleep(0.2)
            return sum("called" in line for line in serving.lines) > number  # noqa: B023 - it is called at once

        until(is_called)


@pytest.mark.parametrize("error", RAISES)
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", MODELS)
def test_what_a_handler_raises_is_logged_once_and_ends_nothing(
    tmp_path: Path, model: str, run: str, error: str
) -> None:
    raised, told = RAISES[error]
    application = APP.format(f"os.write(2, b'called\\n'); raise {raised}", "0")
    with (
        ThreadPoolExecutor() as threads,
        Serving(tmp_path, application, *MODELS[model], *RUNS[run]) as serving,
    ):
        before = children(serving.process.pid) if run != "alone" else set()
        slow = threads.submit(fetch, serving.address, "/slow")
        serving.wait_line("begun")
        send_alarms(serving, run)
        (tmp_path / "go").touch()
        assert slow.result().body == b"ok"
        assert fetch(serving.address).body == b"ok"
        assert before <= children(serving.process.pid)
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert told in serving.lines
        assert sum("the application's handler of SIGALRM failed" in line for line in serving.lines) == 1
        assert any("halfsync stopped" in line for line in serving.lines)
        assert not any("killed by" in line or "before it had finished" in line for line in serving.lines)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", MODELS)
def test_a_timer_that_goes_on_changes_no_exit_code(tmp_path: Path, model: str, run: str) -> None:
    with Serving(tmp_path, APP.format("pass", "0.01"), *MODELS[model], *RUNS[run]) as serving:
        assert fetch(serving.address).body == b"ok"
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not any("killed by" in line for line in serving.lines)


@pytest.mark.parametrize("way", EXITS)
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", MODELS)
def test_a_handler_that_exits_drains(tmp_path: Path, model: str, run: str, way: str) -> None:
    """It does so once, though a timer may go on: a second SIGTERM would cut requests off."""
    with ThreadPoolExecutor() as threads:
        application = APP.format(f"os.write(2, b'called\\n'); {EXITS[way]}", "0")
        with Serving(tmp_path, application, *MODELS[model], *RUNS[run]) as serving:
            before = children(serving.process.pid)
            slow = threads.submit(fetch, serving.address, "/slow")
            serving.wait_line("begun")
            send_alarms(serving, run)
            serving.wait_line("which counts as SIGTERM")
            (tmp_path / "go").touch()
            assert slow.result().body == b"ok"
            if run == "workers":  # the process leaves, and replacing it
                until(lambda: not children(serving.process.pid) & before)
                assert fetch(serving.address).body == b"ok"
                serving.signal(signal.SIGTERM)
            assert serving.exit_code() == 0
            assert any("halfsync stopped" in line for line in serving.lines)
            assert not any("Traceback" in line or "killed by" in line for line in serving.lines), (
                serving.lines
            )


@pytest.mark.parametrize("model", MODELS)
def test_a_handler_for_sigterm_that_a_hook_has_set_may_exit(tmp_path: Path, model: str) -> None:
    application = APP.format("os.write(2, b'called\\n'); sys.exit(3)", "0").replace('"armed"', '"served.py"')
    application += "\ndef ready(worker):\n    signal.signal(signal.SIGTERM, handler)\n"
    options = (*MODELS[model], "--workers", "1", "--worker-ready", "served:ready")
    with ThreadPoolExecutor() as threads, Serving(tmp_path, application, *options) as serving:
        serving.wait_line("1 process serves")
        (worker,) = children(serving.process.pid)
        slow = threads.submit(fetch, serving.address, "/slow")
        serving.wait_line("begun")
        os.kill(worker, signal.SIGTERM)
        serving.wait_line("handler of SIGTERM has raised SystemExit")
        (tmp_path / "go").touch()
        assert slow.result().body == b"ok"
        until(lambda: worker not in children(serving.process.pid))
        assert fetch(serving.address).body == b"ok"
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not any("Traceback" in line or "before it had finished" in line for line in serving.lines)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("raised", ["TimeoutError('of the application')", "SystemExit(7)"])
def test_a_handler_that_a_request_has_set_raises_in_the_child_between_requests(
    tmp_path: Path, run: str, raised: str
) -> None:
    """Under the model `process` the application runs in the main thread of the child, which then waits for more."""
    application = APP.format(f"os.write(2, b'called\\n'); raise {raised}", "0")
    (tmp_path / "armed").touch()
    with Serving(tmp_path, application, *MODELS["process"], *RUNS[run]) as serving:
        with Connection(serving.address) as connection:
            connection.send(build("/alarm"))
            assert connection.response().body == b"ok"
            time.sleep(0.4)  # the alarm comes while the child waits; no event shows when
            connection.send(build("/"))
            assert connection.response().body == b"ok"
        serving.wait_line("handler of SIGALRM")
        assert fetch(serving.address).body == b"ok"
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not any("Exception ignored" in line for line in serving.lines)


@pytest.mark.parametrize("run", RUNS)
def test_a_handler_may_raise_in_a_request_that_runs_in_the_main_thread(tmp_path: Path, run: str) -> None:
    application = APP.format("raise TimeoutError", "0").replace(
        "signal.setitimer(signal.ITIMER_REAL, 0.1)",
        "signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
        "        try:\n            time.sleep(30)\n        except TimeoutError:\n            pass",
    )
    (tmp_path / "armed").touch()
    with Serving(tmp_path, application, *MODELS["process"], *RUNS[run]) as serving:
        assert fetch(serving.address, "/alarm").body == b"ok"
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not any("SIGALRM" in line for line in serving.lines)


@pytest.mark.parametrize("model", MODELS)
def test_a_handler_may_raise_in_a_hook(tmp_path: Path, model: str) -> None:
    application = APP.format("raise TimeoutError('of the hook')", "0").replace('"armed"', '"served.py"')
    application += (
        "\ndef ready(worker):\n    signal.signal(signal.SIGALRM, handler)\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.1)\n    time.sleep(30)\n"
    )
    options = (*MODELS[model], "--workers", "1", "--worker-ready", "served:ready")
    with Serving(tmp_path, application, *options) as serving:
        serving.wait_line("the hook worker_ready failed in worker 1")
        serving.wait_line("TimeoutError: of the hook")
        assert fetch(serving.address).body == b"ok"
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


@pytest.mark.parametrize("model", MODELS)
def test_a_handler_that_raises_does_not_end_a_warm_up(tmp_path: Path, model: str) -> None:
    application = APP.format("raise TimeoutError('of the application')", "0").replace(
        'os.write(2, b"begun\\n")',
        "os.kill(LOADER, signal.SIGALRM)\n        time.sleep(0.5)\n        open('go', 'w').close()",
    )
    with Serving(tmp_path, application, *MODELS[model], "--workers", "1", "--warmup", "/slow") as serving:
        serving.wait_line("the application's handler of SIGALRM failed")
        assert fetch(serving.address).body == b"ok"
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


PROGRAM = """
import os, signal, sys, halfsync

def handler(number, frame):
    raise TimeoutError("of the program")

signal.signal(signal.SIGALRM, handler)

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
SERVES = """
halfsync.serve(app, bind="127.0.0.1:0", {0})
assert signal.getsignal(signal.SIGALRM) is handler
try:
    os.kill(os.getpid(), signal.SIGALRM)
    signal.pause()
except TimeoutError:
    print("raised", file=sys.stderr)
"""
EMBEDS = """
with halfsync.Server(app, bind="127.0.0.1:0", model="{0}") as server:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        server.wait()
    except {1} as error:
        assert str(error) == "of the program"
    print(server.ready)
"""


@pytest.mark.parametrize("options", ["", "workers=1", "model='thread'", "model='pool'", "model='process'"])
def test_a_program_that_serves_has_its_handlers_again_afterwards(tmp_path: Path, options: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM + SERVES.format(options))
    with Serving(tmp_path, "", command=(sys.executable, "program.py")) as serving:
        serving.signal(signal.SIGALRM)
        serving.wait_line("the application's handler of SIGALRM failed")
        assert fetch(serving.address).body == b"ok"
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert "raised" in serving.lines


@pytest.mark.parametrize("model", ["proactor", "thread", "pool", "process"])
@pytest.mark.parametrize("raised", ["TimeoutError", "KeyboardInterrupt", "SystemExit"])
def test_a_program_with_a_server_is_raised_in(tmp_path: Path, model: str, raised: str) -> None:
    """The main thread is its own: what its handler raises ends the wait, as in any program."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("TimeoutError", raised) + EMBEDS.format(model, raised)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr
