"""What a server opens with the rights of the user that starts it, before it switches to another: log, directories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from halfsync.errors import UsageError, reason_of
from halfsync.observe.logfile import open_log
from halfsync.runtime.originals import os
from halfsync.transport.certificates import load_tls

if TYPE_CHECKING:
    from types import TracebackType

    from halfsync.host.identity import Identity
    from halfsync.settings import Settings
    from halfsync.transport.tls import Tls


@dataclass(frozen=True, slots=True)
class Opened:
    """Descriptors that belong to the code that made this, and that `close` closes. Servers make copies.

    access_log: the access log's; -1: there is none. directories: those of static files, each with its prefix. tls: the
    certificates with their keys; None: no listener speaks TLS.
    """

    access_log: int = -1
    directories: tuple[tuple[bytes, int], ...] = ()
    tls: Tls | None = None

    @classmethod
    def of(cls, settings: Settings, identity: Identity | None = None, *, tls: Tls | None = None) -> Self:
        """Open what the settings name. Raises UsageError.

        identity: the user that this process will become. tls: the certificates, if they were loaded already.
        """
        tls = tls or load_tls(settings)
        directories: tuple[tuple[bytes, int], ...] = ()
        if settings.static:
            from halfsync.static.mounts import open_directories  # noqa: PLC0415 - only static files need it

            directories = open_directories(settings, identity)
        opened = cls(directories=directories, tls=tls)
        if settings.access_log is None:
            return opened
        try:
            return cls(open_log(settings.access_log, identity), directories, tls)
        except OSError as error:
            opened.close()
            raise UsageError(
                f"the access log {settings.access_log!r} cannot be opened: {reason_of(error)}",
                origin=settings.origins.get("access_log", ""),
                remedy=_remedy(identity),
            ) from None
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (self.access_log, *(each for _, each in self.directories)):
            if descriptor >= 0:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _remedy(identity: Identity | None) -> str:
    if identity is None or not identity.changes:
        return "name a file that can be written to, or - for standard output"
    return (
        f"name a file that {identity} may write to, or one that nobody but root can replace (each directory on the way "
        "to it is root's, and others may not write to it), or - for standard output"
    )
