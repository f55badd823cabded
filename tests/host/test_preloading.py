"""Threads and sockets that must not exist at a fork, each in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

TELL = """
import json, socket, sys, threading
from halfsync.host.preloading import find_hindrances
known = ()
exec(sys.argv[1])
print(json.dumps(find_hindrances(known)), flush=True)
import os
os._exit(0)
"""


def told(code: str) -> list[str]:
    """Return the warnings for a process that has run some code."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", TELL, code], env=environ, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.fixture
def folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="hs") as name:
        yield name


def test_nothing_is_there() -> None:
    assert told("") == []


def test_threads_by_their_names() -> None:
    code = """
for name in ("metrics", "flush"):
    threading.Thread(target=threading.Event().wait, name=name, daemon=True).start()
"""
    assert told(code) == [
        "the thread 'flush' runs: forked processes will not have it",
        "the thread 'metrics' runs: forked processes will not have it",
    ]


@pytest.mark.parametrize("ask", ["", "threading.current_thread();"])
def test_threads_without_a_name(ask: str) -> None:
    code = f"""
import _thread
began = threading.Event()
def run():
    {ask}
    began.set()
    threading.Event().wait()
_thread.start_new_thread(run, ())
began.wait()
"""
    assert told(code) == ["a thread that was started with _thread runs: forked processes will not have it"]


def test_a_thread_that_has_just_been_started_is_known() -> None:
    code = "import _thread; [_thread.start_new_thread(threading.Event().wait, ()) for _ in range(3)]"
    assert (
        told(code) == ["a thread that was started with _thread runs: forked processes will not have it"] * 3
    )


def test_a_joined_thread_has_ended() -> None:
    code = """
for _ in range(50):
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
"""
    assert told(code) == []


NATIVE = """
import ctypes
libc = ctypes.CDLL(None)
for _ in range({number}):
    thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, libc.pause, None) == 0
    assert libc.pthread_setname_np(thread, b"blas") == 0
"""


def test_native_threads_are_counted_and_named() -> None:
    assert told(NATIVE.format(number=1)) == [
        "a native thread runs that Python does not know (blas): forked processes will not have it"
    ]
    both = NATIVE.format(number=3) + "threading.Thread(target=libc.pause, name='mine', daemon=True).start()"
    assert told(both) == [
        "the thread 'mine' runs: forked processes will not have it",
        "3 native threads run that Python does not know (blas): forked processes will not have them",
    ]


def test_sockets_of_the_internet() -> None:
    code = """
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
datagram = socket.socket(type=socket.SOCK_DGRAM)
idle = socket.socket()
numbers = [each.fileno() for each in (listener, client, datagram, idle)]
print(json.dumps([listener.getsockname()[1], client.getsockname()[1], *numbers]))
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", TELL, code], env=environ, capture_output=True, text=True, timeout=60, check=True
    ).stdout.splitlines()  # fmt: skip
    port, own, *numbers = json.loads(said[0])
    assert json.loads(said[1]) == [
        f"{what} is open (descriptor {number}): forked processes would share it"
        for what, number in zip(
            (
                f"a socket that listens on 127.0.0.1:{port}",
                f"a connection from 127.0.0.1:{own} to 127.0.0.1:{port}",
                "a socket at 0.0.0.0:0 without a peer",
                "a socket at 0.0.0.0:0 without a peer",
            ),
            numbers,
            strict=True,
        )
    ]


def test_unix_sockets(folder: str) -> None:
    code = f"""
listener = socket.socket(socket.AF_UNIX)
listener.bind("{folder}/x")
listener.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("{folder}/x")
one, two = socket.socketpair()
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0{folder}")
abstract.listen()
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
"""
    assert [line.partition(" is open")[0] for line in told(code)] == [
        f"a socket that listens on {folder}/x",
        f"a connection to {folder}/x",
        "one end of a pair of unix sockets",
        "one end of a pair of unix sockets",
        f"a socket that listens on @{folder}",
        "a netlink socket",
    ]


def test_known_sockets_and_files_are_not_reported() -> None:
    code = """
listener = socket.create_server(("127.0.0.1", 0))
file = open("/dev/null")
known = [listener.fileno()]
"""
    assert told(code) == []


def test_without_proc_nothing_is_reported() -> None:
    code = """
from halfsync.host import preloading
preloading._TASKS = preloading._DESCRIPTORS = "/nowhere"
kept = socket.socket()
"""
    assert told(code) == []


def test_preloaded_objects_are_not_collected() -> None:
    code = """
import gc
from halfsync.runtime.forking import freeze
class Node: pass
kept, lost = [Node() for _ in range(1000)], Node()
lost.itself = lost
before = len(gc.get_objects())
freeze()
assert gc.get_freeze_count() >= 1000, gc.get_freeze_count()
assert not any(isinstance(one, Node) for one in gc.get_objects())
gc.unfreeze()
assert sum(isinstance(one, Node) for one in gc.get_objects()) == 1000 + (lost is not None)
"""
    assert told(code) == []
