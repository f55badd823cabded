"""The kinds of values that a setting can have: each kind reads what people write, and writes it back.

A flag or the environment gives a value as text; TOML or Python gives it as text or as a native value. Every kind
accepts both, and rejects anything else with a UsageError that says what is wrong and what would be right. The caller
adds where the value came from.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from halfsync.amounts import digits, real, shown, whole
from halfsync.errors import UsageError
from halfsync.listening.binds import parse_bind
from halfsync.runtime.standard import genuine

T = TypeVar("T")

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
SIZE_UNITS = {"": 1, "k": KIB, "m": MIB, "g": GIB}
NOTHING = "none"
AUTO = 0  # a count that the server chooses by the machine; no Count that may be AUTO can be 0 otherwise
PREFIX_MOST = 1024
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Kind(Generic[T]):
    """One kind of value. ``metavar``: its name in help texts. ``accepts``: what it accepts, in words."""

    metavar: str
    accepts: str
    choices: tuple[str, ...] = ()

    def convert(self, raw: object) -> T:
        """Return the native value of a text or a native value. Raises UsageError, without an origin, for any other."""
        raise NotImplementedError

    def show(self, value: T) -> str:
        """Return a value as people write it: ``convert(show(value)) == value``."""
        return str(value)

    def refuse(self, raw: object) -> UsageError:
        """Return the error for a value that is not of this kind."""
        return UsageError(f"{shown(raw)} is not {self.accepts}", remedy=self.remedy())

    def remedy(self) -> str:
        """Return what to write instead, if ``accepts`` does not say it already."""
        return ""


class Count(Kind[int]):
    """A whole number between two bounds, both included; with ``auto`` also "auto", which gives AUTO."""

    def __init__(self, minimum: int, maximum: int, *, auto: bool = False) -> None:
        self.minimum, self.maximum, self.auto = minimum, maximum, auto
        self.metavar = "N|auto" if auto else "N"
        self.accepts = f"a whole number from {minimum} to {maximum}{' or auto' if auto else ''}"

    def convert(self, raw: object) -> int:
        if self.auto and isinstance(raw, str) and raw.strip().lower() == "auto":
            return AUTO
        value = _whole(raw)
        if value is None or not self.minimum <= value <= self.maximum:
            raise self.refuse(raw)
        return value

    def show(self, value: int) -> str:
        return "auto" if self.auto and value == AUTO else str(value)


class Duration(Kind[float]):
    """A duration in seconds: ``500ms``, ``30s``, ``2m``, ``1h``, or a plain number of seconds."""

    def __init__(self, *, zero: bool = False, longest_s: float = DAY_S) -> None:
        self.zero, self.longest_s = zero, longest_s
        self.metavar = "TIME"
        self.accepts = f"a duration {'from 0' if zero else 'longer than 0'} to {longest_s / 3600:.0f}h"

    def remedy(self) -> str:
        return "write it like 500ms, 30s, 2m, 1h, or as a number of seconds"

    def convert(self, raw: object) -> float:
        value = _seconds(raw)
        if value is None or not 0 <= value <= self.longest_s or (value == 0 and not self.zero):
            raise self.refuse(raw)
        return value

    def show(self, value: float) -> str:
        for unit in ("h", "m"):
            if value and value % DURATION_UNITS_S[unit] == 0:
                return f"{value / DURATION_UNITS_S[unit]:.0f}{unit}"
        if value % 1 == 0:
            return f"{value:.0f}s"
        milliseconds = round(value * 1000)
        return f"{milliseconds}ms" if milliseconds / 1000 == value else f"{value!r}s"


class Size(Kind[int]):
    """A number of bytes: ``64k``, ``1m``, ``1g`` (in steps of 1024), or a plain number of bytes."""

    def __init__(self, minimum: int, maximum: int) -> None:
        self.minimum, self.maximum = minimum, maximum
        self.metavar = "SIZE"
        self.accepts = f"a size from {self.show(minimum)} to {self.show(maximum)}"

    def remedy(self) -> str:
        return "write it like 64k, 1m, 1g, or as a number of bytes"

    def convert(self, raw: object) -> int:
        factor = 1
        if isinstance(raw, str):
            text = raw.strip().lower()
            number = text.rstrip(_LETTERS)
            factor = SIZE_UNITS.get(text[len(number) :], 0)
            value = _whole(number) if factor else None
        else:
            value = _whole(raw)
        if value is None or not self.minimum <= value * factor <= self.maximum:
            raise self.refuse(raw)
        return value * factor

    def show(self, value: int) -> str:
        for unit in ("g", "m", "k"):
            if value and value % SIZE_UNITS[unit] == 0:
                return f"{value // SIZE_UNITS[unit]}{unit}"
        return str(value)


class Choice(Kind[str]):
    """One of a few names, in any case."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.metavar = "|".join(choices)
        self.accepts = f"one of {', '.join(choices)}"

    def convert(self, raw: object) -> str:
        value = raw.strip().lower() if isinstance(raw, str) else None
        if value not in self.choices:
            raise self.refuse(raw)
        return value


