"""The log lines with which a server begins and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from halfsync.log import logger
from halfsync.runtime.output import counted
from halfsync.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from halfsync.listening.listeners import Listener
    from halfsync.settings import Settings


class Outcome(NamedTuple):
    """The requests of a server that ended: those that it has finished, and those that were cut off."""

    finished: int
    cut: int


def say_sizes(settings: Settings) -> None:
    """Log the values that were chosen for settings that are "auto", if there are any. Call it once for each server."""
    if settings.sized:
        logger().info("halfsync %s", settings.sized)


def announcement(
    settings: Settings,
    listeners: Sequence[Listener],
    admin: Sequence[Listener],
    name: str,
    *,
    processes: int = 0,
) -> str:
    """Return the log line that says that the server serves, and where. admin: where it answers about itself."""
    urls = urls_of(listeners)
    where = urls.replace("http://", "tcp://").replace("https://", "tls://") if settings.stream else urls
    how = f"{counted(processes, 'process', 'processes')}, " if processes else ""
    more = f", its status on {urls_of(admin)}" if admin else ""
    return f"halfsync {VERSION} serves {name} on {where} ({how}{describe_model(settings)}){more}; Ctrl-C stops it"


def urls_of(listeners: Iterable[Listener]) -> str:
    """Return the URLs of these listeners."""
    return ", ".join(listener.url for listener in listeners)


def describe_model(settings: Settings) -> str:
    """Return which model serves, and with how many threads or children."""
    bounds = {
        "process": f"at most {counted(settings.max_children, 'child', 'children')}",
        "thread": "a thread for each connection",
    }
    return f"model {settings.model}, {bounds.get(settings.model, counted(settings.threads, 'thread', 'threads'))}"


def draining(delay: float, grace: float) -> str:
    """Return the log line that says that the server was asked to end. delay and grace: in seconds."""
    first = f"keeps serving for {delay:g} s and then drains" if delay else "drains"
    return f"halfsync {first}: requests received are answered within {grace:g} s"


def farewell(outcome: Outcome, lost: int = 0) -> str:
    """Return the last log line: the requests finished since the order to end, and those cut off.

    lost: connections of processes that died before they could report.
    """
    if not any(outcome) and not lost:
        return "halfsync stopped"
    finished = counted(outcome.finished, "request was", "requests were")
    line = f"halfsync stopped: {finished} still finished, {outcome.cut or 'none'} cut off"
    if lost:
        line += f"; {counted(lost, 'connection', 'connections')} lost with processes that died"
    return line
