"""The options of ``serve`` and ``check``, made from the declaration of the settings."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from halfsync.runtime.output import standard_output
from halfsync.settings import BY_NAME, GROUPS, SETTINGS, Setting
from halfsync.settings.kinds import Flag
from halfsync.settings.lists import Binds, Files, Mounts, SchemeHeaders, Variables
from halfsync.settings.setting import spell_flag

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

HELP_WIDTH = 80
NAMES_WIDTH = 26  # fits the names of an option and its value, so that all sections line up
REPEATABLE = (Binds, Mounts, Files, Variables, SchemeHeaders)
NO_BREAK = "\N{NO-BREAK SPACE}"


class SettingOption(click.Option):
    """One setting as an option. Its value stays the text that was typed; the settings validate it."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        names = [setting.flag]
        extra: dict[str, Any] = {"metavar": _metavar(setting)}
        if isinstance(setting.kind, Flag):
            # The negative form turns off what a file or a variable has turned on.
            names = [f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"]
            extra = {"is_flag": True}
        names += [spell_flag(alias) for alias in setting.aliases]
        if setting.short:
            names.insert(0, f"-{setting.short}")
        if isinstance(setting.kind, REPEATABLE):
            extra["multiple"] = True
        if setting.kind.choices:
            extra["shell_complete"] = _complete
        super().__init__([setting.name, *names], default=None, help=_help(setting), **extra)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's line of help, without other servers' names for it.

        A flag's line has only the form that changes the default.
        """
        record = super().get_help_record(ctx)
        if record is None:
            return None
        if not self.is_flag:
            short = f"-{self.setting.short}, " if self.setting.short else ""
            return (f"{short}{self.setting.flag} {_metavar(self.setting)}", record[1])
        return (f"--{'no-' if self.setting.default else ''}{self.setting.flag.removeprefix('--')}", record[1])


class Command(click.Command):
    """A command whose help is dropped if it cannot be written, as all output is."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option that prints the help."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _print_help
        return option


class Group(Command, click.Group):
    """A command with subcommands. Its help is dropped too if it cannot be written."""


class SettingsCommand(Command):
    """A command whose options are all settings. Its help shows them in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group, and the options that are not settings last."""
        formatter.width = HELP_WIDTH
        for group in GROUPS:
            with formatter.section(group):
                formatter.write_dl(_rows(self.get_params(ctx), ctx, group))
        with formatter.section("Other"):
            formatter.write_dl(_rows(self.get_params(ctx), ctx, None))
        # The no-break spaces kept each default on one line. The lines are made now, and plain spaces copy better.
        formatter.buffer[:] = [text.replace(NO_BREAK, " ") for text in formatter.buffer]


def with_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add every setting to a command as an option, and return the command."""
    params: list[click.Parameter] = function.__dict__.setdefault("__click_params__", [])
    params.extend(SettingOption(setting) for setting in reversed(SETTINGS))
    return function


def only_settings(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add these settings to a command as options."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        params: list[click.Parameter] = function.__dict__.setdefault("__click_params__", [])
        params.extend(SettingOption(BY_NAME[name]) for name in reversed(names))
        return function

    return add


def given(options: dict[str, Any]) -> dict[str, object]:
    """Return the options that were on the command line. Other sources may give the others."""
    return {name: value for name, value in options.items() if value not in (None, ())}


def _print_help(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        standard_output.write(f"{ctx.get_help()}\n")
        ctx.exit()


def _help(setting: Setting) -> str:
    notes: list[str] = []
    if _metavar(setting) == "NAME":
        notes.append(setting.kind.metavar)
    if not isinstance(setting.kind, Flag) and setting.default not in (None, ()):
        notes.append(f"default: {setting.kind.show(setting.default)}")
    if setting.convention is not None:
        notes.append(f"or ${setting.convention[0]}")
    doc = setting.doc
    if setting.kind.metavar == "" and setting.default:
        # The help shows the form that turns it off.
        doc = f"Do not {doc[:1].lower()}{doc[1:]}"
    return " ".join([doc, *(f"[{note}]".replace(" ", NO_BREAK) for note in notes)])


def _metavar(setting: Setting) -> str:
    """Return the name of the value: the choices themselves, if they fit into the column."""
    fits = len(f"{setting.flag} {setting.kind.metavar}") <= NAMES_WIDTH
    return setting.kind.metavar if fits or not setting.kind.choices else "NAME"


def _rows(params: Sequence[click.Parameter], ctx: click.Context, group: str | None) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for param in params:
        if isinstance(param, click.Argument):
            continue
        if (param.setting.group if isinstance(param, SettingOption) else None) == group:
            row = param.get_help_record(ctx)
            if row is not None:
                rows.append((row[0].ljust(NAMES_WIDTH), row[1]))
    return rows


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell asks for it

    assert isinstance(param, SettingOption)
    return [CompletionItem(name) for name in param.setting.kind.choices if name.startswith(incomplete)]
