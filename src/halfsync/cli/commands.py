"""The commands: each resolves the settings, calls the code that does the work, and prints."""

import os
from collections.abc import Sequence
from typing import Any

import click

from halfsync.cli.applications import load, with_target
from halfsync.cli.options import (
    HELP_WIDTH,
    Command,
    Group,
    SettingsCommand,
    given,
    only_settings,
    with_settings,
)
from halfsync.errors import UsageError, near
from halfsync.host.handlers import outlive_handlers
from halfsync.loading.application import Application
from halfsync.log import set_up
from halfsync.runtime.output import standard_output
from halfsync.runtime.signals import hold_signals
from halfsync.runtime.standard import genuine
from halfsync.settings import BY_NAME, SETTINGS, Settings, resolve

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": HELP_WIDTH,
    "terminal_width": HELP_WIDTH,
}
LAB = ("hdrh", "matplotlib", "rich")  # modules of the extra `lab`
SOURCES = (
    "Every option is also a variable (--max-body is HALFSYNC_MAX_BODY) and a key of halfsync.toml or of "
    "[tool.halfsync] in pyproject.toml (max_body). A flag wins over a variable, a variable over the file. "
    "TIME is like 500ms, 30s, 2m or 1h, SIZE like 64k, 1m or 1g; plain numbers are seconds and bytes."
)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Raises StartError and KeyboardInterrupt."""
    completed = _with_command(arguments)
    try:
        result = cli.main(completed, prog_name="halfsync", standalone_mode=False, obj=completed)
    except click.Abort:
        raise KeyboardInterrupt from None  # click has made an Abort of it
    except click.UsageError as error:
        raise _in_our_words(error, completed[0]) from None
    return result if isinstance(result, int) else 0


def _in_our_words(error: click.UsageError, command: str) -> UsageError:
    if isinstance(error, click.NoSuchOption):
        from halfsync.settings.elsewhere import hint  # noqa: PLC0415 - only a mistake needs it

        remedy = hint(error.option_name, lambda setting: BY_NAME[setting].flag, BY_NAME)
        if not remedy and error.possibilities:
            close = near(error.option_name, error.possibilities) or error.possibilities[0]
            remedy = f"did you mean {close}?"
        if remedy:
            return UsageError(f"no such option {error.option_name}", remedy=remedy)
    path = f"halfsync {command}" if command in cli.commands else "halfsync"
    problem = error.format_message().rstrip(".")
    return UsageError(problem[:1].lower() + problem[1:], remedy=f"see `{path} --help`")


def _with_command(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with the ``serve`` that ``halfsync module:callable`` leaves out."""
    first = arguments[0] if arguments else "--help"
    own_options = ("-h", "--help", "--version")
    if first in cli.commands or first in own_options:
        return list(arguments) or [first]
    _refuse_misspelt(first)
    return ["serve", *arguments]


def _refuse_misspelt(first: str) -> None:
    """Raise UsageError for a misspelt command, before it is taken for a module."""
    is_module = ":" in first or os.path.exists(first) or os.path.exists(f"{first}.py")  # noqa: PTH110
    if first.startswith("-") or is_module:
        return
    close = near(first, cli.commands)
    if close:
        remedy = f"did you mean {close!r}? An application is named as module:callable"
        raise UsageError(f"no command {first!r}", remedy=remedy)


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    with genuine():
        from importlib import metadata  # noqa: PLC0415 - it takes longer than the rest of the command line

    try:
        version = metadata.version("halfsync")
    except metadata.PackageNotFoundError:
        version = "(not installed: run from its sources)"
    standard_output.write(f"halfsync {version}\n")
    ctx.exit()


@click.group(cls=Group, context_settings=CONTEXT)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli() -> None:
    """Serve a WSGI application: async where the network is, sync where your
    code is.

    `halfsync module:callable` is short for `halfsync serve module:callable`.
    """


