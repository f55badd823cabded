"""The settings of one server: immutable values, validated when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from halfsync.errors import UsageError, near
from halfsync.listening.binds import is_secure, overlap, parse_bind, split_scheme
from halfsync.runtime.standard import genuine
from halfsync.settings.declaration import BY_NAME, SETTINGS, DeclaredSettings
from halfsync.settings.kinds import AUTO
from halfsync.settings.lanes import refuse_lanes
from halfsync.settings.setting import ARGUMENT_ORIGIN, DEFAULT_ORIGIN

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was given. ``origin``: where it came from, for ``check``. ``label``: the start of an error."""

    value: object
    origin: str
    label: str


class Settings(DeclaredSettings):
    """Every setting of one server, as native values: seconds, bytes, counts.

    Make one with ``from_options`` or ``halfsync.settings.resolve``, which validate. The constructor itself takes native
    values unchecked. ``origins``: where each value came from. ``sized``: one line about the values chosen for settings
    that were "auto" (empty: none were). Immutable, so any thread may read it.
    """

    __slots__ = ()

    def __init__(self, **values: Any) -> None:
        given = {one.name: one.default for one in SETTINGS} | {"origins": {}, "sized": ""} | values
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        return all(getattr(self, one.name) == getattr(other, one.name) for one in SETTINGS)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, one.name) for one in SETTINGS))

    def __repr__(self) -> str:
        """Return a text with the settings that differ from the defaults."""
        values = (
            (one.name, getattr(self, one.name)) for one in SETTINGS if getattr(self, one.name) != one.default
        )
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in values)})"

    @classmethod
    def from_either(cls, settings: Settings | None, options: Mapping[str, object]) -> Settings:
        """Return these settings, or settings from the options if there are none. Raises UsageError."""
        if settings is None:
            return cls.from_options(**options)
        if options:
            raise UsageError("settings and single options were both given", remedy="give one or the other")
        return settings

    @classmethod
    def from_options(cls, **overrides: object) -> Settings:
        """Return settings from the defaults and these options, native (``keep_alive=75.0``) or as text (``"75s"``).

        Neither the environment nor a file is read. Raises UsageError for an unknown name or a wrong value.
        """
        return cls.from_given(
            {name: Given(value, ARGUMENT_ORIGIN, name) for name, value in overrides.items()}
        )

    @classmethod
    def from_given(cls, given: Mapping[str, Given]) -> Settings:
        """Return settings from values of any origin, after validation. Raises UsageError."""
        values: dict[str, Any] = {}
        for name, one in given.items():
            if name not in BY_NAME:
                raise UsageError(f"unknown setting {name!r}", remedy=nearest(name, BY_NAME))
            values[name] = BY_NAME[name].convert(one.value, one.label)
        origins = {name: given[name].origin if name in given else DEFAULT_ORIGIN for name in BY_NAME}
        _refuse_shared(values, given)
        _refuse_tls(values, given)
        sized = ""
        if values.get("reload") and values.get("workers") is None:
            values["workers"] = 1  # with a supervisor, which outlives the code
            origins["workers"] = f"{origins['reload']} (reload)"
        automatic = [name for name in ("workers", "threads") if values.get(name) == AUTO]
        if automatic:
            from halfsync.settings.capacity import choose, read_machine  # noqa: PLC0415 - rarely needed

            threads = values.get("threads", BY_NAME["threads"].default)
            choice = choose(read_machine(), workers=values.get("workers"), threads=threads)
            values |= {name: getattr(choice, name) for name in automatic}
            origins |= {name: f"{origins[name]} (auto)" for name in automatic}
            sized = str(choice)
        refuse_lanes(
            values.get("lanes", ()),
            values.get("threads", BY_NAME["threads"].default),
            given["lanes"].label if "lanes" in given else "",
        )
        return cls(**values, origins=origins, sized=sized)


def _refuse_shared(values: Mapping[str, Any], given: Mapping[str, Given]) -> None:
    """Reject an `admin_bind` that names the address of a `bind`: application and probes would share a listener."""
    for admin in values.get("admin_bind", ()):
        for bind in values.get("bind", BY_NAME["bind"].default):
            if overlap(parse_bind(bind), parse_bind(admin)):
                same = "is also a bind" if admin == bind else f"listens where bind {bind} does"
                raise UsageError(
                    f"{admin} {same}, and probes need an address of their own",
                    origin=given["admin_bind"].label,
                    remedy="choose another port or path",
                )


def _refuse_tls(values: Mapping[str, Any], given: Mapping[str, Given]) -> None:
    """Reject settings of TLS that contradict each other. The files are looked at when they are loaded."""
    certificates, keys = values.get("certfile", ()), values.get("keyfile", ())
    if not certificates:
        for name in ("keyfile", "key_password_file"):
            if values.get(name):
                raise UsageError(
                    "there is no certificate for the key", origin=given[name].label, remedy="set certfile too"
                )
    elif keys and len(keys) != len(certificates):
        raise UsageError(
            f"{len(keys)} keys are given, and {len(certificates)} certificates",
            origin=given["keyfile"].label,
            remedy="give one for each certfile, in the same order, or none if the keys are in the same files",
        )
    binds = values.get("bind", BY_NAME["bind"].default)
    for bind in binds:
        if not certificates and is_secure(bind, False):
            raise UsageError(
                f"{bind} speaks TLS, and there is no certificate",
                origin=given["bind"].label,
                remedy="set certfile and keyfile, or write http:// or nothing before the address",
            )
    if certificates and not any(is_secure(bind, True) for bind in binds):
        raise UsageError(
            "no bind speaks TLS: each begins with http://",
            origin=given["certfile"].label,
            remedy="write one with https://, or leave certfile out",
        )
    for admin in values.get("admin_bind", ()):
        if split_scheme(admin)[0] == "https":
            raise UsageError(
                f"{admin}: what the server answers about itself has no TLS",
                origin=given["admin_bind"].label,
                remedy="write http:// or nothing before the address, and let only trusted hosts reach it",
            )


def nearest(name: str, known: Mapping[str, object]) -> str:
    """Return advice on which known name an unknown one may mean, or where to read about all names.

    Names are those of settings, or of their variables. Other servers' names for settings are known too.
    """
    with genuine():
        from halfsync.settings.elsewhere import hint  # noqa: PLC0415 - only a mistake needs it

    is_variable = name.startswith("HALFSYNC_")
    found = hint(name, lambda setting: BY_NAME[setting].variable if is_variable else setting, BY_NAME)
    if found:
        return found
    close = near(name, known, cutoff=0.5)
    return f"did you mean {close!r}?" if close else "see `halfsync serve --help` for all settings"
