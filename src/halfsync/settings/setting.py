"""The declaration of one setting: its groups, and how a change of it takes effect."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

from halfsync.errors import UsageError
from halfsync.settings.kinds import Kind

T = TypeVar("T")

APPLICATION = "Application"
CONCURRENCY = "Concurrency"
SOCKETS = "Sockets"
TLS = "TLS"
PROXIES = "Proxies in front"
REQUESTS = "What a client may send"
MEMORY = "Memory and disk"
DEADLINES = "Deadlines"
LOGGING = "Logging"
PROCESSES = "Processes"
FILES = "Static files"
GROUPS = (
    SOCKETS,
    TLS,
    PROXIES,
    CONCURRENCY,
    PROCESSES,
    APPLICATION,
    FILES,
    LOGGING,
    DEADLINES,
    REQUESTS,
    MEMORY,
)

DEFAULT_ORIGIN = "default"
ARGUMENT_ORIGIN = "argument"
# How a change takes effect, if not by a reload.
OPEN_SOCKETS = "the sockets that are open keep what they have until a restart"
AT_START = "only a restart or SIGUSR2 applies it"


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting.

    ``convention`` is a variable that hosting platforms set, and a template of the value that it means; it counts only
    if nothing else gives the setting. ``reload`` says how a change takes effect if a reload (SIGHUP) does not apply it;
    "": a reload applies it. ``aliases``: other servers' names for it, with the same meaning, as options.
    """

    name: str
    default: Any
    kind: Kind[Any]
    group: str
    doc: str
    reason: str
    short: str
    convention: tuple[str, str] | None
    reload: str
    aliases: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The command line's long option."""
        return spell_flag(self.name)

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "HALFSYNC_" + self.name.upper()

    def convert(self, raw: object, label: str) -> Any:
        """Return a valid value. ``label``: where it came from, for the error. Raises UsageError only."""
        try:
            return self.kind.convert(raw)
        except UsageError as error:
            problem, remedy = error.problem, error.remedy
        except Exception:  # noqa: BLE001 - the caller's object may raise anything
            refusal = self.kind.refuse(raw)
            problem, remedy = refusal.problem, refusal.remedy
        raise UsageError(problem, origin=label, remedy=remedy)


def spell_flag(name: str) -> str:
    """Return a name as an option of the command line."""
    return "--" + name.replace("_", "-")


def setting(
    default: T,
    kind: Kind[T],
    group: str,
    doc: str,
    *,
    reason: str,
    short: str = "",
    convention: tuple[str, str] | None = None,
    reload: str = "",
    aliases: str = "",
) -> T:
    """Declare one setting: return a dataclass field whose metadata has the rest of the declaration (see Setting)."""
    said = {
        "kind": kind, "group": group, "doc": doc, "reason": reason, "short": short,
        "convention": convention, "reload": reload, "aliases": tuple(aliases.split()),
    }  # fmt: skip
    return field(default=default, metadata=said)
