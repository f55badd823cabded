"""Process titles for `ps`, if the package setproctitle is installed. Without it, nothing changes."""

from __future__ import annotations

from halfsync.runtime.standard import genuine


def name_supervisor(application: str) -> None:
    """Title this process the supervisor of an application, in `ps` and `top`."""
    _name(f"halfsync: supervisor [{application}]")


def name_worker(number: int, application: str) -> None:
    """Title this process the serving process with this number."""
    _name(f"halfsync: worker {number} [{application}]")


def name_watcher() -> None:
    """Title this process the watcher of sources."""
    _name("halfsync: source watcher")


def _name(title: str) -> None:
    try:
        with genuine():
            from setproctitle import setproctitle  # noqa: PLC0415 - it may not be installed
    except ImportError:
        return
    # A line break or a control character would confuse readers of the output of ps.
    setproctitle("".join(character if character.isprintable() else "?" for character in title))