class Flag(Kind[bool]):
    """On or off; as text ``true`` or ``false``, ``yes`` or ``no``, ``on`` or ``off``, ``1`` or ``0``."""

    metavar = ""
    accepts = "true or false"
    _names = (("true", "yes", "on", "1"), ("false", "no", "off", "0"))

    def convert(self, raw: object) -> bool:
        if isinstance(raw, bool):
            return raw
        for value, names in zip((True, False), self._names, strict=True):
            if isinstance(raw, str) and raw.strip().lower() in names:
                return value
        raise self.refuse(raw)

    def show(self, value: bool) -> str:
        return "true" if value else "false"


class Path(Kind[str]):
    """A name or a path."""

    def __init__(self, metavar: str) -> None:
        self.metavar = metavar
        self.accepts = "a text that is not empty"

    def convert(self, raw: object) -> str:
        value = os.fspath(raw) if isinstance(raw, os.PathLike) else raw
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise self.refuse(raw)
        return value

    def show(self, value: str) -> str:
        return value


class Optional(Kind[T | None]):
    """A value of another kind, or nothing at all."""

    def __init__(self, kind: Kind[T]) -> None:
        self._kind = kind
        self.metavar, self.accepts, self.choices = kind.metavar, kind.accepts, kind.choices

    def convert(self, raw: object) -> T | None:
        return None if raw is None else self._kind.convert(raw)

    def show(self, value: T | None) -> str:
        return NOTHING if value is None else self._kind.show(value)


class Text(Optional[str]):
    """A name or a path, or nothing at all."""

    def __init__(self, metavar: str) -> None:
        super().__init__(Path(metavar))


class Principal(Kind[str]):
    """A user or a group, by name or number. It is looked up when the server starts."""

    def __init__(self, metavar: str) -> None:
        self.metavar = metavar
        self.accepts = f"a {metavar.lower()}'s name or number"

    def convert(self, raw: object) -> str:
        number = None if isinstance(raw, str) else _whole(raw)
        text = raw.strip() if isinstance(raw, str) else "" if number is None else str(number)
        if not text or text.startswith("-") or ":" in text or any(c.isspace() or c == "\0" for c in text):
            raise self.refuse(raw)
        return text

    def show(self, value: str) -> str:
        return value


class Function(Kind[str]):
    """The name of a function in a module, which is imported when it is needed."""

    metavar = "MODULE:NAME"
    accepts = "a module and a function in it"

    def remedy(self) -> str:
        return "write it like shop.hooks:connect"

    def convert(self, raw: object) -> str:
        text = raw.strip() if isinstance(raw, str) else ""
        module, _, name = text.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            raise self.refuse(raw)
        return text

    def show(self, value: str) -> str:
        return value


class Binds(Kind[tuple[str, ...]]):
    """One or more addresses to listen on, or none if ``optional``; in one text they are separated by commas."""

    metavar = "ADDR"
    accepts = "an address or a list of addresses"

    def __init__(self, *, optional: bool = False) -> None:
        self.optional = optional

    def convert(self, raw: object) -> tuple[str, ...]:
        given = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(given, Iterable):
            raise self.refuse(raw)
        given = list(given)
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


