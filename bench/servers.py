"""The servers that are compared: one table, with the command and the settings of each, and the reasons.

Every Python server gets one process, four threads of application code if it has threads, no access log,
and raised limits if its defaults would refuse the workload (1,000 connections, 15,000 idle ones). If it has more
settings, it gets those with the least CPU per request in measurements. Servers that make a process or a thread for
each connection make as many as there are connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from bench.workloads import WORKLOADS, Kind, Workload

APPS = Path(__file__).with_name("apps")
MANY = 20_000
"""A connection limit beyond any workload."""
IDLE_MANY = 15_000
IDLE_FEW = 1_000
"""For servers with a thread pool in front, which take long to open more, and with a process for each connection."""
IDLE_THREADS = 5_000
"""For servers with a thread for each connection."""
IDLE_POOL = 40
"""About as many as a pool of four threads holds: while others wait, it closes those that are silent for a second."""
QUEUE_CONNECTIONS = 40
"""The limit with which the peers answer most in time under overload, of 16, 40 and none: ten for each thread, so that
what waits does so for 0.2 s if turns take 20 ms, and for 0.4 s in the mix. It counts idle connections too."""
QUEUE_BACKLOG = 16
"""With it: what the kernel accepts while a server does not waits as well, in addition."""
CHILDREN = 1_100
"""Processes, one for each connection: a thousand, and those beside them."""
LEFT_OUT = "left out to keep a run short"
SHOWN_ONCE = "goodput-sleep-kept"
"""The workload that peers have with their default limits too."""
NO_KEEP_ALIVE = "no keep-alive, and so no idle connection"


class Role(Enum):
    """The purpose of a row."""

    OURS = "halfsync"
    MODEL = "halfsync, with another model"
    FLOOR = "floor"
    PEER = "peer"
    BASELINE = "the standard library"


@dataclass(frozen=True, slots=True)
class Kit:
    """Where the programs are that the arms run."""

    halfsync_python: str
    halfsync_args: tuple[str, ...]
    peers: Path
    build: Path

    def peer(self, program: str) -> str:
        """A program of the peers' environment."""
        return str(self.peers / "bin" / program)

    @property
    def file(self) -> Path:
        """The large file that the file workload serves."""
        return self.build / "large.bin"

    @property
    def static(self) -> Path:
        """The folder of the files that servers serve by themselves."""
        return self.build / "static"

    def reply(self, workload: Workload) -> Path:
        """The whole response that the floor gives in a workload."""
        name = workload.path.strip("/") or "hello"
        return self.build / f"reply-{name}{'-close' if workload.kind is Kind.CLOSE else ''}.bin"


Command = Callable[[Kit, int, Workload], list[str]]


@dataclass(frozen=True, slots=True)
class Arm:
    """One row: a server and how it is run.

    `packages` are what it needs from the peers' environment; `skips` are workloads it has no figures for, and why.
    """

    name: str
    role: Role
    command: Command = field(repr=False)
    packages: tuple[str, ...] = ()
    idle: int = IDLE_MANY
    skips: Mapping[str, str] = field(default_factory=dict)

    def takes(self, workload: Workload) -> bool:
        """Whether this row has figures for that workload."""
        return workload.name not in self.skips


def halfsync(*model: str) -> Command:
    def command(kit: Kit, port: int, workload: Workload) -> list[str]:
        where = ["-b", f"127.0.0.1:{port}", "--threads", "4", "--chdir", str(APPS)]
        if workload.kind is Kind.STATIC:
            where += ["--static", f"/static={kit.static}"]
        if workload.kind is Kind.PRELOAD:
            where += ["--preload", "--workers", processes(workload)]
        # The row's own options come last, and so count.
        serve = [kit.halfsync_python, "-m", "halfsync", "serve", application(workload)]
        return [*serve, *where, *kit.halfsync_args, *model]

    return command


def application(workload: Workload) -> str:
    """What to load for a workload."""
    return "heavy:app" if workload.kind is Kind.PRELOAD else "app:app"


def processes(workload: Workload) -> str:
    """How many processes serve a workload: its name ends with the number, unless that is one."""
    return workload.name.rpartition("-")[2] if workload.kind is Kind.PRELOAD else "1"


def connection_limits(workload: Workload) -> tuple[int, int]:
    """How many connections a peer may accept, and how many the kernel holds beyond them.

    Without a limit they queue what is beyond their capacity until all of it is too late. The peers have no limit that
    counts requests.
    """
    return (QUEUE_CONNECTIONS, QUEUE_BACKLOG) if workload.kind is Kind.GOODPUT else (MANY, 4096)


def mixin(kind: str) -> Command:
    def command(kit: Kit, port: int, _: Workload) -> list[str]:
        # On halfsync's interpreter: it needs no package, and no peer's environment.
        return [kit.halfsync_python, "run_socketserver.py", kind, str(port)]

    return command


def floor(kit: Kit, port: int, workload: Workload) -> list[str]:
    return [str(kit.build / "floor"), str(port), str(kit.reply(workload))]


