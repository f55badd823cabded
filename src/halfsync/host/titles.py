"""What `ps` calls each process, where the package setproctitle is installed; without it, nothing changes."""

from __future__ import annotations

from halfsync.runtime.standard import genuine


def name_supervisor(application: str) -> None:
    """Call this process the supervisor of an application, in `ps` and `top`."""
    _name(f"halfsync: supervisor [{application}]")


def name_worker(number: int, application: str) -> None:
    """Call this process the serving process of a number."""
    _name(f"halfsync: worker {number} [{application}]")


def name_watcher() -> None:
    """Call this process the one that watches sources."""
    _name("halfsync: watcher of sources")


def _name(title: str) -> None:
    try:
        with genuine():
            from setproctitle import setproctitle  # noqa: PLC0415 - it may not be there
    except ImportError:
        return
    # A line break or a control character in it would upset those who read the output of ps.
    setproctitle("".join(character if character.isprintable() else "?" for character in title))
