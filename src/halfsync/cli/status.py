"""`halfsync status`: ask a running server what it does now, and print it for a person or for a program.

It asks the engine of `admin_bind`, which answers whatever the application does, over HTTP. docs/status.md has the
members of the answer.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from halfsync.errors import StartError, UsageError, reason_of
from halfsync.listening.binds import TcpBind, UnixBind, parse_bind
from halfsync.log import ids_text
from halfsync.runtime.output import standard_output

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from halfsync.settings import Settings

ANSWER_S = 5.0  # longest time to wait for an answer
STACKS_S = 1.0  # longest time to wait for stacks: a process in which a thread keeps the GIL has none to give
STACKS_CHECK_S = 0.02
WATCH_S = 1.0
CLEAR = "\x1b[H\x1b[2J\x1b[3J"
PHASES = {
    "running": "with a worker",
    "queued": "in the queue",
    "receiving": "sending a request",
    "sending": "reading a response",
    "new": "new",
    "handshake": "shaking hands",
    "idle": "idle",
    "lingering": "closing",
}
LANE_COUNTS = ("running", "taken", "shed", "expired")


class NoAnswerError(StartError):
    """No server answers."""

    exit_code = 1


def address_of(settings: Settings) -> TcpBind | UnixBind:
    """Return where the server answers. Raises UsageError if it is not known."""
    binds = [parse_bind(spec) for spec in settings.admin_bind]
    found = next((bind for bind in binds if isinstance(bind, (TcpBind, UnixBind))), None)
    if found is None:
        raise UsageError(
            "it is not known where the server answers" if binds else "admin_bind is not set",
            origin=settings.origins.get("admin_bind", "") if binds else "",
            remedy="give --admin-bind the address that the server was started with, as in "
            "--admin-bind 127.0.0.1:9000",
        )
    if isinstance(found, UnixBind) and not found.path.startswith("@"):
        return UnixBind(os.path.join(settings.chdir or "", found.path))  # noqa: PTH118 - as the server does it
    if isinstance(found, TcpBind) and found.host in ("", "0.0.0.0", "::"):
        return TcpBind("::1" if found.host == "::" else "127.0.0.1", found.port)
    return found


class _Connection(http.client.HTTPConnection):
    """A connection to an address of either kind."""

    def __init__(self, address: TcpBind | UnixBind) -> None:
        host = address.host if isinstance(address, TcpBind) else "localhost"
        super().__init__(host, address.port if isinstance(address, TcpBind) else 80, timeout=ANSWER_S)
        self._address = address

    def connect(self) -> None:
        if isinstance(self._address, TcpBind):
            super().connect()
            return
        path = self._address.path
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect("\0" + path[1:] if path.startswith("@") else path)


def ask(address: TcpBind | UnixBind, query: str = "") -> bytes:
    """Return the status as JSON. Raises NoAnswerError."""
    connection = _Connection(address)
    where = f"{address.host}:{address.port}" if isinstance(address, TcpBind) else f"unix:{address.path}"
    try:
        connection.request("GET", f"/status{query}")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "what answers does not speak HTTP"
        raise NoAnswerError(
            f"no server answers at {where}: {reason}", remedy="is it running, with this admin_bind?"
        ) from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise NoAnswerError(f"what answers at {where} is no halfsync, or an older one: {response.status}")
    return body


def ask_with_stacks(address: TcpBind | UnixBind) -> bytes:
    """Return the status with the stack of each worker, as far as they are to be had within STACKS_S."""
    until = time.monotonic() + STACKS_S
    body = ask(address, "?stacks")
    while time.monotonic() < until and any(one["stack_awaited"] for one in json.loads(body)["workers"]):
        time.sleep(STACKS_CHECK_S)
        body = ask(address, "?stacks=kept")
    return body


def show_status(settings: Settings, *, as_json: bool, watch: bool, stacks: bool) -> None:
    """Print the status of the server that these settings name; with `watch` each second, until interrupted."""
    address = address_of(settings)
    clear = CLEAR if watch and not as_json and sys.stdout.isatty() else ""
    while True:
        body = ask_with_stacks(address) if stacks else ask(address)
        text = body.decode() if as_json else describe(json.loads(body))
        standard_output.write(f"{clear}{text.rstrip()}\n" + ("" if clear or as_json or not watch else "\n"))
        if not watch:
            return
        time.sleep(WATCH_S)


def describe(status: dict[str, Any]) -> str:
    """Return a status as text for a person."""
    state = "shutting down" if status["shutting_down"] else "ready" if status["ready"] else "not ready"
    phases = [f"{count} {PHASES.get(name, name)}" for name, count in status["connections"].items() if count]
    lines = [
        f"{plain(status['name'])}: {state}, up {span(status['uptime'])}, halfsync {status['halfsync']}",
        f"connections: {', '.join(phases) or 'none'}",
        *_queue(status["queue"]),
        "",
        *table(_processes(status["processes"])),
        "",
        *_workers(status),
        *_lanes(status["lanes"]),
        *_refusals(status),
    ]
    return "\n".join(lines)


def _queue(queue: dict[str, Any] | None) -> list[str]:
    if queue is None:
        return []
    oldest = f", the first of them for {span(queue['oldest'])}" if queue["length"] else ""
    return [f"queue: {queue['length']} wait for a worker{oldest}"]


def _processes(processes: Iterable[dict[str, Any]]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        ("PROCESS", "PID", "STATE", "MODEL", "GENERATION", "UP", "BUSY", "STUCK", "OPEN", "REQUESTS")
    ]
    for one in processes:
        busy = f"{one['working']}/{one['threads']}" if one["threads"] else one["working"]
        rows.append(
            [
                str(value)
                for value in (
                    *(one["number"], one["pid"], one["state"], one["model"], one["generation"]),
                    *(span(one["uptime"]), busy, one["stuck"], one["open"], one["requests"]),
                )
            ]
        )
    return rows


def _workers(status: dict[str, Any]) -> list[str]:
    """Return what each worker runs, the longest first, with its stack if there is one."""
    workers = sorted(status["workers"], key=lambda one: -one["seconds"])
    if not workers:
        return ["no worker has a request"]
    lines = table(
        [
            ("PROCESS", "FOR", "CLIENT", "REQUEST"),
            *((str(one["process"]), span(one["seconds"]), one["client"], _request(one)) for one in workers),
        ]
    )
    shown = [lines[0]]
    for line, one in zip(lines[1:], workers, strict=True):
        shown.append(line)
        if "stack" in one:
            shown += [f"    {each}" for each in _stack(one)]
    if status["left_out"]:
        shown.append(f"and {status['left_out']} more")
    return shown


def _request(worker: dict[str, Any]) -> str:
    """Return what a worker runs; with its stack also the ids by which logs have it."""
    ids = {key: worker[key] for key in ("request_id", "trace_id")}
    return request_of(worker) + (ids_text(ids) if "stack" in worker else "")


def _stack(worker: dict[str, Any]) -> list[str]:
    if worker["stack"] is None:
        return ["its stack is not to be had: it has just begun, or a thread of its process keeps the GIL"]
    return [plain(line) for line in worker["stack"].splitlines()] or ["it runs no Python now"]


def _lanes(lanes: Sequence[dict[str, Any]]) -> list[str]:
    if not lanes:
        return []
    rows = [
        (
            lane["name"],
            str(lane["waiting"]),
            span(lane["oldest"]) if lane["waiting"] else "-",
            *(str(lane[key]) for key in LANE_COUNTS),
        )
        for lane in lanes
    ]
    return ["", *table([("LANE", "WAITING", "OLDEST", *(key.upper() for key in LANE_COUNTS)), *rows])]


def _refusals(status: dict[str, Any]) -> list[str]:
    if not status["refusals"]:
        return []
    rows = [
        (span(one["ago"]), str(one["status"] or "closed"), one["client"], request_of(one), one["reason"])
        for one in status["refusals"]
    ]
    title = ("REFUSED AGO", "ANSWER", "CLIENT", "REQUEST", "REASON")
    return ["", *table([title, *rows]), f"{status['refused']} refused so far"]


def request_of(one: dict[str, Any]) -> str:
    """Return method and path of a request, as far as they are known."""
    return f"{one['method']} {one['path']}{'...' if 'path_length' in one else ''}" if one["method"] else "-"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with aligned columns, of which the last is as wide as it is."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in cells
    ]


def plain(text: str) -> str:
    """Return a text without what could steer a terminal: a client chooses paths."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def span(seconds: float) -> str:
    """Return a duration as a person writes it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days else f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
