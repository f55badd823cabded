"""The file that holds the number of the process that takes signals."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from halfsync.errors import UsageError
from halfsync.log import logger

if TYPE_CHECKING:
    from halfsync.settings import Settings

_READ_BYTES = 64  # more than any number has
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class PidFile:
    """A file with this process's number, written whole, and removed only by the process that wrote it.

    One process owns it; a forked child that calls `remove` removes nothing. Numbers are used again, so that after a
    crash another process may seem to hold the file: then a person has to remove it. ``origin`` says in errors where
    the path came from.
    """

    def __init__(self, path: str, *, origin: str = "") -> None:
        self.path = os.path.abspath(path)  # noqa: PTH100 - pathlib is not needed for a string
        self._origin = origin
        self._written: tuple[int, int, int] | None = None  # by which process; device and inode

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the file that the settings name. None: they name none."""
        if settings.pidfile is None:
            return None
        return cls(settings.pidfile, origin=settings.origins.get("pidfile", ""))

    def check(self) -> bool:
        """Raise UsageError where the file is another live process's, or cannot be; returns whether it is there."""
        folder = os.path.dirname(self.path)  # noqa: PTH120 - as above
        exists = os.path.isdir(folder)  # noqa: PTH112 - as above
        if exists and not os.access(folder, os.W_OK | os.X_OK):
            raise self._refuse("cannot be written", "nothing may be written in its directory")
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - as above
                content = file.read(_READ_BYTES).strip()
        except FileNotFoundError as error:
            if not exists:
                raise self._refuse("cannot be written", _reason(error)) from None
            return False
        except OSError as error:
            raise self._refuse("cannot be read", _reason(error)) from None
        if content == b"":
            return True  # the rest of a crash, of somebody who writes it in place
        if not content.isdigit() or len(content) > 10:
            raise UsageError(
                f"{self.path} is there, and holds no number of a process",
                origin=self._origin,
                remedy="choose another path, or remove it",
            )
        holder = int(content)
        # In a container the server of before often had the number that this process has.
        if holder != os.getpid() and _is_alive(holder):
            raise UsageError(
                f"process {holder} holds {self.path}, and is alive",
                origin=self._origin,
                remedy="stop it; or remove the file, if that is no halfsync",
            )
        return True

    def write(self) -> None:
        """Write this process's number. Raises UsageError where another live process holds the file, or none can."""
        temporary = f"{self.path}.{os.getpid()}"
        stale = self.check()
        try:
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108 - as above
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                os.write(descriptor, b"%d\n" % os.getpid())
                found = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            self._put(temporary, replace=stale)
        except FileExistsError:
            raise UsageError(
                f"another process has just written {self.path}", origin=self._origin, remedy="start only one"
            ) from None
        except OSError as error:
            raise self._refuse("cannot be written", _reason(error)) from None
        finally:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108 - as above
        self._written = (os.getpid(), found.st_dev, found.st_ino)

    def _put(self, temporary: str, *, replace: bool) -> None:
        """Give the file its name: of two processes that start at the same time, one finds that it is taken."""
        if not replace:
            try:
                os.link(temporary, self.path)
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
        os.replace(temporary, self.path)  # noqa: PTH105 - as above

    def remove(self) -> None:
        """Remove the file, if it is still the one that this very process wrote. Never raises."""
        if self._written is None or self._written[0] != os.getpid():
            return
        mine, self._written = self._written[1:], None
        try:
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == mine:
                os.unlink(self.path)  # noqa: PTH108 - as above
        except FileNotFoundError:
            pass
        except OSError as error:
            # Who has given up root may not write where root could: the next start finds that nobody holds the file.
            logger().warning("%s cannot be removed: %s", self.path, error.strerror)

    def _refuse(self, what: str, reason: str) -> UsageError:
        return UsageError(
            f"{self.path} {what}: {reason}",
            origin=self._origin,
            remedy="name a file in a directory that can be written to",
        )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is there, and another user's
    return process > 0