@cli.command(cls=SettingsCommand, epilog=SOURCES)
@click.argument("target", metavar="[MODULE:CALLABLE]", required=False)
@with_settings
def serve(target: str | None, **options: Any) -> int:
    """Serve an application until it is stopped.

    MODULE:CALLABLE names it: `shop.wsgi:application`. Without CALLABLE, the
    name is `application`, else `app`. Without both, `wsgi_app` is the name.
    """
    options = _named(target, options)
    settings = with_target(resolve(given(options)))
    hold_signals()
    with genuine():
        from halfsync.host.preflight import GIVEN  # noqa: PLC0415 - help does not need it

    if settings.workers or GIVEN in os.environ:  # GIVEN without workers: rejected before anything is loaded
        with genuine():
            from halfsync.cli.supervised import Supervised  # noqa: PLC0415 - most servers are one process

        return Supervised(settings, options).run()
    set_up(settings.log_level, settings.server_log_format)
    application = load(settings, settings.chdir)
    from halfsync.foreground import serve_alone  # noqa: PLC0415 - check and help do not need it

    serve_alone(application, settings, settings.wsgi_app or "")
    outlive_handlers()
    return 0


@cli.command(cls=SettingsCommand, epilog=SOURCES, short_help="Load the application and print every setting.")
@click.argument("target", metavar="[MODULE:CALLABLE]", required=False)
@with_settings
def check(target: str | None, **options: Any) -> None:
    """Load the application, and print every setting and its source.

    Nothing is served and no socket is opened. The exit code is the one that
    `serve` would end with: 0, 2 for a wrong setting, 3 for an application that
    cannot be loaded.
    """
    settings, _ = _prepare(_named(target, options))
    from halfsync.host.preflight import check_start  # noqa: PLC0415 - help does not need it

    identity = check_start(settings)
    if settings.static:
        from halfsync.static.mounts import open_directories  # noqa: PLC0415 - only static files need it

        for _, directory in open_directories(settings, identity):
            os.close(directory)
    sized = f"\n{settings.sized}\n" if settings.sized else ""
    standard_output.write(f"{settings.wsgi_app} loads, with these settings:\n\n{describe(settings)}\n{sized}")


@cli.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the server as it is: JSON.")
@click.option("--watch", is_flag=True, help="Print it each second, until interrupted.")
@click.option("--stacks", is_flag=True, help="Print where each worker is: its Python stack.")
@only_settings("admin_bind", "config", "chdir")
def status(as_json: bool, watch: bool, stacks: bool, **options: Any) -> None:
    """Show what a running server does now.

    It asks the server at its `admin_bind`, which is read where `serve` reads
    it: a flag, $HALFSYNC_ADMIN_BIND, or the file of settings.
    """
    with genuine():
        from halfsync.cli.status import show_status  # noqa: PLC0415 - only this command needs it

    show_status(resolve(given(options)), as_json=as_json, watch=watch, stacks=stacks)


@cli.command(cls=Command)
@click.argument("target", metavar="[MODULE:CALLABLE]", required=False)
@click.option(
    "--models", metavar="LIST", help="The models to compare. [default: process,thread,pool,proactor]"
)
@click.option("--clients", metavar="LIST", help="Numbers of clients. [default: as the experiment has them]")
@click.option("--duration", metavar="TIME", help="How long each measurement lasts. [default: likewise]")
@click.option("--rounds", metavar="N", help="How often each measurement is made. [default: likewise]")
@click.option("--budget", metavar="TIME", help="How long an experiment may take: with less, fewer rounds are "
              "measured, but one at least. [default: 4m30s]")  # fmt: skip
@click.option("--path", metavar="PATH", default="/", help="What to request of the application. [default: /]")
@click.option("--experiment", "experiments", metavar="NAME|all", multiple=True,
              help="The experiment to run; repeatable. [default: models]")  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="Print the experiments with their claims, and exit.")
@click.option("--python", metavar="PATH", help="A further interpreter with halfsync, such as a free-threaded one, for "
              "experiments that compare interpreters.")  # fmt: skip
@click.option("--output", metavar="DIR", help="Where report.html and results.json are left. [default: "
              "halfsync-compare- and the time]")  # fmt: skip
