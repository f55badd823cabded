"""The kinds of single values that a setting can have: each kind reads what people write, and writes it back.

A flag or the environment gives a value as text; TOML or Python gives it as text or as a native value. Every kind
accepts both, and rejects anything else with a UsageError that says what is wrong and what would be right. The caller
adds where the value came from. Kinds of lists are in lists.py.
"""

import os
from typing import Generic, TypeVar

from halfsync.amounts import digits, real, shown, whole
from halfsync.errors import UsageError

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
# Names of fields that mean something to the server or to clients, in requests or in responses.
_FIELDS_TAKEN = (  # noqa: SIM905 - as a list they would take a line each
    "connection content-encoding content-length content-type cookie date expect forwarded host keep-alive location "
    "retry-after server server-timing set-cookie te trailer transfer-encoding upgrade x-content-type-options"
).split()
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

    def tell(self, value: T) -> str:
        """Return a value for a person, without what may be secret in it."""
        return self.show(value)

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


class Function(Kind[str]):
    """The name of a function in a module, or in a Python file. It is loaded when it is needed."""

    metavar = "MODULE:NAME"
    accepts = "a module and a function in it"

    def remedy(self) -> str:
        return "write it like shop.hooks:connect, or with a file, like deploy/hooks.py:connect"

    def convert(self, raw: object) -> str:
        text = raw.strip() if isinstance(raw, str) else ""
        module, _, name = text.rpartition(":")
        parts = name.split(".") if module.endswith(".py") else [*module.split("."), *name.split(".")]
        if not all(part.isidentifier() for part in parts) or "\0" in module:
            raise self.refuse(raw)
        return text


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


class FieldName(Kind[str | None]):
    """The name of a field of requests and responses that the server gives no meaning, or ``none``."""

    metavar = "NAME|none"
    accepts = "the name of a field, or none"
    longest = 64

    def remedy(self) -> str:
        return f"write it like X-Request-Id: letters, digits and dashes, {self.longest} at most"

    def convert(self, raw: object) -> str | None:
        text = raw.strip() if isinstance(raw, str) else ""
        if raw is None or text.lower() == NOTHING:
            return None
        is_name = text.isascii() and text.replace("-", "").isalnum() and len(text) <= self.longest
        if not is_name or text.lower() in _FIELDS_TAKEN:
            raise self.refuse(raw)
        return text

    def show(self, value: str | None) -> str:
        return NOTHING if value is None else value


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
        return NOTHING if value is None else value


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