def nginx(kit: Kit, port: int, _: Workload) -> list[str]:
    config = kit.build / "nginx.conf"
    config.write_text(nginx_config(kit, port))
    # -e: before it has read its configuration nginx would log to a file of the system's.
    return ["nginx", "-p", str(kit.build), "-e", "stderr", "-c", str(config)]


def fastwsgi(kit: Kit, port: int, _: Workload) -> list[str]:
    # One thread runs both the sockets and the application; there is nothing more to choose.
    return [kit.peer("fastwsgi"), "--host", "127.0.0.1", "--port", str(port), "app:app"]


def granian(kit: Kit, port: int, workload: Workload) -> list[str]:
    # Four blocking threads on the multi-threaded runtime, kept to its one thread, cost it least: 13 µs of CPU
    # per hello; one blocking thread on the single-threaded runtime costs 15. --backpressure counts
    # connections. Its backlog is at least 128.
    threads = ["--workers", "1", "--blocking-threads", "4", "--runtime-mode", "mt", "--runtime-threads", "1"]
    connections, backlog = connection_limits(workload)
    limits = ["--backlog", str(max(backlog, 128)), "--backpressure", str(connections)]
    quiet = ["--log-level", "warning", "--no-access-log", "--http", "1", "--no-ws"]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [kit.peer("granian"), "--interface", "wsgi", *threads, *limits, *quiet, *where, "app:app"]


