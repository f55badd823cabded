"""Applications that replace Python's system functions: by gevent, by eventlet, and by themselves.

Each is served, or refused in one line; either way SIGTERM ends the server, and nothing of it spins or stays.
"""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client import fetch
from tests.faults.serving import MODELS, Serving, children
from tests.sharing import is_sanitized
from tests.wsgi import until

IDLE_S = 1.0
IDLE_CPU_S = (
    0.2  # of the processes together, while nothing is asked for IDLE_S; a loop that spins takes all of it
)

ANSWER = """
import time

def app(environ, start_response):
    time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
LIBRARIES = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
    "eventlet": "import warnings\nwarnings.simplefilter('ignore')\nimport eventlet\neventlet.monkey_patch()\n",
}
# An event loop of the main thread's, which forked processes must not share.
SLEPT = "import time\ntime.sleep(0.001)\n"
OWN = """
import os, select, signal, socket, threading, time, _thread, subprocess, selectors, queue

def fail(*_, **__):
    raise RuntimeError("replaced")

def block(*_, **__):
    while True:
        genuine(1000)

genuine = time.sleep
REPLACED = [
    (os, "waitpid waitid wait wait3 wait4 fork read write pipe close dup dup2 kill killpg getpid setpgid set_blocking "
         "listdir stat open _exit access getcwd"),
    (select, "select poll epoll"),
    (signal, "signal getsignal set_wakeup_fd pthread_sigmask"),
    (socket, "socket socketpair getaddrinfo create_connection SocketType"),
    (threading, "Thread Lock RLock Event Condition Semaphore BoundedSemaphore Timer current_thread enumerate "
                "main_thread _start_new_thread _allocate_lock _set_sentinel get_native_id"),
    (_thread, "start_new_thread"),
    (time, "sleep monotonic monotonic_ns clock_gettime_ns perf_counter"),
    (subprocess, "Popen run"),
    (selectors, "DefaultSelector"),
    (queue, "Queue SimpleQueue"),
]
def replace(by, kept=()):
    for module, names in REPLACED:
        for name in names.split():
            if hasattr(module, name) and name not in kept:
                setattr(module, name, by)
"""
OWN_WAYS = {
    "raises": "replace(fail, kept=('current_thread', 'getpid'))",
    # Without what Python itself calls in each process that it has forked (threading._after_fork), and in each line that
    # it logs.
    "blocks": "replace(block, kept=('RLock', 'Condition', 'Event', '_allocate_lock', 'current_thread', 'getpid'))",
}
PLAIN = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
RUNS = {"alone": (), "workers": ("--workers", "2"), "preload": ("--workers", "2", "--preload")}


def options(model: str) -> tuple[str, ...]:
    """Return the options of a model under which applications are served whose locks threads cannot share."""
    return (*MODELS[model], *(() if model == "process" else ("--threads", "1")))


def family(pid: int) -> set[int]:
    """Return a process and all that it has started."""
    return {pid}.union(*map(family, children(pid)))


def cpu_s(pids: set[int]) -> float:
    """Return the seconds that these processes have used of the processors, those that have ended aside."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def check_served(serving: Serving, *, together: int = 4) -> None:
    """See that requests are answered, that the server then rests, and that SIGTERM ends it with nothing left."""
    if "processes" in serving.wait_line("serves"):
        serving.wait_line("all 2 processes serve")  # none is still loading
    with ThreadPoolExecutor(together) as pool:
        for response in pool.map(lambda _: fetch(serving.address), range(2 * together)):
            assert (response.status, response.body) == (200, b"ok"), serving.lines
    pids = family(serving.process.pid)
    before = cpu_s(pids)
    time.sleep(IDLE_S)  # what is measured is this time
    assert cpu_s(pids) - before < IDLE_CPU_S
    serving.signal(signal.SIGTERM)
    assert serving.exit_code() == 0, serving.lines
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", [name for name in MODELS if name != "thread"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_patched_application_is_served(tmp_path: Path, library: str, model: str, run: str) -> None:
    pytest.importorskip(library)
    if (library, model) == ("gevent", "process") and is_sanitized():
        pytest.skip(
            "greenlet copies the stack of the main thread: to a sanitizer that reads beyond a variable"
        )
    with Serving(tmp_path, LIBRARIES[library] + SLEPT + ANSWER, *options(model), *RUNS[run]) as serving:
        check_served(serving)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_greenlets_with_the_locks_of_threads_are_served_by_many_threads(
    tmp_path: Path, library: str, model: str
) -> None:
    pytest.importorskip(library)
    patch = LIBRARIES[library].replace("patch_all()", "patch_all(thread=False)")
    patch = patch.replace("monkey_patch()", "monkey_patch(thread=False)")
    with Serving(tmp_path, patch + ANSWER, *MODELS[model]) as serving:
        check_served(serving, together=8)


