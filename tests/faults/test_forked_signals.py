"""A process that an application forks or starts has no handler, signal mask or descriptor of the server."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import EXIT_TIMEOUT_S, MODELS, Serving

# Longer than anything here takes, and shorter than a test may: a child that cannot be ended fails a test.
NEVER_S = 60

TOOLS = """
import ctypes, json, multiprocessing, os, select, signal, subprocess, sys, threading, time
from concurrent.futures import ProcessPoolExecutor

LEFT_MS = 15_000
OTHERS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
FORK = multiprocessing.get_context("fork")

def wait(pid):
    "Return how a child ended: its exit code, or minus its signal."
    end = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(end, select.POLLIN)
    lives = not poll.poll(LEFT_MS)
    os.close(end)
    if lives:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "lives" if lives else code

def state():
    "Return what the calling thread catches, ignores and blocks, without what Python and a sanitizer do."
    others = set(OTHERS)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        others.add(signal.SIGINT)
    found = {}
    for line in open(f"/proc/self/task/{threading.get_native_id()}/status"):
        name, _, value = line.partition(":")
        if name in ("SigCgt", "SigIgn", "SigBlk", "SigPnd", "ShdPnd"):
            mask = int(value, 16)
            found[name] = [n for n in range(1, 32) if mask >> n - 1 & 1 and n not in others]
    return found

SHOW = "import json;" + "found={};" + '''
for line in open("/proc/self/status"):
    name, _, value = line.partition(":")
    if name in ("SigIgn", "SigBlk"):
        mask = int(value, 16)
        found[name] = [n for n in range(1, 32) if mask >> n - 1 & 1 and n not in (13, 25)]
print(json.dumps(found))
'''

def told(function):
    "Return what a function returns in a fork."
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(function()).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        text = file.read()
    wait(pid)
    return json.loads(text)

def signalled(number):
    "Return how a fork ends that is sent a signal as soon as there is one."
    pid = os.fork()
    if pid == 0:
        time.sleep(NEVER_S)
        os._exit(77)
    os.kill(pid, number)
    return wait(pid)

def raising(number):
    "Return how a fork ends that sends itself a signal: Python forgets what comes to its handlers before it has forked."
    pid = os.fork()
    if pid == 0:
        signal.raise_signal(number)
        os._exit(77)
    return wait(pid)

def handlers():
    "Return how Python sees the signals in a fork."
    return [n for n in range(1, 32)
            if n not in OTHERS and signal.getsignal(n) not in (signal.SIG_DFL, signal.default_int_handler)]

def spawned():
    "Return what programs ignore and block that are started in each way."
    found = []
    for options in ({}, {"close_fds": False}, {"preexec_fn": int}, {"user": os.getuid()}, {"start_new_session": True}):
        found.append(json.loads(subprocess.check_output([sys.executable, "-c", SHOW], **options)))
    return found

def terminated():
    process = FORK.Process(target=time.sleep, args=(NEVER_S,))
    process.start()
    process.terminate()
    process.join(LEFT_MS / 1000)
    code = process.exitcode
    process.kill()
    return code

def pooled():
    with FORK.Pool(2) as pool:
        return pool.map(abs, [-1, -2, -3])

def executed():
    with ProcessPoolExecutor(2, mp_context=FORK) as pool:
        return list(pool.map(abs, [-1, -2, -3]))

def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]
""".replace("NEVER_S", str(NEVER_S))

ALL = "[signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]"

APP = (
    TOOLS
    + """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    what = environ["PATH_INFO"][1:]
    return [json.dumps(FOUND[what]() if what in FOUND else eval(environ["QUERY_STRING"])).encode()]

FOUND = {
    "state": lambda: told(state),
    "threads": lambda: in_thread(lambda: told(state)),
    "nested": lambda: told(lambda: told(state)),
    "handlers": lambda: told(handlers),
    "signalled": lambda: [signalled(number) for number in ALL],
    "spawned": spawned,
    "terminated": lambda: [terminated() for _ in range(20)],
    "pooled": pooled,
    "executed": executed,
}
""".replace("ALL", ALL)
)

NOTHING: dict[str, list[int]] = {"SigCgt": [], "SigIgn": [], "SigBlk": [], "SigPnd": [], "ShdPnd": []}
SPAWNED: dict[str, list[int]] = {"SigIgn": [], "SigBlk": []}
KILLED = [-number for number in (2, 15, 3, 1, 10, 12)]
EXPECTED: dict[str, object] = {
    "state": NOTHING,
    "threads": NOTHING,
    "nested": NOTHING,
    "handlers": [],
    "spawned": [SPAWNED] * 5,
    "terminated": [-15] * 20,
    "pooled": [1, 2, 3],
    "executed": [1, 2, 3],
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


@pytest.fixture(params=[(), ("--workers", "2")], ids=["alone", "supervised"])
def options(model: tuple[str, ...], request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return them for a server by itself, and for one of several processes."""
    return (*model, *request.param)


def end(serving: Serving) -> None:
    """Drain, and see that it ends as if nothing had been forked."""
    serving.signal(signal.SIGTERM)
    assert serving.exit_code() == 0
    assert not [line for line in serving.lines if "Traceback" in line], serving.lines


def ask(connection: Connection, target: str) -> object:
    """Return what the application has found."""
    connection.send(build(target))
    return json.loads(connection.response().body)


