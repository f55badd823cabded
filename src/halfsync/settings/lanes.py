"""The lanes of the request queue as settings: a table for each, and the share of the threads that a client may hold."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from halfsync.amounts import real, shown
from halfsync.errors import UsageError, near
from halfsync.runtime.standard import genuine
from halfsync.settings.kinds import NOTHING, Count, Kind
from halfsync.settings.lists import PREFIX_MOST, ListKind, begins_path

DEFAULT_LANE = "default"
NAMED_MOST = 16
PATTERNS_MOST = 256  # over all lanes: each request is compared with them
METHODS_MOST = 16  # of one lane
METHOD_MOST = 32  # characters; the parser refuses longer ones
PRIORITY_MOST = 100
NAME_MOST = 32  # characters
# Patterns as text, since to compile them would cost every start milliseconds.
_NAME = f"[a-z][a-z0-9_-]{{0,{NAME_MOST - 1}}}"
_METHOD = f"[A-Z][A-Z0-9_-]{{0,{METHOD_MOST - 1}}}"
_NUMBER = r"[0-9]*\.?[0-9]+(e-[0-9]+)?"


class Lane(NamedTuple):
    """One lane. ``max_threads`` None: all threads. ``queue_size`` None: that of the server."""

    name: str
    paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    threads: int = 1
    max_threads: int | None = None
    queue_size: int | None = None
    priority: int = 0


class _Paths(ListKind[str]):
    accepts = "a list of paths"

    def convert(self, raw: object) -> tuple[str, ...]:
        return _distinct(self._path(one) for one in self._split(raw))

    def _path(self, raw: object) -> str:
        path = raw if isinstance(raw, str) else ""
        stem = path[:-1] if path.endswith("/*") else path
        if len(path) > PREFIX_MOST or not begins_path(stem, never="%?#\\*"):
            raise UsageError(
                f"{shown(raw)} is not a path of requests",
                remedy="write it like /health, or /api/* for all that begins with /api/; not encoded",
            )
        return path


class _Methods(ListKind[str]):
    accepts = "a list of methods"

    def convert(self, raw: object) -> tuple[str, ...]:
        methods = _distinct(self._method(one) for one in self._split(raw))
        if len(methods) > METHODS_MOST:
            raise UsageError(f"{len(methods)} methods are too many", remedy=f"name at most {METHODS_MOST}")
        return methods

    def _method(self, raw: object) -> str:
        if not isinstance(raw, str) or re.fullmatch(_METHOD, raw) is None:
            raise UsageError(f"{shown(raw)} is not a method", remedy="write it in capitals, like GET")
        return raw


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    given = tuple(texts)
    if not given:
        raise UsageError("the list is empty", remedy="name something, or leave it out")
    for text in given:
        if given.count(text) > 1:
            raise UsageError(f"{text!r} is given twice", remedy="name it once")
    return given


_KINDS: dict[str, Kind[Any]] = {
    "paths": _Paths(),
    "methods": _Methods(),
    "threads": Count(1, 1024),
    "max_threads": Count(1, 1024),
    "queue_size": Count(1, 1_000_000),
    "priority": Count(-PRIORITY_MOST, PRIORITY_MOST),
}


class Lanes(Kind[tuple[Lane, ...]]):
    """Lanes by their names: a table of tables; as a text, such a table in TOML's inline form. "none": no lanes."""

    metavar = "TABLE"
    accepts = (
        "a table of lanes, each a table with paths, methods, threads, max_threads, queue_size and priority"
    )

    def remedy(self) -> str:
        return 'write [lanes.NAME] and below it paths = ["/api/*"], threads = 2; or {NAME = {paths = ["/api/*"]}}'

    def convert(self, raw: object) -> tuple[Lane, ...]:
        if isinstance(raw, tuple) and all(isinstance(one, Lane) for one in raw):
            return raw
        table = self._parse(raw) if isinstance(raw, str) else raw
        if not isinstance(table, Mapping):
            raise self.refuse(raw)
        lanes = tuple(self._lane(name, one) for name, one in table.items())
        if sum(lane.name != DEFAULT_LANE for lane in lanes) > NAMED_MOST:
            raise UsageError(f"{len(lanes)} lanes are too many", remedy=f"name at most {NAMED_MOST}")
        _refuse_overlaps(lanes)
        return lanes

    def _parse(self, text: str) -> object:
        """Return the table that an inline table of TOML stands for."""
        if text.strip() == NOTHING:
            return {}
        with genuine():
            import tomllib  # noqa: PLC0415 - only a flag or the environment needs it

        try:
            document = tomllib.loads(f"lanes = {text}")
        except (ValueError, RecursionError):
            raise self.refuse(text) from None
        if list(document) != ["lanes"]:
            raise self.refuse(text)
        return document["lanes"]

    def _lane(self, name: object, table: object) -> Lane:
        if not isinstance(name, str) or re.fullmatch(_NAME, name) is None:
            raise UsageError(
                f"{shown(name)} is not the name of a lane",
                remedy=f"begin with a small letter; then also digits, - and _, {NAME_MOST} characters at most",
            )
        if not isinstance(table, Mapping):
            raise UsageError(f"lane {name} is not a table", remedy=self.remedy())
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in _KINDS:
                close = near(key, _KINDS) if isinstance(key, str) else None
                raise UsageError(
                    f"lane {name} has an unknown key {shown(key)}",
                    remedy=f"did you mean {close!r}?" if close else f"it may have {', '.join(_KINDS)}",
                )
            try:
                values[key] = _KINDS[key].convert(value)
            except UsageError as error:
                raise UsageError(f"{key} of lane {name}: {error.problem}", remedy=error.remedy) from None
        return _checked(Lane(name, **values))

    def show(self, value: tuple[Lane, ...]) -> str:
        if not value:
            return NOTHING
        return f"{{{', '.join(f'{lane.name} = {{{_inline(lane)}}}' for lane in value)}}}"


