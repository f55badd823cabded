"""Functions of the application that are called at certain points in the life of a server and its serving processes.

Some are called in the supervisor, by its one thread, which does nothing else until they return. The others are called
in the serving process that they are about, by its main thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfsync.errors import LoadError
from halfsync.loading.hooks import load_hook
from halfsync.log import logger, logger_for_hooks
from halfsync.runtime.forking import NoCopies
from halfsync.runtime.originals import os

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable

    from halfsync.settings import Settings

ON_STARTING, WHEN_READY, ON_RELOAD = "on_starting", "when_ready", "on_reload"
PRE_FORK, CHILD_EXIT = "pre_fork", "child_exit"
POST_FORK, WORKER_READY, WORKER_EXIT = "post_fork", "worker_ready", "worker_exit"
OF_SERVER = (ON_STARTING, WHEN_READY, ON_RELOAD)  # those that are called with the supervisor
IN_SUPERVISOR = (ON_STARTING, PRE_FORK, WHEN_READY, ON_RELOAD, CHILD_EXIT)
IN_WORKER = (POST_FORK, WORKER_READY, WORKER_EXIT)
HOOKS = (*IN_SUPERVISOR, *IN_WORKER)
RAISING = (
    ON_STARTING,
    PRE_FORK,
    POST_FORK,
    ON_RELOAD,
)  # an error in one of these keeps something from being done


@dataclass(frozen=True, slots=True)
class SupervisorInfo:
    """The supervisor, as hooks get it. pid: its pid. generation: as of `Worker`, of the settings that count."""

    pid: int
    generation: int

    @property
    def log(self) -> logging.Logger:
        """A logger whose lines are in the server's log."""
        return logger_for_hooks()


@dataclass(frozen=True, slots=True)
class Worker:
    """A serving process, as its hooks get it. number: its place, from 1 to the number of processes. pid: its pid.

    The process that replaces it has the same place from its start, so for a time two processes have that number.

    generation: how often the settings and the application were loaded before it; a reload adds one. pid is 0 before
    the process is forked.
    """

    number: int
    pid: int
    generation: int

    @property
    def log(self) -> logging.Logger:
        """A logger whose lines are in the server's log."""
        return logger_for_hooks()


def check_hooks(settings: Settings, names: Iterable[str] = HOOKS) -> None:
    """Import the hooks that the settings name. Raises LoadError for one that is missing or cannot be called."""
    for name in names:
        target = getattr(settings, name)
        if target is not None:
            load_hook(target, origin=name, takes=_taken(name))


def _taken(name: str) -> tuple[str, ...]:
    return ("server",) if name in OF_SERVER else ("server", "worker")


def call_hook(name: str, settings: Settings, subject: Worker | SupervisorInfo) -> None:
    """Call a hook, if the settings name it, with the process that it is about.

    An exception in it is logged with its traceback, and goes no further. But if one of RAISING fails, LoadError is
    raised: what the hook comes before must not be done. KeyboardInterrupt passes through post_fork and on_starting, as
    through everything that loads the application.
    """
    target = getattr(settings, name)
    if target is None:
        return
    about, refusal = _describe(name, subject)
    try:
        with NoCopies():
            hook = load_hook(target, origin=name, takes=_taken(name))
            hook(*_arguments(name, subject))
    except BaseException as error:
        if name in (POST_FORK, ON_STARTING) and isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, LoadError):
            logger().error("%s%s", error.traceback, error)
        else:
            logger().error(
                "the hook %s failed%s: %s",
                *(name, about, target),
                exc_info=(type(error), error, error.__traceback__),
            )
        if name in RAISING:
            raise LoadError(
                f"{refusal}: its hook failed", origin=f"{name} {target}", remedy="the log above shows why"
            ) from error


def _arguments(name: str, subject: Worker | SupervisorInfo) -> tuple[object, ...]:
    if isinstance(subject, SupervisorInfo):
        return (subject,)
    pid = os.getpid() if name in IN_SUPERVISOR else os.getppid()
    return SupervisorInfo(pid, subject.generation), subject


def _describe(name: str, subject: Worker | SupervisorInfo) -> tuple[str, str]:
    """Return the end of a sentence about a hook's failure, and what is not done if the hook is one of RAISING."""
    if isinstance(subject, Worker):
        refusal = "is not started" if name == PRE_FORK else "does not serve"
        return f" in worker {subject.number}" if name in IN_WORKER else f" for worker {subject.number}", (
            f"worker {subject.number} {refusal}"
        )
    return "", "the settings are not used" if name == ON_RELOAD else "the server does not start"
