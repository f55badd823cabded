"""The kinds of lists that a setting can have: addresses to listen on, directories to serve, peers to believe.

A list is a list in TOML and Python, and one text with commas in a flag or the environment.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from halfsync.amounts import shown
from halfsync.errors import UsageError
from halfsync.listening.binds import parse_bind
from halfsync.runtime.standard import genuine
from halfsync.settings.kinds import NOTHING, Kind

T = TypeVar("T")

PREFIX_MOST = 1024


def begins_path(text: str, *, never: str) -> bool:
    """Return whether the decoded path of a request can begin with this text, or be it. never: characters it has not."""
    return (
        text.startswith("/")
        and text.isprintable()
        and not any(character in text for character in never)
        and not any(segment in ("", ".", "..") for segment in text.removesuffix("/").split("/")[1:])
    )


class ListKind(Kind[tuple[T, ...]]):
    """A kind of several values."""

    def _split(self, raw: object) -> list[object]:
        """Return the items of a list, or of a text with commas. Raises UsageError if it is neither."""
        given = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(given, Iterable):
            raise self.refuse(raw)
        return list(given)


class Binds(ListKind[str]):
    """One or more addresses to listen on, or none if ``optional``; in one text they are separated by commas."""

    metavar = "ADDR"
    accepts = "an address or a list of addresses"

    def __init__(self, *, optional: bool = False) -> None:
        self.optional = optional

    def convert(self, raw: object) -> tuple[str, ...]:
        given = self._split(raw)
        if self.optional and given in ([], [""]):
            return ()
        specs: list[str] = []
        for spec in given:
            if not isinstance(spec, str):
                raise self.refuse(spec)
            text = spec.strip()
            parse_bind(text)
            if text in specs:
                raise UsageError(f"{text!r} is given twice", remedy="name each address once")
            specs.append(text)
        if not specs:
            raise UsageError("no address is given", remedy="give at least one, or leave the setting out")
        return tuple(specs)

    def show(self, value: tuple[str, ...]) -> str:
        return ",".join(value)


class Mounts(ListKind[tuple[str, str]]):
    """Directories by the path under which they are served: ``PREFIX=DIR``; in one text separated by commas.

    A prefix begins with a slash; a slash at its end makes no difference, and "/" is kept as "". The text "none" means
    no directory, so that a flag can override a file.
    """

    metavar = "PREFIX=DIR"
    accepts = "PREFIX=DIR, a list of them, or a table of prefixes and directories"

    def convert(self, raw: object) -> tuple[tuple[str, str], ...]:
        pairs = self._split(raw.items() if isinstance(raw, Mapping) else raw)
        if pairs == [NOTHING]:
            return ()
        mounts: dict[str, str] = {}
        for one in pairs:
            prefix, directory = self._pair(one)
            if prefix in mounts:
                raise UsageError(f"{prefix or '/'} is given twice", remedy="name each prefix once")
            mounts[prefix] = directory
        return tuple(mounts.items())

    def _pair(self, one: object) -> tuple[str, str]:
        if isinstance(one, str):
            prefix, equals, directory = one.partition("=")
            if not equals:
                raise self.refuse(one)
            prefix = prefix.strip()
        elif isinstance(one, Sequence) and len(one) == 2:
            prefix, directory = one[0], os.fspath(one[1]) if isinstance(one[1], os.PathLike) else one[1]
        else:
            raise self.refuse(one)
        if not isinstance(prefix, str) or not isinstance(directory, str):
            raise self.refuse(one)
        directory = directory.strip()
        if not directory or "\0" in directory:
            raise self.refuse(one)
        return self._prefix(prefix), directory

    def _prefix(self, prefix: str) -> str:
        """Return a prefix without its last slash. Raises UsageError if no request's path can begin with it."""
        if len(prefix) > PREFIX_MOST or not begins_path(prefix, never="%?#\\, "):
            raise UsageError(
                f"{shown(prefix)} is not a path that files can be served under",
                remedy="write it like /static, not encoded",
            )
        return prefix.removesuffix("/")

    def show(self, value: tuple[tuple[str, str], ...]) -> str:
        return ",".join(f"{prefix or '/'}={directory}" for prefix, directory in value) or NOTHING


class Files(ListKind[str]):
    """Files by their paths; in one text separated by commas. "none" means no file, so that a flag can override."""

    metavar = "FILE"
    accepts = "a path or a list of paths"

    def convert(self, raw: object) -> tuple[str, ...]:
        given = [raw] if isinstance(raw, os.PathLike) else self._split(raw)
        if given in ([NOTHING], [""]):
            return ()
        return tuple(self._item(one) for one in given)

    def _item(self, one: object) -> str:
        text = os.fspath(one) if isinstance(one, os.PathLike) else one
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            raise self.refuse(one)
        return text.strip()

    def show(self, value: tuple[str, ...]) -> str:
        return ",".join(value) or NOTHING