def _checked(lane: Lane) -> Lane:
    """Return a lane, or reject one whose keys contradict each other."""
    if lane.max_threads is not None and lane.max_threads < lane.threads:
        raise UsageError(
            f"lane {lane.name} is guaranteed {lane.threads} threads and may have only {lane.max_threads}",
            remedy="raise max_threads or lower threads",
        )
    chosen = bool(lane.paths or lane.methods)
    if lane.name == DEFAULT_LANE and chosen:
        raise UsageError(
            f"lane {DEFAULT_LANE} takes the requests that no other lane names",
            remedy="leave paths and methods out there, or choose another name",
        )
    if lane.name != DEFAULT_LANE and not chosen:
        raise UsageError(f"no request goes to lane {lane.name}", remedy="give it paths, or methods")
    return lane


def _refuse_overlaps(lanes: Iterable[Lane]) -> None:
    """Reject a path that two lanes name for the same method: which one counts would be a matter of order."""
    seen: dict[tuple[str, str], str] = {}
    patterns = 0
    for lane in lanes:
        patterns += len(lane.paths) or bool(lane.methods)
        for path in lane.paths or (("",) if lane.methods else ()):
            for method in lane.methods or ("",):
                other = seen.setdefault((path, method), lane.name)
                if other != lane.name:
                    what = " ".join(filter(None, (method, path)))
                    raise UsageError(
                        f"lanes {other} and {lane.name} both name {what}", remedy="name it in one lane"
                    )
    if patterns > PATTERNS_MOST:
        raise UsageError(
            f"{patterns} paths are too many", remedy=f"name at most {PATTERNS_MOST} in all lanes"
        )


def _inline(lane: Lane) -> str:
    """Return a lane's table without braces, as TOML has it on one line."""
    parts = []
    for key, value in zip(Lane._fields[1:], lane[1:], strict=True):
        if value == Lane._field_defaults[key]:
            continue
        if isinstance(value, tuple):
            quoted = ", ".join('"' + text.replace('"', '\\"') + '"' for text in value)
            parts.append(f"{key} = [{quoted}]")
        else:
            parts.append(f"{key} = {value}")
    return ", ".join(parts)


class Share(Kind[float]):
    """A part of a whole: a number above 0, and at most 1."""

    metavar = "SHARE"
    accepts = "a number above 0 and up to 1"

    def remedy(self) -> str:
        return "write it like 0.5"

    def convert(self, raw: object) -> float:
        if isinstance(raw, str):
            text = raw.strip()
            value = float(text) if re.fullmatch(_NUMBER, text) else None
        else:
            value = real(raw)
        if value is None or not 0 < value <= 1:
            raise self.refuse(raw)
        return value

    def show(self, value: float) -> str:
        return repr(value)


def queue_lanes(lanes: tuple[Lane, ...], client_share: float) -> tuple[Lane, ...]:
    """Return the lanes of the request queue, the default one first; empty: it is not divided."""
    return all_lanes(lanes) if lanes or client_share < 1 else ()


def lane_names(lanes: tuple[Lane, ...], client_share: float) -> list[str]:
    """Return the names of the lanes of the request queue."""
    return [lane.name for lane in queue_lanes(lanes, client_share)]


def all_lanes(lanes: tuple[Lane, ...]) -> tuple[Lane, ...]:
    """Return every lane of a server, the default one first."""
    default = next((lane for lane in lanes if lane.name == DEFAULT_LANE), Lane(DEFAULT_LANE))
    return (default, *(lane for lane in lanes if lane.name != DEFAULT_LANE))


def refuse_lanes(lanes: tuple[Lane, ...], threads: int, origin: str) -> None:
    """Reject lanes that are guaranteed more threads than there are. Raises UsageError."""
    guaranteed = sum(lane.threads for lane in all_lanes(lanes))
    if lanes and guaranteed > threads:
        raise UsageError(
            f"the lanes, with {DEFAULT_LANE}, are guaranteed {guaranteed} threads, and threads is {threads}",
            origin=origin,
            remedy=f"set threads to {guaranteed} or more, or lower threads of some lanes",
        )