@pytest.mark.parametrize("what", EXPECTED)
def test_a_child_has_the_defaults(tmp_path: Path, options: tuple[str, ...], what: str) -> None:
    with Serving(tmp_path, APP, *options) as serving:
        with Connection(serving.address) as connection:
            assert ask(connection, f"/{what}") == EXPECTED[what]
        end(serving)


def test_a_child_is_ended_by_each_signal_and_its_client_notices_nothing(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with Serving(tmp_path, APP, *options) as serving:
        with Connection(serving.address) as connection:
            assert ask(connection, "/signalled") == KILLED
            assert ask(connection, "/state") == NOTHING  # on the same connection
        assert json.loads(fetch(serving.address, "/state").body) == NOTHING
        end(serving)


DAEMON = (
    TOOLS
    + """
children = []
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if not children:
        children.append(FORK.Process(target=time.sleep, args=(NEVER_S,), daemon=True))
        children[0].start()
    return [b"%d" % children[0].pid]
""".replace("NEVER_S", str(NEVER_S))
)


def test_daemonic_children_do_not_keep_a_server(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Python ends them by SIGTERM as the interpreter ends, and waits."""
    with Serving(tmp_path, DAEMON, *options) as serving:
        pids = {int(fetch(serving.address).body) for _ in range(4)}
        if "process" in options:  # whose children end without the interpreter's handlers
            serving.signal(signal.SIGTERM)
            serving.process.wait(EXIT_TIMEOUT_S)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        end(serving)
        if "process" not in options:
            assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


OWN = (
    TOOLS
    + """
def mine(*_):
    pass

def hook(worker):
    signal.signal(signal.SIGUSR2, mine)
    pid = os.fork()
    if pid == 0:
        os._exit(signal.getsignal(signal.SIGUSR2) is not mine)
    os.write(2, b"the hook found %d\\n" % wait(pid))

def heard(*_):
    os._exit(5)

signal.signal(signal.SIGALRM, mine)
signal.signal(signal.SIGUSR1, heard)  # which the server understands, too
FOUND = told(state), spawned()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    kept = [told(lambda: signal.getsignal(signal.SIGALRM) is mine), raising(signal.SIGUSR1)]
    return [json.dumps([*FOUND, kept, told(state)]).encode()]
"""
)


@pytest.mark.parametrize(
    "more",
    [(), ("--workers", "2"), ("--workers", "2", "--preload")],
    ids=["alone", "supervised", "preloaded"],
)
def test_handlers_of_the_application_stay(
    tmp_path: Path, model: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """It sets some while it is loaded, and forks and starts programs there too.

    A serving process begins with the defaults of what the server understands, whatever was set in the supervisor.
    """
    own = NOTHING | {"SigCgt": [int(signal.SIGUSR1), int(signal.SIGALRM)]}
    with Serving(tmp_path, OWN, *model, *more) as serving:
        loaded, started, kept, later = json.loads(fetch(serving.address).body)
        assert (loaded, started) == (own, [SPAWNED] * 5)
        if more:
            serving.wait_line("all 2 processes serve")
        if "--preload" in more:
            own = NOTHING | {"SigCgt": [int(signal.SIGALRM)]}
        assert (kept, later) == ([True, -signal.SIGUSR1 if "--preload" in more else 5], own)
        end(serving)


@pytest.mark.parametrize("name", ["post-fork", "worker-ready", "worker-exit"])
def test_hooks_fork_likewise(tmp_path: Path, model: tuple[str, ...], name: str) -> None:
    with Serving(tmp_path, OWN, *model, "--workers", "1", f"--{name}", "served:hook") as serving:
        fetch(serving.address)
        end(serving)
    assert "the hook found 0" in serving.lines, serving.lines


LISTING = """
import json, os, subprocess, sys

SHOW = "import json, os; print(json.dumps({n: os.readlink('/proc/self/fd/' + n) for n in os.listdir('/proc/self/fd')" \\
       " if os.path.exists('/proc/self/fd/' + n)}))"

def started():
    return subprocess.check_output([sys.executable, "-c", SHOW], close_fds=False)

def forked():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 1)
        os.execv(sys.executable, [sys.executable, "-c", SHOW])
    os.close(writer)
    with open(reader, "rb") as file:
        return file.read()

def hook(worker):
    os.write(2, b"the hook found " + started() + b"\\n")

AT_IMPORT = started()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    assert len(environ["wsgi.input"].readline()) > 0
    return [b"[%b, %b, %b]" % (AT_IMPORT, started(), forked())]
"""
LARGE = 200_000


def test_a_program_that_is_started_has_no_descriptor_of_the_server(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "files").mkdir()
    more = [
        "-b", f"unix:{tmp_path}/socket", "--access-log", "log", "--pidfile", "pid", "--static", "/s=files",
        "--body-memory", "1k", "--admin-bind", f"unix:{tmp_path}/admin",
    ]  # fmt: skip
    hooks = ["--post-fork", "served:hook", "--worker-ready", "served:hook"] if "--workers" in options else []
    with Serving(tmp_path, LISTING, *options, *more, *hooks) as serving:
        with Connection(serving.address) as idle, Connection(serving.address) as connection:
            idle.send(build("/", method="POST", body=b"x" * LARGE))
            idle.response()
            connection.send(build("/", method="POST", body=b"x" * LARGE))
            found = json.loads(connection.response().body)
        if hooks:
            serving.wait_line("all 2 processes serve")
        end(serving)
    found += [
        json.loads(line.removeprefix("the hook found ")) for line in serving.lines if "the hook" in line
    ]
    for descriptors in found:
        assert {int(number) for number in descriptors} <= {0, 1, 2}, descriptors