class Addresses(ListKind[str]):
    """Addresses and networks of peers, ``unix`` for those on unix sockets, ``*`` for all, ``none`` for none."""

    metavar = "IPS"
    accepts = "a list of IP addresses and networks"

    def remedy(self) -> str:
        return "write it like 10.0.0.0/8,192.0.2.1,2001:db8::/32, with unix for unix sockets; or * or none"

    def convert(self, raw: object) -> tuple[str, ...]:
        texts = [one.strip() if isinstance(one, str) else one for one in self._split(raw)]
        if texts in ([NOTHING], [""]):
            return ()
        return tuple(dict.fromkeys(text if text in ("*", "unix") else self._network(text) for text in texts))

    def _network(self, text: object) -> str:
        """Return the canonical text of a network; that of a single address has no length."""
        with genuine():
            import ipaddress  # noqa: PLC0415 - the default does not need it, and it is slow to import

        if not isinstance(text, str) or "%" in text:
            raise self.refuse(text)
        try:
            network = ipaddress.ip_network(text, strict=False)
            address, length = network.network_address, network.prefixlen
            if ipaddress.ip_address(text.partition("/")[0]) != address:
                raise UsageError(
                    f"{text!r} has bits set behind its /{length}", remedy=f"write it as {network.compressed}"
                )
        except ValueError:
            raise self.refuse(text) from None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None and length >= 96:
            address, length = address.ipv4_mapped, length - 96
        return str(address) if length == address.max_prefixlen else f"{address}/{length}"

    def show(self, value: tuple[str, ...]) -> str:
        return ",".join(value) or NOTHING


class Directories(Files):
    """Directories, each once; otherwise as `Files`."""

    metavar = "DIR"
    accepts = "a directory or a list of directories"

    def convert(self, raw: object) -> tuple[str, ...]:
        return tuple(dict.fromkeys(super().convert(raw)))


class Patterns(Directories):
    """Patterns of file names, as shells have them; in one text separated by commas."""

    metavar = "PATTERN"
    accepts = "a pattern of file names or a list of patterns"


class Variables(ListKind[tuple[str, str]]):
    """Variables of the environment by name: a table, or a list of ``NAME=VALUE``.

    "none" means no variable, so that a flag can override a file. In one text they are separated by commas, and a comma
    before anything but the next ``NAME=`` belongs to a value.
    """

    metavar = "NAME=VALUE"
    accepts = "NAME=VALUE, a list of them, or a table of names and values"

    def convert(self, raw: object) -> tuple[tuple[str, str], ...]:
        if isinstance(raw, str):
            given: list[object] = [] if raw in ("", NOTHING) else list(_BEFORE_NAME.split(raw))
        else:
            given = self._split(raw.items() if isinstance(raw, Mapping) else raw)
            given = [] if given == [NOTHING] else given
        variables: dict[str, str] = {}
        for one in given:
            name, value = self._pair(one)
            if name in variables:
                raise UsageError(f"{name} is given twice", remedy="give each variable once")
            variables[name] = value
        return tuple(variables.items())

    def _pair(self, one: object) -> tuple[str, str]:
        if isinstance(one, str):
            name, equals, value = one.partition("=")
            if not equals:
                raise self.refuse(one)
        elif isinstance(one, Sequence) and len(one) == 2:
            name, value = one[0], one[1]
            if type(value) is int and abs(value) < 2**63:
                value = str(value)
        else:
            raise self.refuse(one)
        if not isinstance(name, str) or not isinstance(value, str) or "\0" in value:
            raise self.refuse(one)
        refuse_variable(name.strip())
        return name.strip(), value

    def show(self, value: tuple[tuple[str, str], ...]) -> str:
        return ",".join(f"{name}={text}" for name, text in value) or NOTHING

    def tell(self, value: tuple[tuple[str, str], ...]) -> str:
        """Return the names alone: values are often secrets."""
        return ",".join(f"{name}=..." for name, _ in value) or NOTHING


class SchemeHeaders(ListKind[tuple[str, str]]):
    """Fields of requests with values that mean https: a table, or a list of ``NAME=VALUE``; "none" means none."""

    metavar = "NAME=VALUE"
    accepts = "NAME=VALUE, a list of them, or a table of fields and values"

    def convert(self, raw: object) -> tuple[tuple[str, str], ...]:
        given = self._split(raw.items() if isinstance(raw, Mapping) else raw)
        if given in ([NOTHING], [""]):
            return ()
        fields = [self._pair(one) for one in given]
        return tuple({name.title(): value for name, value in fields}.items())

    def _pair(self, one: object) -> tuple[str, str]:
        pair = one.partition("=")[::2] if isinstance(one, str) else one
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise self.refuse(one)
        name, value = pair
        if not isinstance(name, str) or not isinstance(value, str):
            raise self.refuse(one)
        name, value = name.strip(), value.strip()
        if not _TOKEN.fullmatch(name) or not value or not value.isprintable() or "," in value:
            raise self.refuse(one)
        if not name.lower().startswith(FORWARDED_PREFIX):
            raise UsageError(
                f"{shown(name)} does not begin with X-Forwarded-, so any client may send it",
                remedy="let the proxy send X-Forwarded-Proto, or another field whose name begins so",
            )
        if name.lower() in (f"{FORWARDED_PREFIX}{part}" for part in ("proto", "for", "host", "port")):
            raise UsageError(f"{name} is read already", remedy="leave it out")
        return name, value

    def show(self, value: tuple[tuple[str, str], ...]) -> str:
        return ",".join(f"{name}={text}" for name, text in value) or NOTHING


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FORWARDED_PREFIX = "x-forwarded-"  # of fields that the server drops if the peer is not trusted
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BEFORE_NAME = re.compile(",(?=[A-Za-z_][A-Za-z0-9_]*=)", re.ASCII)


def refuse_variable(name: str) -> None:
    """Raise UsageError for what is no name of a variable, and for one whose value would come too late."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{shown(name)} is not a name of a variable", remedy="use letters, digits and underscores"
        )
    if name.startswith("HALFSYNC_"):
        setting = name.removeprefix("HALFSYNC_").lower()
        raise UsageError(f"{name} is a setting of the server", remedy=f"set {setting} itself")
    if name == "PYTHONPATH":
        raise UsageError("PYTHONPATH is read before the server starts", remedy="set pythonpath")
