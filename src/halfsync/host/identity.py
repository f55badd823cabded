"""The user and the group of a server, and its umask.

`find_identity` looks the names up, and rejects an impossible user or group before anything is opened. `become` gives up
root. What needs root comes before it: listeners below port 1024, the access log, the pidfile, a higher limit on open
files. The user must be in the password file only if it is given by name.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfsync.amounts import digits
from halfsync.errors import UsageError, reason_of
from halfsync.runtime.standard import genuine, import_later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from halfsync.settings import Settings

_ID_MOST = 2**32 - 2  # the next number means "unchanged" (setresuid(2))
_CAP_SETGID, _CAP_SETUID = 6, 7  # capabilities(7)


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and the group to switch to, by number (None: unchanged).

    login: the user's name, whose supplementary groups are set too; "" for a user without a name.
    """

    user: int | None = None
    group: int | None = None
    login: str = ""
    origin: str = ""

    @property
    def changes(self) -> bool:
        """Whether this process still has another user or group."""
        user = self.user is not None and os.getresuid() != (self.user,) * 3
        return user or (self.group is not None and os.getresgid() != (self.group,) * 3)

    @property
    def owner(self) -> tuple[int, int] | None:
        """The owner for files that root makes for this user, as for fchown(2); None: the owner need not change."""
        if not self.changes:
            return None
        return -1 if self.user is None else self.user, -1 if self.group is None else self.group

    def __str__(self) -> str:
        named = [f"{what} {number}" for what, number in (("user", self.user), ("group", self.group))]
        return " and ".join(text for text in named if not text.endswith("None"))


def find_identity(settings: Settings) -> Identity:
    """Return the user and group that the settings name. Raises UsageError for one unknown, or that we cannot become."""
    if settings.user is None and settings.group is None:
        return Identity()
    origins = settings.origins
    user, login, group = None, "", None
    if settings.user is not None:
        user, login, group = _find_user(settings.user, origins.get("user", ""))
    if settings.group is not None:
        group = _find_group(settings.group, origins.get("group", ""))
    origin = origins.get("user" if settings.user is not None else "group", "")
    identity = Identity(user, group, login, origin)
    if identity.changes:
        if group is None:
            raise UsageError(
                f"user {user} is not in the password file, so its group is unknown",
                origin=origin,
                remedy="give group too",
            )
        if not _has_capabilities(b"CapEff"):
            raise UsageError(
                f"only root can switch to {identity}, and this process runs as user {os.geteuid()}",
                origin=origin,
                remedy="start as root, or as that user without this setting",
            )
    return identity


def become(identity: Identity) -> None:
    """Switch to another user and group permanently, in every thread. Raises UsageError if that fails.

    What the server may import later is imported first, since the new user may not be allowed to read the modules.
    Processes that were forked before keep their user, so call this before a server starts to serve. A process that
    wants a signal at its parent's death (PR_SET_PDEATHSIG) must ask for it after this.
    """
    if not identity.changes:
        return
    import_later()
    try:
        # In this order: each step takes away what the one before it needs.
        if identity.group is not None:
            _set_groups(identity)
            os.setresgid(identity.group, identity.group, identity.group)
        if identity.user is not None:
            os.setresuid(identity.user, identity.user, identity.user)
    except OSError as error:
        raise _refuse(identity, error) from None
    _check_for_good(identity)


@contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Have this user's rights in a block, in every thread, and the previous rights after it. Raises UsageError."""
    user, group, groups = os.geteuid(), os.getegid(), os.getgroups()
    try:
        try:
            if identity.group is not None:
                _set_groups(identity)
                os.setegid(identity.group)
            if identity.user is not None:
                os.seteuid(identity.user)
        except OSError as error:
            raise _refuse(identity, error) from None
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)
        if os.getgroups() != groups:
            os.setgroups(groups)


def _set_groups(identity: Identity) -> None:
    """Set the supplementary groups of a user, in the place of root's."""
    if identity.group is not None and identity.login:
        os.initgroups(identity.login, identity.group)
    elif identity.group is not None and identity.user is not None:
        os.setgroups([identity.group])


def _refuse(identity: Identity, error: OSError) -> UsageError:
    reason = reason_of(error)
    return UsageError(
        f"cannot become {identity}: {reason}",
        origin=identity.origin,
        remedy="start as root, with the capabilities SETUID and SETGID",
    )


def read_umask() -> int:
    """Return this process's umask."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def set_umask(settings: Settings) -> None:
    """Set the umask, if the settings give one."""
    if settings.umask is not None:
        os.umask(settings.umask)


def _check_for_good(identity: Identity) -> None:
    """Raise UsageError if this process could become root again, as it can if it keeps root's capabilities."""
    if not identity.user:
        return
    steps: list[Callable[[int], None]] = [os.seteuid]
    if identity.group:
        steps.append(os.setegid)
    possible = _has_capabilities(b"CapPrm")
    for step in steps:
        try:
            step(0)
        except PermissionError:
            continue
        possible = True
    if possible:
        raise UsageError(
            f"as {identity} this process could become root again",
            origin=identity.origin,
            remedy="start it as that user, without the capabilities SETUID and SETGID",
        )


def _has_capabilities(which: bytes) -> bool:
    """Return whether this process may change its user and groups (CapEff), or could allow itself to (CapPrm)."""
    try:
        # As bytes: the user that root has switched to may not be allowed to read a text codec.
        with open("/proc/self/status", "rb") as file:  # noqa: PTH123 - pathlib is not needed for a string
            found = [line.split()[1] for line in file if line.startswith(which)]
        bits = int(found[0], 16)
    except (OSError, ValueError, IndexError):
        return os.geteuid() == 0
    return bool(bits >> _CAP_SETUID & 1 and bits >> _CAP_SETGID & 1)


def _find_user(text: str, origin: str) -> tuple[int, str, int | None]:
    """Return a user's number, name and group. A user given by number needs no entry in the password file."""
    with genuine():
        import pwd  # noqa: PLC0415 - few servers name a user

    number = _number(text)
    try:
        entry = pwd.getpwnam(text) if number is None else pwd.getpwuid(number)
    except KeyError:
        if number is None:
            raise _unknown("user", text, origin) from None
        return number, "", None
    return entry.pw_uid, entry.pw_name, entry.pw_gid


def _find_group(text: str, origin: str) -> int:
    with genuine():
        import grp  # noqa: PLC0415 - as above

    number = _number(text)
    try:
        return grp.getgrnam(text).gr_gid if number is None else number
    except KeyError:
        raise _unknown("group", text, origin) from None


def _number(text: str) -> int | None:
    number = digits(text)
    return None if number is None or number > _ID_MOST else number


def _unknown(kind: str, text: str, origin: str) -> UsageError:
    return UsageError(
        f"there is no {kind} {text!r}", origin=origin, remedy="check the name, or give its number"
    )
