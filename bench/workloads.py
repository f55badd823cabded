"""What the servers are asked to do: one table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

T = TypeVar("T")

FILE_BYTES = 100_000_000
POST_BYTES = 64 * 1024
PAGE_BYTES = 10 * 1024
HELLO_BYTES = 13
STATIC_FILES = {"1k.bin": 1024, "1m.bin": 1024 * 1024}
"""The static files by name, and their bytes. Of a type that has no compressed variants to look for."""

# With the Host that wrk adds these are twelve: what a browser sends, seen behind a proxy.
BROWSER_HEADERS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br",
    "Referer: http://shop.example/list?page=2&sort=price",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-Proto: https",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1",
)


class Kind(Enum):
    """How a workload is measured, and so which figures its table shows."""

    LOAD = "requests under load"
    CLOSE = "connections under load"
    FILE = "bytes under load"
    STATIC = "static files under load"
    IDLE = "a herd of idle connections"
    START = "starting, and memory after a load"
    PRELOAD = "memory of processes that share what was loaded before them"
    GOODPUT = "answers in time below and beyond the capacity"


@dataclass(frozen=True, slots=True)
class Route:
    """One path of a mix: the share of the requests that it has, and how long the application takes for each."""

    path: str
    share: float
    turn_s: float


@dataclass(frozen=True, slots=True)
class Demand:
    """What a goodput workload asks for.

    `measured`: the capacity is the processor's, and found out by a closed loop. `fresh`: a connection for each
    request. `retries`: how often a client asks again, at once, when it was refused or has given up.
    """

    routes: tuple[Route, ...]
    measured: bool = False
    fresh: bool = False
    retries: int = 0

    @property
    def mean_turn_s(self) -> float:
        """The mean time of the application for a request."""
        return sum(route.share * route.turn_s for route in self.routes)


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request, by so many connections at once: kept alive, or in `close` one for each request."""

    name: str
    title: str
    kind: Kind
    path: str
    connections: int
    answer_bytes: int
    headers: tuple[str, ...] = ()
    body_bytes: int = 0
    demand: Demand | None = None


SLEEP = (Route("/wait-20", 1.0, 0.02),)
BURN = (Route("/burn-2", 1.0, 0.002),)
MIX = (Route("/wait-20", 0.95, 0.02), Route("/wait-400", 0.05, 0.4))
RETRIES = 2
BURN_CONNECTIONS = 8
"""For the closed loop that finds the capacity: two for each thread."""


def _goodput(name: str, title: str, demand: Demand) -> Workload:
    connections = BURN_CONNECTIONS if demand.measured else 0
    return Workload(
        f"goodput-{name}", title, Kind.GOODPUT, demand.routes[0].path, connections, HELLO_BYTES, demand=demand
    )


WORKLOADS = (
    Workload("hello-1", "13 bytes of text, 1 connection", Kind.LOAD, "/", 1, HELLO_BYTES),
    Workload("hello-64", "13 bytes of text, 64 connections", Kind.LOAD, "/", 64, HELLO_BYTES),
    Workload("hello-1000", "13 bytes of text, 1,000 connections", Kind.LOAD, "/", 1000, HELLO_BYTES),
    Workload(
        "page",
        "10 KB, 12 request headers, 64 connections",
        Kind.LOAD,
        "/10k",
        64,
        PAGE_BYTES,
        BROWSER_HEADERS,
    ),
    Workload(
        "post",
        "64 KiB posted and read whole, 16 connections",
        Kind.LOAD,
        "/echo",
        16,
        len(str(POST_BYTES)),
        body_bytes=POST_BYTES,
    ),
    Workload(
        "close",
        "13 bytes of text, a connection for each request, 16 at once",
        Kind.CLOSE,
        "/",
        16,
        HELLO_BYTES,
        ("Connection: close",),
    ),
    Workload("file", "a file of 100 MB, 2 connections", Kind.FILE, "/file", 2, FILE_BYTES),
    Workload(
        "static-1k",
        "a static file of 1 KiB, 64 connections",
        Kind.STATIC,
        "/static/1k.bin",
        64,
        STATIC_FILES["1k.bin"],
    ),
    Workload(
        "static-1m",
        "a static file of 1 MiB, 16 connections",
        Kind.STATIC,
        "/static/1m.bin",
        16,
        STATIC_FILES["1m.bin"],
    ),
    Workload("idle", "idle kept-alive connections", Kind.IDLE, "/", 0, HELLO_BYTES),
    Workload("preload-1", "200 MB preloaded, 1 process, 10,000 requests", Kind.PRELOAD, "/", 16, HELLO_BYTES),
    Workload(
        "preload-4", "200 MB preloaded, 4 processes, 10,000 requests", Kind.PRELOAD, "/", 16, HELLO_BYTES
    ),
    Workload("start", "start-up, and memory after a hello load", Kind.START, "/", 64, HELLO_BYTES),
    _goodput("sleep-kept", "20 ms of waiting, kept connections", Demand(SLEEP)),
    _goodput("sleep-new", "20 ms of waiting, new connections", Demand(SLEEP, fresh=True)),
    _goodput(
        "sleep-retry",
        "20 ms of waiting, clients that ask again at once",
        Demand(SLEEP, retries=RETRIES),
    ),
    _goodput("burn-kept", "2 ms of the processor, kept connections", Demand(BURN, True)),
    _goodput("burn-new", "2 ms of the processor, new connections", Demand(BURN, True, fresh=True)),
    _goodput("mix-kept", "20 ms of waiting, 5 % 400 ms, kept connections", Demand(MIX)),
    _goodput("mix-new", "20 ms of waiting, 5 % 400 ms, new connections", Demand(MIX, fresh=True)),
)


def selected(items: tuple[T, ...], names: str, key: str) -> tuple[T, ...]:
    """The items that a list names, whole ("hello-64") or by family ("hello"). ValueError for others."""
    if not names:
        return items
    chosen: list[T] = []
    for name in names.split(","):
        found = [item for item in items if _belongs(getattr(item, key), name.strip())]
        if not found:
            known = ", ".join(getattr(item, key) for item in items)
            raise ValueError(f"nothing here is called {name.strip()!r}; there are {known}")
        chosen += found
    return tuple(item for item in items if item in chosen)


def _belongs(item: str, name: str) -> bool:
    return item == name or item.startswith(name + "-")