class Mounts(Kind[tuple[tuple[str, str], ...]]):
    """Directories by the path under which they are served: ``PREFIX=DIR``; in one text separated by commas.

    A prefix begins with a slash; a slash at its end makes no difference, and "/" is kept as "". The text "none" means
    no directory, so that a flag can override a file.
    """

    metavar = "PREFIX=DIR"
    accepts = "PREFIX=DIR, a list of them, or a table of prefixes and directories"

    def convert(self, raw: object) -> tuple[tuple[str, str], ...]:
        given = raw.split(",") if isinstance(raw, str) else raw
        pairs = given.items() if isinstance(given, Mapping) else given
        if not isinstance(pairs, Iterable):
            raise self.refuse(raw)
        pairs = list(pairs)
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
        bare = prefix.removesuffix("/")
        segments = bare.split("/")
        if (
            not prefix.startswith("/")
            or len(prefix) > PREFIX_MOST
            or not prefix.isprintable()
            or any(character in prefix for character in "%?#\\, ")
            or (bare and any(segment in ("", ".", "..") for segment in segments[1:]))
        ):
            raise UsageError(
                f"{shown(prefix)} is not a path that files can be served under",
                remedy="write it like /static, not encoded",
            )
        return bare

    def show(self, value: tuple[tuple[str, str], ...]) -> str:
        return ",".join(f"{prefix or '/'}={directory}" for prefix, directory in value) or NOTHING


class Addresses(Kind[tuple[str, ...]]):
    """Addresses and networks of peers, ``unix`` for those on unix sockets, ``*`` for all, ``none`` for none."""

    metavar = "IPS"
    accepts = "a list of IP addresses and networks"

    def remedy(self) -> str:
        return "write it like 10.0.0.0/8,192.0.2.1,2001:db8::/32, with unix for unix sockets; or * or none"

    def convert(self, raw: object) -> tuple[str, ...]:
        given = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(given, Iterable):
            raise self.refuse(raw)
        texts = [one.strip() if isinstance(one, str) else one for one in given]
        if texts in (["none"], [""]):
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
        return ",".join(value) or "none"


class RootPath(Kind[str]):
    """The path at which an application is mounted, without a slash at its end; empty for the root."""

    metavar = "PATH"
    accepts = "a path that begins with a slash"

    def remedy(self) -> str:
        return "write it like /shop, not percent-encoded and without a query"

    def convert(self, raw: object) -> str:
        if not isinstance(raw, str):
            raise self.refuse(raw)
        path = raw.strip().rstrip("/")
        if (path and not path.startswith("/")) or any(c in "?#%" or c < " " or c == "\x7f" for c in path):
            raise self.refuse(raw)
        return path

    def show(self, value: str) -> str:
        return value or "/"


class Mode(Kind[int]):
    """Permission bits of a file, in octal as text: ``0660``, ``660`` or ``0o660``."""

    metavar = "MODE"
    accepts = "a file mode from 0 to 0777"

    def remedy(self) -> str:
        return "write it in octal, like 0660"

    def convert(self, raw: object) -> int:
        value = whole(raw)
        if isinstance(raw, str):
            bits = raw.strip().lower().removeprefix("0o")
            octal = bits != "" and len(bits) <= 4 and all(digit in "01234567" for digit in bits)
            value = int(bits, 8) if octal else None
        if value is None or not 0 <= value <= 0o777:
            raise self.refuse(raw)
        return value

    def show(self, value: int) -> str:
        return f"{value:04o}"


class FileOwner(Kind[str | None]):
    """The owner of a file: ``user``, ``user:group`` or ``:group``, by name or number; or nothing at all."""

    metavar = "USER:GROUP"
    accepts = "a user, a user and a group, or a group behind a colon"

    def remedy(self) -> str:
        return "write it like www-data, www-data:www-data or :www-data"

    def convert(self, raw: object) -> str | None:
        if raw is None:
            return None
        text = raw.strip() if isinstance(raw, str) else ""
        _, colon, group = text.partition(":")
        if not text or (colon and not group) or ":" in group or any(c.isspace() or c == "\0" for c in text):
            raise self.refuse(raw)
        return text

    def show(self, value: str | None) -> str:
        return "none" if value is None else value


def _whole(raw: object) -> int | None:
    """Return a whole number; None: it is none. A bool is not a number here, although it is one in Python."""
    if isinstance(raw, str):
        return digits(raw.strip())
    return whole(raw)


def _seconds(raw: object) -> float | None:
    if not isinstance(raw, str):
        return real(raw)
    text = raw.strip().lower()
    # Stripping all letters leaves nothing of "nan" and "inf", which float() would accept.
    number = text.rstrip(_LETTERS)
    unit = text[len(number) :] or "s"
    number = number.strip()
    if unit not in DURATION_UNITS_S or not number.isascii() or not number.replace(".", "", 1).isdecimal():
        return None
    return float(number) / 1000 if unit == "ms" else float(number) * DURATION_UNITS_S[unit]
