"""Functions of the application that are called at certain points in the life of a serving process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfsync.errors import LoadError
from halfsync.loading.hooks import load_hook
from halfsync.log import logger
from halfsync.runtime.forking import NoCopies

if TYPE_CHECKING:
    from halfsync.settings import Settings

POST_FORK, WORKER_READY, WORKER_EXIT = "post_fork", "worker_ready", "worker_exit"
HOOKS = (POST_FORK, WORKER_READY, WORKER_EXIT)


@dataclass(frozen=True, slots=True)
class Worker:
    """A serving process, as its hooks get it. number: its place, from 1 to the number of processes. pid: its pid.

    The process that replaces it has the same place from its start, so for a time two processes have that number.

    generation: how often the settings and the application were loaded before it; a reload adds one.
    """

    number: int
    pid: int
    generation: int


def check_hooks(settings: Settings) -> None:
    """Import the hooks that the settings name. Raises LoadError for one that is missing or cannot be called."""
    for name in HOOKS:
        target = getattr(settings, name)
        if target is not None:
            load_hook(target, origin=name)


def call_hook(name: str, settings: Settings, worker: Worker) -> None:
    """Call a hook, if the settings name it, in the serving process that it is about.

    An exception in it is logged with its traceback, and goes no further. But if post_fork fails, LoadError is raised:
    the process must not serve, and ends with that error's exit code. KeyboardInterrupt passes through post_fork, as
    through everything that loads the application.
    """
    target = getattr(settings, name)
    if target is None:
        return
    try:
        with NoCopies():
            load_hook(target, origin=name)(worker)
    except BaseException as error:
        if name == POST_FORK and isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, LoadError):
            logger().error("%s%s", error.traceback, error)
        else:
            logger().error(
                "the hook %s failed in worker %d: %s",
                *(name, worker.number, target),
                exc_info=(type(error), error, error.__traceback__),
            )
        if name == POST_FORK:
            raise LoadError(
                f"worker {worker.number} does not serve: its hook failed",
                origin=f"{name} {target}",
                remedy="the log above shows why",
            ) from error
