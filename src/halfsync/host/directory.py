"""The directory in which the server was started. Relative paths begin there, also at a reload and after an upgrade."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from halfsync.runtime.originals import os

if TYPE_CHECKING:
    from collections.abc import Iterator


class StartDirectory:
    """The working directory at the time when this object is made, under the shell's name for it.

    A deploy often switches a link to the new release. The kernel knows only which directory the link led to; `$PWD`
    still has the link's name. If both are the same directory at the start, the link's name is kept, and leads to the
    new release later. ``name`` is "" if the directory has been removed.
    """

    def __init__(self) -> None:
        self.name = _find_name()
        self._descriptor = _open_here()  # -1: it cannot be opened, so there is only the name

    def enter(self) -> None:
        """Change to the directory that the name leads to now. If there is none, change to the original directory.

        The original one may have been moved. If it was removed, no relative path can be found in it. Raises OSError if
        neither can be entered.
        """
        try:
            os.chdir(self.name)
        except OSError:
            if self._descriptor < 0:
                raise
            os.chdir(self._descriptor)

    def close(self) -> None:
        """Close the descriptor, in a forked process that will not enter the directory again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Change to the directory for a block, and then back to the one before, even if that was moved or removed."""
        before = _open_here()
        try:
            self.enter()
            yield
        finally:
            if before >= 0:
                try:
                    os.chdir(before)
                finally:
                    os.close(before)


def _open_here() -> int:
    """Return a descriptor of the working directory, for changing back to it; -1: it cannot be opened."""
    try:
        return os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1


def is_removed() -> bool:
    """Return whether the working directory has been removed: nothing can be found or made in it."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _find_name() -> str:
    try:
        actual = os.getcwd()
    except OSError:
        return ""
    meant = os.environ.get("PWD", "")
    try:
        if meant.startswith("/") and os.path.samefile(meant, "."):
            return meant
    except OSError:
        pass  # it names nothing
    return actual
