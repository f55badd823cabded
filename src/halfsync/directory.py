"""Where the command line was given: relative paths begin there, at the start, at a reload and after an upgrade."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from halfsync.originals import os

if TYPE_CHECKING:
    from collections.abc import Iterator


class StartDirectory:
    """The directory that this process is in when it is made, under the name that was meant.

    A deploy often switches a link to the new release. The kernel knows only which directory the link led to; `$PWD`
    still has the link's name. If both are the same directory now, that name is kept, and leads to the new release
    later. ``name`` is "" if there is none: the directory has been removed.
    """

    def __init__(self) -> None:
        self.name = _find_name()
        self._descriptor = _open_here()  # if that is not allowed the name must do

    def enter(self) -> None:
        """Be where the name leads now; if that is nowhere, in the directory of the start, even if it was moved.

        If it was removed, its name is one that nothing relative can be found under. Raises OSError if it cannot be
        entered either way.
        """
        try:
            os.chdir(self.name)
        except OSError:
            if self._descriptor < 0:
                raise
            os.chdir(self._descriptor)

    def close(self) -> None:
        """Close what it has open: in a forked process that goes there no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be there for a while, and then again in the directory of before, whatever has become of that."""
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
    """Open the working directory, to come back to it; -1: that is not allowed."""
    try:
        return os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1


def is_removed() -> bool:
    """Tell whether the working directory has been removed: nothing can be found in it, or made."""
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
