"""The file with the pid of the process to which signals are sent."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from halfsync.errors import UsageError, reason_of
from halfsync.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfsync.settings import Settings

_DIGITS_MOST = 10
_READ_BYTES = 64  # more than any pid has; a file that is so long is not a pidfile
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class PidFile:
    """A file with this process's pid, written as a whole, and removed only by the process that wrote it.

    One process owns it. A forked child that calls `remove` removes nothing. Pids are reused, so after a crash another
    process may seem to hold the file; a person must remove it then. origin: where the path came from, for errors.
    heir_of: the pid of a process whose place this one takes, and which may hold the file until then; 0: none.
    """

    def __init__(self, path: str, *, origin: str = "", heir_of: int = 0) -> None:
        self.path = os.path.abspath(path)  # noqa: PTH100 - pathlib is not needed for a string
        self._origin = origin
        self._heir_of = heir_of
        self._written: tuple[int, int, int] | None = None  # the writer's pid; device and inode

    @classmethod
    def of(cls, settings: Settings, *, heir_of: int = 0) -> Self | None:
        """Return the file that the settings name. None: they name none."""
        if settings.pidfile is None:
            return None
        return cls(settings.pidfile, origin=settings.origins.get("pidfile", ""), heir_of=heir_of)

    @classmethod
    @contextmanager
    def writing(cls, settings: Settings) -> Iterator[None]:
        """Keep this process's pid in the file during the block, if the settings name one. Raises UsageError."""
        file = cls.of(settings)
        if file is None:
            yield
            return
        file.write()
        try:
            yield
        finally:
            file.remove()

    def check(self) -> bool:
        """Return whether the file exists. Raises UsageError if a live process holds it, or it cannot be written."""
        folder = os.path.dirname(self.path)  # noqa: PTH120 - as above
        exists = os.path.isdir(folder)  # noqa: PTH112 - as above
        if exists and not os.access(folder, os.W_OK | os.X_OK):
            raise self._refuse("cannot be written", "its directory is not writable")
        try:
            content = self._read()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and exists:
                return False
            raise self._refuse(f"cannot be {'read' if exists else 'written'}", reason_of(error)) from None
        if content == b"":
            return True  # left by the crash of a program that writes in place
        if not content.isdigit() or len(content) > _DIGITS_MOST:
            raise UsageError(
                f"{self.path} exists, and does not contain a pid",
                origin=self._origin,
                remedy="choose another path, or remove it",
            )
        holder = int(content)
        # In a container, the previous server often had the same pid as this process.
        if holder not in (os.getpid(), self._heir_of) and _is_alive(holder):
            raise UsageError(
                f"{self.path} belongs to process {holder}, which is running",
                origin=self._origin,
                remedy="stop it; or remove the file if that process is not halfsync",
            )
        return True

    def _read(self) -> bytes:
        """Return the file's content, without white space around it. Raises UsageError if it is not a regular file.

        Nothing else is opened: a pipe could block, and a device could do anything. A link is not followed: else a user
        who may make a link in the directory could choose the file that root replaces.
        """
        kind = os.lstat(self.path).st_mode
        if not stat.S_ISREG(kind):
            raise self._refuse_kind(kind)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, _READ_BYTES)
        finally:
            os.close(descriptor)
        return content if len(content) == _READ_BYTES else content.strip()

    def _refuse_kind(self, kind: int) -> UsageError:
        if stat.S_ISLNK(kind):
            return UsageError(
                f"{self.path} is a link to {os.readlink(self.path)!r}, and links are not followed",  # noqa: PTH115
                origin=self._origin,
                remedy="name the file itself, or remove the link",
            )
        return UsageError(
            f"{self.path} exists, and is {_KINDS.get(stat.S_IFMT(kind), 'a device')}",
            origin=self._origin,
            remedy="choose another path, or remove it",
        )

    def write(self) -> None:
        """Write this process's pid. Raises UsageError if a live process holds the file, or it cannot be written."""
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
            raise self._refuse("cannot be written", reason_of(error)) from None
        finally:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108 - as above
        self._written = (os.getpid(), found.st_dev, found.st_ino)

    def _put(self, temporary: str, *, replace: bool) -> None:
        """Give the file its name. Of two processes that start at the same time, one finds that the name is taken."""
        if not replace:
            try:
                os.link(temporary, self.path)
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
        os.replace(temporary, self.path)  # noqa: PTH105 - as above

    def is_there(self) -> bool:
        """Return whether the file is still the one that this object has written. Raises OSError if it cannot tell."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return self._written is not None and self._written[1:] == (found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove the file, if it is still the one that this process wrote. Never raises."""
        if self._written is None or self._written[0] != os.getpid():
            return
        try:
            if self.is_there():
                os.unlink(self.path)  # noqa: PTH108 - as above
        except OSError as error:
            # A process that has given up root may not be allowed to. The next start finds that no process holds it.
            logger().warning("%s cannot be removed: %s", self.path, reason_of(error))
        self._written = None

    def _refuse(self, what: str, reason: str) -> UsageError:
        return UsageError(
            f"{self.path} {what}: {reason}",
            origin=self._origin,
            remedy="name a file in a directory that can be written to",
        )


def move_pidfile(old: PidFile | None, new: PidFile | None) -> PidFile | None:
    """Write the new pidfile, then remove the old one. Return the one that is in use afterwards.

    If both are the same, it is written again if the file is gone.
    """
    if new is old and (old is None or old.is_there()):
        return old
    if new is not None:
        try:
            new.write()
            logger().info("the pidfile is %s", new.path)
        except UsageError as error:
            state = "the pidfile is gone" if new is old else "the pidfile stays in its old place"
            logger().error("%s: %s", state, error)
            return old
    if old is not None and old is not new:
        old.remove()
        if new is None:
            logger().info("the pidfile is no longer set; it was %s", old.path)
    return new


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it exists, and is another user's
    return process > 0 and not _is_over(process)


def _is_over(process: int) -> bool:
    """Return whether a process is a zombie: it has ended, and its parent may never ask for its exit code."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123 - as above
            return file.read().rpartition(b")")[2].split()[:1] == [b"Z"]
    except OSError:
        return False
