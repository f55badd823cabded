"""The applications that the experiments serve, as `halfsync.lab.applications:app`.

The path says what a request does; without a number it is 1:

    /               answer at once
    /sleep/MS       wait without the GIL, as for a database
    /burn/MS        use the processor for so long, in Python
    /hold/MS        keep the GIL for so long without using the processor, as a C extension that does not give it up
    /stop/SECONDS   the same in seconds: nothing in the process that needs the GIL goes on
    /touch/KB       write a byte to each cache line of so much memory, which belongs to the thread
    /body/BYTES     answer with a body of this size
    /read           read the body of the request, and answer with its size

What the process is like, besides, is in variables of its environment, read when the module is imported:

    LAB_BALLAST_MB          so much memory is in use, and each page of it has been written
    LAB_OBJECTS_MB          so much memory is in use by Python objects of 1,000 bytes each, in the list OBJECTS
    LAB_BURNERS             so many threads use the processor without end
    LAB_SWITCH_INTERVAL_S   `sys.setswitchinterval`: how long a thread may keep the GIL while others wait for it
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], object]

HELLO = b"hello\n"
MEGABYTE = 1 << 20
LINE_BYTES = 64
"""Of the cache."""
OBJECT_BYTES = 1000
_local = threading.local()
_keeping_the_gil = ctypes.PyDLL(None)
"""The C library, whose functions are called with the GIL held."""


def sleep(ms: float) -> bytes:
    """Wait without the GIL."""
    time.sleep(ms / 1000)
    return HELLO


def burn(ms: float) -> bytes:
    """Use the processor until this thread has had it for so long."""
    until = time.thread_time() + ms / 1000
    while time.thread_time() < until:
        pass
    return HELLO


def hold(ms: float) -> bytes:
    """Wait with the GIL."""
    _keeping_the_gil.usleep(int(ms * 1000))
    return HELLO


def stop(seconds: float) -> bytes:
    """Wait with the GIL, for so many seconds."""
    return hold(seconds * 1000)


def touch(kilobytes: float) -> bytes:
    """Write a byte to each cache line of a working set of the thread's own."""
    size = int(kilobytes * 1024)
    own: bytearray | None = getattr(_local, "set", None)
    if own is None or len(own) != size:
        own = _local.set = bytearray(size)
    own[::LINE_BYTES] = b"\1" * len(range(0, size, LINE_BYTES))
    return HELLO


def body(size: float) -> bytes:
    """Return a body of this size."""
    return bytes(int(size))


WORK: dict[str, Callable[[float], bytes]] = {
    "sleep": sleep,
    "burn": burn,
    "hold": hold,
    "stop": stop,
    "touch": touch,
    "body": body,
}


def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Do what the path says. 404 for any other path."""
    path = environ["PATH_INFO"]
    status, answer = "200 OK", HELLO
    if path == "/read":
        answer = b"%d\n" % _read(environ["wsgi.input"])
    elif path != "/":
        name, _, amount = path[1:].partition("/")
        try:
            answer = WORK[name](_number(amount or "1"))
        except (KeyError, ValueError, OverflowError):
            status, answer = "404 Not Found", b"no such path\n"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return (answer,)


def _number(text: str) -> float:
    """Return what a path asks for. Raises ValueError if it is no number from 0 on."""
    value = float(text)
    if not value >= 0:
        raise ValueError(f"{text} is less than nothing")
    return value


def _read(stream: Any) -> int:
    size = 0
    while block := stream.read(1 << 16):
        size += len(block)
    return size


def _burn_without_end() -> None:
    while True:
        pass


def _amount(name: str) -> float:
    return float(os.environ.get(name) or 0)


def _prepare() -> bytes:
    """Make the process as its environment says, and return the ballast."""
    if interval_s := _amount("LAB_SWITCH_INTERVAL_S"):
        sys.setswitchinterval(interval_s)
    for _ in range(int(_amount("LAB_BURNERS"))):
        threading.Thread(target=_burn_without_end, daemon=True).start()
    return b"\1" * int(_amount("LAB_BALLAST_MB") * MEGABYTE)


def read_objects(_process: object = None) -> None:
    """Look at each of OBJECTS, for `--post-fork`. That counts references to them, which writes to all their pages."""
    for _each in OBJECTS:
        pass


BALLAST = _prepare()
OBJECTS = [bytes(OBJECT_BYTES) for _ in range(int(_amount("LAB_OBJECTS_MB") * MEGABYTE / OBJECT_BYTES))]