@pytest.mark.parametrize("model", MODELS)
def test_a_patch_with_the_first_request_changes_nothing(tmp_path: Path, model: str) -> None:
    """By gevent only: Python itself does not end once eventlet has patched it in another thread than the first."""
    pytest.importorskip("gevent")
    lines = "".join(f"        {line}\n" for line in LIBRARIES["gevent"].splitlines())
    late = ANSWER.replace(
        "    time.sleep",
        f"    global patched\n    if not patched:\n        patched = True\n{lines}    time.sleep",
    )
    with Serving(tmp_path, "patched = False\n" + late, *MODELS[model]) as serving:
        check_served(serving, together=1)


@pytest.mark.parametrize(
    "options", [("--model", "thread"), ("--threads", "4"), ("--model", "pool", "--threads", "4")]
)
@pytest.mark.parametrize("library", LIBRARIES)
def test_locks_that_threads_cannot_share_are_refused_in_one_line(
    tmp_path: Path, library: str, options: tuple[str, ...]
) -> None:
    pytest.importorskip(library)
    serving = Serving(tmp_path, LIBRARIES[library] + ANSWER, *options)
    try:
        assert serving.exit_code() == 2
        assert len(serving.lines) == 1, serving.lines
        assert f"{library} has replaced the locks of threading" in serving.lines[0]
        assert "use the model process" in serving.lines[0]
    finally:
        serving.__exit__(None, None, None)


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_thread_is_chosen_if_no_number_was_given(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    with Serving(tmp_path, LIBRARIES[library] + ANSWER) as serving:
        assert "one thread runs the application" in serving.wait_line("replaced the locks")
        assert "1 thread)" in serving.wait_line("serves")
        check_served(serving)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_patched_application_is_reloaded(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    with Serving(tmp_path, LIBRARIES[library] + ANSWER, "--threads", "1", "--workers", "2") as serving:
        old = children(serving.process.pid)
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        until(lambda: not old & children(serving.process.pid))
        check_served(serving)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("way", OWN_WAYS)
def test_an_application_may_replace_what_it_likes(tmp_path: Path, way: str, model: str, run: str) -> None:
    with Serving(tmp_path, f"{OWN}\n{OWN_WAYS[way]}\n{PLAIN}", *MODELS[model], *RUNS[run]) as serving:
        check_served(serving)


@pytest.mark.parametrize("model", ["proactor", "pool", "process"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_program_may_patch_before_it_imports_halfsync(tmp_path: Path, library: str, model: str) -> None:
    pytest.importorskip(library)
    serve = f"halfsync.serve(app, bind='127.0.0.1:0', model={model!r})"
    program = f"{LIBRARIES[library]}{ANSWER}\nimport halfsync\n{serve}\n"
    (tmp_path / "program.py").write_text(program)
    with Serving(tmp_path, "", command=(sys.executable, "program.py")) as serving:
        check_served(serving)