@click.pass_obj
def compare(line: list[str], /, listing: bool, **options: Any) -> int:
    """Measure the models against each other, and against what is said of
    servers.

    Without MODULE:CALLABLE, an application that answers at once is served.
    Leaves a report and the measurements. It needs the extra `lab`.
    """
    try:
        with genuine():
            from halfsync.cli import lab  # noqa: PLC0415 - only the two commands need it
    except ModuleNotFoundError as error:
        raise _without_lab(error) from None
    if listing:
        lab.show_experiments()
        return 0
    return lab.compare(lab.Options(line=line, **options))


@cli.command(cls=Command)
@click.argument("target", metavar="MODULE:CALLABLE")
@click.option("--path", "paths", metavar="PATH", multiple=True, help="What to request of the application; repeatable, "
              "and one that is given twice counts twice. [default: /]")  # fmt: skip
@click.option("--patience", metavar="TIME", help="How long clients wait for an answer. [default: 1s, or five turns of "
              "the application]")  # fmt: skip
@click.option("--budget", metavar="TIME", help="How long this may take. [default: 2m]")
@click.option("--output", metavar="FILE", help="Write the settings to this new file, for --config, and a page that "
              "explains them to FILE.html. [default: print the settings]")  # fmt: skip
@only_settings("chdir", "factory", "config")
@click.pass_obj
def tune(line: list[str], /, **options: Any) -> int:
    """Measure an application, and recommend model, workers, threads and
    queue_size for it on this machine.

    Starts servers of MODULE:CALLABLE on 127.0.0.1, and requests each PATH many
    thousand times: let it use a database of its own. It loads no other server.
    It needs the extra `lab`.
    """
    try:
        with genuine():
            from halfsync.cli import tune as tuning  # noqa: PLC0415 - only this command needs it
    except ModuleNotFoundError as error:
        raise _without_lab(error) from None
    own = {name: options.pop(name) for name in ("target", "paths", "patience", "budget", "output")}
    return tuning.run(tuning.Options(line, **own), resolve(given(options)))


@cli.command("import-config", cls=Command)
@click.argument("location", metavar="[gunicorn.conf.py]", default="gunicorn.conf.py", required=False)
@click.option("-o", "--output", metavar="FILE", help="Write the settings to this file. [default: print them]")
@click.option("--overwrite", is_flag=True, help="Replace that file if it is there.")
def import_config(location: str, output: str | None, overwrite: bool) -> None:
    """Write a gunicorn.conf.py as a halfsync.toml.

    The file is run, as gunicorn runs it, in the environment of this command.
    What does not move has a line that says why. Hooks stay in the file, and are
    named: keep it.
    """
    with genuine():
        from halfsync.cli.importing import import_configuration  # noqa: PLC0415 - only this command needs it

    import_configuration(location, output, overwrite=overwrite)


def _without_lab(error: ModuleNotFoundError) -> UsageError:
    """Return what to say if the lab cannot be imported. Raises the error if that is for another reason."""
    package = (error.name or "").partition(".")[0]
    if package not in LAB:
        raise error
    return UsageError(f"the lab needs {package}", remedy="install it: pip install 'halfsync[lab]'")


def describe(settings: Settings) -> str:
    """Return the settings as an aligned table of name, value and origin."""
    rows = [("setting", "value", "from")]
    for setting in SETTINGS:
        shown = setting.kind.tell(getattr(settings, setting.name))
        rows.append((setting.name, shown, settings.origins.get(setting.name, "")))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = (f"{name:{widths[0]}}  {value:{widths[1]}}  {origin}".rstrip() for name, value, origin in rows)
    return "\n".join(lines)


def _named(target: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the application that the command line names as `wsgi_app`. Raises UsageError."""
    if target is None:
        return options
    if options["wsgi_app"] is not None:
        raise UsageError(
            f"two applications are named: {target} and {options['wsgi_app']}",
            origin="--wsgi-app",
            remedy="name one",
        )
    return options | {"wsgi_app": target}


def _prepare(options: dict[str, Any]) -> tuple[Settings, Application]:
    settings = with_target(resolve(given(options)))
    return settings, load(settings, settings.chdir)
