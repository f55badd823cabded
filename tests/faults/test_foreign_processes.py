"""A server, or a pool, in a process that does not own it: no call there affects the owner's."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import EXIT_TIMEOUT_S, MODELS, Serving, environment

# A program that embeds a server, has children do something with it, one after another, and prints after each if the
# server still serves: new connections, and one that has idled since.
EMBEDDED = """
import atexit, contextlib, gc, http.client, multiprocessing, os, sys, tempfile, threading
import halfsync

_, name, forks, when, *endings = sys.argv

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]

def ask(client):
    client.request("GET", "/")
    return client.getresponse().read().decode()

def refused(call):
    try:
        call()
    except RuntimeError as error:
        return str(owner) in str(error) and "the server belongs to process" in str(error)
    return False

def fork(function):
    if forks == "multiprocessing":
        child = multiprocessing.get_context("fork").Process(target=function)
        child.start()
        child.join()
        return child.exitcode
    child = os.fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        except SystemExit as error:
            os._exit(error.code or 0)
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

owner = os.getpid()
log = tempfile.mkstemp()[1]
server = halfsync.Server(app, bind="127.0.0.1:0", model=name, threads=2, access_log=log)
codes = [fork(lambda: exec(ending, globals())) for ending in endings if when == "before"]
server.start()
client = http.client.HTTPConnection(*server.address, timeout=10)
answers = [ask(client)]
for ending in endings:
    if when == "after":
        codes.append(fork(lambda: exec(ending, globals())))
    newcomer = http.client.HTTPConnection(*server.address, timeout=10)
    answers += [ask(client), ask(newcomer)]
    newcomer.close()
    if not server.ready:
        answers.append(f"not ready after {ending}")
client.close()
print(*codes, *set(answers))
server.drain()
print(server.wait(10), server.close(10), len(open(log).readlines()))
os.unlink(log)
"""

ENDINGS = {
    "close": "assert server.close() is server.close(0) is server.wait(0) is server.wait() is True",
    "drain": "assert refused(server.drain) is True",
    "hand_off": "assert refused(server.hand_off) is True",
    "close_keepalives": "assert refused(server.close_keepalives) is True",
    "start": "assert refused(server.start) is True",
    "reopen_logs": "assert refused(server.reopen_logs) is True",
    "statistics": "assert name == 'process' or refused(server.statistics) is True",
    "a block": "with contextlib.suppress(RuntimeError), server: pass",
    "the end of a block": "server.__exit__(None, None, None)",
    "closing": "contextlib.closing(server).__exit__(None, None, None)",
    "collected": "server = None; gc.collect()",
    "atexit": "atexit.register(server.close); atexit._run_exitfuncs()",
    "a thread": "thread = threading.Thread(target=server.close); thread.start(); thread.join()",
    "a grandchild": "sys.exit(fork(server.close))",
    "all descriptors closed": "os.closerange(3, 1000); os.pipe(); server.close(); os.fstat(3); os.fstat(4)",
}


def run(program: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment(), capture_output=True, text=True, timeout=EXIT_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("forks", ["os.fork", "multiprocessing"])
@pytest.mark.parametrize("name", ["proactor", "thread", "pool", "process"])
def test_a_forked_child_touches_nothing(name: str, forks: str, when: str) -> None:
    """Also one that was forked when the server was made, and not yet started."""
    lines = run(EMBEDDED, name, forks, when, *ENDINGS.values())
    assert lines == [" ".join(["0"] * len(ENDINGS) + ["served"]), f"True True {2 * len(ENDINGS) + 1}"]


IN_THE_APPLICATION = """
import gc, os
import halfsync

def calls(environ, start_response):
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    said = []
    for method in (server.close, server.wait, server.drain, server.hand_off, server.close_keepalives,
                   server.reopen_logs):
        try:
            said.append(str(method()))
        except RuntimeError as error:
            said.append("refused" if "the server belongs to process" in str(error) else str(error))
    said += [str(server.statistics()["running"]), str(server.ready)]
    server.__exit__(None, None, None)
    for fd in opened:
        os.fstat(fd)  # none of them was closed in the place of one that the server had there
        os.close(fd)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [" ".join(said).encode()]

server = halfsync.Server(calls, bind="127.0.0.1:0", model="process")
"""
SAID = b"True True refused refused refused refused 1 True"


def test_an_application_in_a_child_of_the_model_touches_nothing() -> None:
    lines = run(
        IN_THE_APPLICATION
        + """
from urllib.request import urlopen
with server:
    for _ in range(2):
        print(urlopen(server.url, timeout=10).read().decode())
        while server.statistics()["running"]:  # a child counts down only after its response
            os.sched_yield()
    print(server.ready)
print(server.close())
""",
    )
    assert lines == [SAID.decode()] * 2 + ["True", "True"]


def test_an_application_in_a_child_of_a_foreground_server_touches_nothing(tmp_path: Path) -> None:
    """The same with a second server that the application has beside: it was made, and started, in the parent."""
    application = IN_THE_APPLICATION + "server.start()\napp = calls\n"
    with Serving(tmp_path, application, *MODELS["process"]) as serving:
        for _ in range(2):
            assert fetch(serving.address).body == SAID.replace(b"1 True", b"0 True")
        with Connection(serving.address) as connection:
            for _ in range(2):
                connection.send(build())
                assert connection.response().status == 200
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not [line for line in serving.lines if "Traceback" in line], serving.lines


IN_A_POOL = """
import os, threading
import halfsync

pool = halfsync.ThreadPool(2)  # made as the application is loaded, and not in the process that serves

def app(environ, start_response):
    done = threading.Event()
    try:
        counted = str(pool.statistics().running)
    except RuntimeError:
        counted = "refused"
    said = pool.append(done.set), pool.close(), counted
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(said).encode()]
"""


def test_a_pool_of_the_application_in_a_child_of_the_model(tmp_path: Path) -> None:
    """Its threads do not exist: it refuses at once, and no caller waits for ever for a job that no thread runs."""
    with Serving(tmp_path, IN_A_POOL, *MODELS["process"]) as serving:
        for _ in range(2):
            assert fetch(serving.address).body == b"(False, True, 'refused')"
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
