"""The directory of the application: the working directory, and the first place where modules are found."""

import sys
from collections.abc import Iterable

from halfsync.errors import UsageError, reason_of
from halfsync.log import warn
from halfsync.runtime.originals import os
from halfsync.runtime.standard import keep_apart, keep_new_apart

_entered = ""  # the directory that `enter` has put first on sys.path
_added: list[str] = []  # directories that `add_paths` has put behind it


def enter(chdir: str | None) -> None:
    """Change to the directory, and put it first on sys.path, in the place of one that was entered before.

    Raises UsageError if it cannot be entered.
    """
    global _entered  # noqa: PLW0603 - like sys.path, it belongs to the process
    directory = change_to(chdir)
    if sys.path[:1] != [directory]:
        hidden = [file for file in keep_apart(directory) if os.path.dirname(file) == directory]
        if sys.path[:1] != [_entered]:
            sys.path.insert(0, directory)
        tell_hidden(hidden)
    sys.path[0] = _entered = directory


def change_to(chdir: str | None) -> str:
    """Change to the directory, if it is not None, and return the path of the working directory. Raises UsageError."""
    try:
        if chdir is not None:
            os.chdir(chdir)
        return os.getcwd()
    except OSError as error:
        reason = reason_of(error)
        if chdir is not None:
            problem, remedy = f"cannot change to {chdir!r}: {reason}", "name a directory that exists"
        else:
            problem = f"the directory in which the server was started cannot be found: {reason}"
            remedy = "start it in one that exists, or give the whole path of the application's with --chdir"
        origin = "" if chdir is None else "chdir"
        raise UsageError(problem, origin=origin, remedy=remedy) from None


def tell_hidden(files: list[str]) -> None:
    """Log which files of the application cannot be imported, because the server needs the standard modules."""
    for directory in dict.fromkeys(os.path.dirname(file) for file in files):
        warn(
            "modules of the standard library are loaded already, and hide modules of the same names in %s: %s; "
            "rename those if the application imports them",
            directory,
            ", ".join(os.path.basename(file) for file in files if os.path.dirname(file) == directory),
        )


def add_paths(directories: Iterable[str]) -> None:
    """Let modules be found in these directories, after the application's, in the place of those added before.

    Raises UsageError for one that is missing; then nothing has changed. Call `enter` first.
    """
    wanted = [os.path.abspath(directory) for directory in directories]
    for directory in wanted:
        if not os.path.isdir(directory):
            raise UsageError(
                f"there is no directory {directory}",
                origin="pythonpath",
                remedy="name directories that exist",
            )
    if wanted == _added:
        return
    for directory in _added:
        if directory in sys.path[1:]:
            del sys.path[sys.path.index(directory, 1)]
    sys.path[1:1] = wanted
    _added[:] = wanted
    tell_hidden(keep_new_apart())