def uvicorn(app: str) -> Command:
    def command(kit: Kit, port: int, _: Workload) -> list[str]:
        fast = ["--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "off"]
        quiet = ["--no-access-log", "--log-level", "warning", "--no-proxy-headers"]
        limits = ["--workers", "1", "--timeout-keep-alive", "120"]
        where = ["--host", "127.0.0.1", "--port", str(port)]
        return [kit.peer("uvicorn"), *fast, *quiet, *limits, *where, app]

    return command


def gunicorn(kit: Kit, port: int, workload: Workload) -> list[str]:
    # gthread is its one threaded worker. The control socket would write to the user's home.
    threads = [
        *GTHREAD,
        "--workers",
        processes(workload),
        *(["--preload"] if workload.kind is Kind.PRELOAD else []),
    ]
    connections, backlog = connection_limits(workload)
    limits = ["--worker-connections", str(connections), "--keep-alive", "120", "--backlog", str(backlog)]
    return [
        kit.peer("gunicorn"),
        *threads,
        *limits,
        "--log-level",
        "warning",
        "-b",
        f"127.0.0.1:{port}",
        application(workload),
    ]


def waitress(kit: Kit, port: int, workload: Workload) -> list[str]:
    # poll, because select ends at descriptor 1,024. By default it takes no more than 100 connections.
    connections, backlog = connection_limits(workload)
    limits = [
        "--threads=4",
        f"--connection-limit={connections}",
        "--asyncore-use-poll",
        f"--backlog={backlog}",
    ]
    return [kit.peer("waitress-serve"), *limits, f"--listen=127.0.0.1:{port}", "app:app"]


def peregrine(kit: Kit, port: int, workload: Workload) -> list[str]:
    # The only peer that answers 503 to a connection too many; the others leave it to wait.
    connections, backlog = connection_limits(workload)
    threads = [
        "--protocol",
        "wsgi",
        "--wsgi-threads",
        "4",
        "--keep-alive",
        "120000",
        "--log-level",
        "warning",
    ]
    limits = ["--max-connections", str(connections), "--backlog", str(backlog)]
    return [kit.peer("peregrine"), *threads, *limits, "--port", str(port), "app:app"]


def default(program: str, *options: str) -> Command:
    """A peer as it is, except for its threads and its port: `{port}` in the options stands for it."""

    def command(kit: Kit, port: int, _: Workload) -> list[str]:
        return [kit.peer(program), *(option.format(port=port) for option in options), "app:app"]

    return command


def cheroot(kit: Kit, port: int, _: Workload) -> list[str]:
    return [kit.peer("python"), "run_cheroot.py", str(port)]


def nginx_config(kit: Kit, port: int) -> str:
    """One worker process, no log, sendfile, no cache of open files; static hello beside the files."""
    temporary = "\n".join(
        f"    {name}_temp_path {kit.build}/nginx-{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
user root;
worker_processes 1;
daemon off;
pid {kit.build}/nginx.pid;
error_log stderr error;
events {{ worker_connections {MANY - 1_000}; }}
http {{
{temporary}
    access_log off;
    sendfile on;
    keepalive_requests 100000000;
    keepalive_timeout 120;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = / {{ return 200 "Hello, World!"; }}
        location = /file {{ alias {kit.file}; }}
        location /static/ {{ alias {kit.static}/; }}
    }}
}}
"""


def skipping(reason: str, *workloads: str) -> dict[str, str]:
    """Workloads that a row has no figures for."""
    return dict.fromkeys(workloads, reason)


NO_GOODPUT = skipping(
    "overload is compared between servers with a pool of threads, one row each",
    *(workload.name for workload in WORKLOADS if workload.kind is Kind.GOODPUT),
)
DEFAULT_SKIPS = skipping(
    "a peer without limits is shown once",
    *(workload.name for workload in WORKLOADS if workload.name != SHOWN_ONCE),
)
ONLY_GOODPUT = skipping(
    LEFT_OUT, *(workload.name for workload in WORKLOADS if workload.kind is not Kind.GOODPUT)
)
NOT_CLOSE = skipping(LEFT_OUT, "close")
NO_STATIC = skipping("static files are compared with nginx only", "static-1k", "static-1m")
NO_PRELOAD = skipping("preloading is compared with gunicorn only", "preload-1", "preload-4")
MODEL_SKIPS = skipping(LEFT_OUT, "file", "static-1k", "static-1m") | NO_PRELOAD
POOLED_SKIPS = NOT_CLOSE | NO_STATIC | NO_PRELOAD
PEER_SKIPS = POOLED_SKIPS | NO_GOODPUT
MIXIN_SKIPS = (
    skipping(LEFT_OUT, "hello-1", "hello-1000", "page", "file")
    | skipping(NO_KEEP_ALIVE, "idle")
    | NO_STATIC
    | NO_PRELOAD
    | NO_GOODPUT
)
GTHREAD = ("--worker-class", "gthread", "--threads", "4", "--no-control-socket")
PROCESS = ("--model", "process", "--max-children", str(CHILDREN))
POOL = ("--model", "pool", "--queue-size", str(MANY))

# In the order of the first round. The twin of halfsync stands apart from it, so that the two have different
# neighbours.
ARMS = (
    Arm("halfsync", Role.OURS, halfsync()),
    Arm("fastwsgi", Role.PEER, fastwsgi, ("fastwsgi",), skips=PEER_SKIPS),
    Arm(
        "floor",
        Role.FLOOR,
        floor,
        skips=skipping("it serves no file", "file", "static-1k", "static-1m") | NO_PRELOAD | NO_GOODPUT,
    ),
    Arm("halfsync-process", Role.MODEL, halfsync(*PROCESS), idle=IDLE_FEW, skips=MODEL_SKIPS | NO_GOODPUT),
    Arm("granian", Role.PEER, granian, ("granian",), skips=POOLED_SKIPS),
    Arm(
        "uvicorn-asgi",
        Role.PEER,
        uvicorn("asgi:app"),
        ("uvicorn", "uvloop", "httptools"),
        skips=PEER_SKIPS,
    ),
    Arm(
        "halfsync-thread",
        Role.MODEL,
        halfsync("--model", "thread"),
        idle=IDLE_THREADS,
        skips=MODEL_SKIPS | NO_GOODPUT,
    ),
    Arm("forking-mixin", Role.BASELINE, mixin("forking"), skips=MIXIN_SKIPS),
    Arm("halfsync-again", Role.OURS, halfsync(), skips=NO_PRELOAD | NO_GOODPUT),
    Arm(
        "nginx",
        Role.FLOOR,
        nginx,
        skips=skipping("it runs no application", "page", "post") | NOT_CLOSE | NO_PRELOAD | NO_GOODPUT,
    ),
    Arm(
        "uvicorn-a2wsgi",
        Role.PEER,
        uvicorn("bridged:app"),
        ("uvicorn", "uvloop", "httptools", "a2wsgi"),
        skips=PEER_SKIPS,
    ),
    Arm("halfsync-pool", Role.MODEL, halfsync(*POOL), idle=IDLE_POOL, skips=MODEL_SKIPS),
    Arm("gunicorn", Role.PEER, gunicorn, ("gunicorn",), IDLE_FEW, NO_STATIC),
    Arm("threading-mixin", Role.BASELINE, mixin("threading"), skips=MIXIN_SKIPS),
    Arm("waitress", Role.PEER, waitress, ("waitress",), IDLE_FEW, POOLED_SKIPS),
    Arm("peregrine", Role.PEER, peregrine, ("peregrine-server",), skips=ONLY_GOODPUT),
    Arm(
        "gunicorn-default",
        Role.PEER,
        default("gunicorn", *GTHREAD, "--log-level=warning", "-b", "127.0.0.1:{port}"),
        ("gunicorn",),
        skips=DEFAULT_SKIPS,
    ),
    Arm(
        "waitress-default",
        Role.PEER,
        default("waitress-serve", "--threads=4", "--listen=127.0.0.1:{port}"),
        ("waitress",),
        skips=DEFAULT_SKIPS,
    ),
    Arm(
        "granian-default",
        Role.PEER,
        default(
            "granian", "--interface=wsgi", "--blocking-threads=4", "--log-level=warning", "--port={port}"
        ),
        ("granian",),
        skips=DEFAULT_SKIPS,
    ),
    Arm(
        "peregrine-default",
        Role.PEER,
        default("peregrine", "--wsgi-threads", "4", "--log-level", "warning", "--port", "{port}"),
        ("peregrine-server",),
        skips=DEFAULT_SKIPS,
    ),
    Arm("cheroot", Role.PEER, cheroot, ("cheroot",), IDLE_FEW, PEER_SKIPS),
)
