"""What a server opens with the rights of whoever starts it, before it becomes another user: its log and directories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from halfsync.errors import UsageError, reason_of
from halfsync.observe.logfile import open_log
from halfsync.originals import os

if TYPE_CHECKING:
    from types import TracebackType

    from halfsync.settings import Settings


@dataclass(frozen=True, slots=True)
class Opened:
    """Descriptors that belong to whoever made this, and are closed by `close`. Servers make copies.

    access_log: of the access log; -1: there is none. directories: of static files, each with its prefix.
    """

    access_log: int = -1
    directories: tuple[tuple[bytes, int], ...] = ()

    @classmethod
    def of(cls, settings: Settings, owner: tuple[int, int] | None = None) -> Self:
        """Open what the settings name. owner: who gets a log that is made now. Raises UsageError."""
        directories: tuple[tuple[bytes, int], ...] = ()
        if settings.static:
            from halfsync.static.mounts import open_directories  # noqa: PLC0415 - only static files need it

            directories = open_directories(settings)
        opened = cls(directories=directories)
        if settings.access_log is None:
            return opened
        try:
            return cls(open_log(settings.access_log, owner), directories)
        except OSError as error:
            opened.close()
            raise UsageError(
                f"the access log {settings.access_log!r} cannot be opened: {reason_of(error)}",
                origin=settings.origins.get("access_log", ""),
                remedy="name a file that can be written to, or - for standard output",
            ) from None

    def close(self) -> None:
        """Close all of it."""
        for descriptor in (self.access_log, *(each for _, each in self.directories)):
            if descriptor >= 0:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
