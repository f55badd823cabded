"""`halfsync tune`: read the command line, measure the application, and leave the settings that suit it.

It needs the extra `lab`, as `lab` does. The only servers that it loads are those that it has started itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from halfsync.cli import lab
from halfsync.errors import StartError, UsageError, reason_of
from halfsync.lab import machine as machines
from halfsync.lab.errors import MeasureError
from halfsync.lab.results import write_whole
from halfsync.lab.tune.choosing import file, why
from halfsync.lab.tune.measuring import Measuring
from halfsync.lab.tune.page import page
from halfsync.lab.tune.tuning import tune
from halfsync.lab.wording import duration, share
from halfsync.runtime.output import standard_error, standard_output
from halfsync.settings import BY_NAME, Setting, Settings
from halfsync.settings.kinds import Duration, Flag

BUDGET = Duration(longest_s=86_400)
BUDGET_S = 120.0
BUDGET_LEAST_S = 30.0
"""Less time says too little."""
PATIENCE = Duration(longest_s=3600)
HOOKS = ("post_fork", "worker_ready", "worker_exit")
CARRIED = ("chdir", "pythonpath", "env", "env_file", "factory", "root_path", *HOOKS)
"""Settings without which the application may not be served as it is meant to be."""
ADDRESS = re.compile(r"^[a-z+]*://|^//|:\d+(/.*)?$", re.IGNORECASE)
"""What names a server, and not an application."""
MUCH = 0.3
"""A generator that takes more of a processor than this is noticed by the server beside it."""


class TuneError(StartError):
    """The application could not be measured."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Options:
    """The command line as it was typed. `line` is all of it; None and () are options that were not given."""

    line: Sequence[str]
    target: str
    paths: Sequence[str]
    patience: str | None
    budget: str | None
    output: str | None


def run(options: Options, settings: Settings) -> int:
    """Measure an application, and print or write what is recommended. Raises StartError.

    settings: what `serve` would use here. Of these, those count that say how the application is loaded.
    """
    target = application(options.target)
    paths = [own_path(path) for path in options.paths] or ["/"]
    patience_s = lab.one_value(options.patience, "--patience", PATIENCE)
    budget_s = _budget_s(options.budget)
    outputs = _outputs(options.output)
    flags = flags_of(settings)
    lab.check_application(target, flags)
    machine = machines.read()
    supervised = any(getattr(settings, name) for name in HOOKS)
    bench = Measuring(target, paths, machine, flags=flags, supervised=supervised)
    standard_output.write(
        f"Measuring {target} for about {duration(budget_s)} (--budget). It is asked for {', '.join(paths)} many "
        "thousand times.\n"
    )
    started = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    with lab.Interrupts():
        try:
            tuned = tune(bench, budget_s, patience_s=patience_s, say=_say)
        except MeasureError as error:
            raise TuneError(str(error), origin=target) from None
        except KeyboardInterrupt:
            standard_error.write("interrupted: nothing is recommended\n")
            raise
    notes = _notes(bench)
    text = file(tuned.recommendation, target, paths)
    standard_output.write("\n".join(["", why(tuned.recommendation), *notes, ""]))
    if outputs is None:
        standard_output.write(f"\n{text}")
    else:
        about = {"started": started, "machine": machine.as_json(), "version": machine.halfsync}
        _leave(outputs, text, page(tuned, text, ("halfsync", *options.line), about, notes))
    return 0


def application(target: str) -> str:
    """Return the application. Raises UsageError if it is the address of a server."""
    if ADDRESS.search(target):
        raise UsageError(
            f"{target!r} is an address, and not an application",
            remedy="name it as module:callable; tune loads only servers that it starts itself, on 127.0.0.1",
        )
    return target


def own_path(path: str) -> str:
    """Return a path. Raises UsageError, also if it names a host."""
    if ADDRESS.search(path):
        raise UsageError(
            f"{path!r} names a host",
            origin="--path",
            remedy="give the path alone; tune loads only servers that it starts itself, on 127.0.0.1",
        )
    return lab.request_path(path)


def flags_of(settings: Settings) -> tuple[str, ...]:
    """Return the settings that say how the application is loaded, as flags, if they differ from the defaults."""
    flags: list[str] = []
    for name in CARRIED:
        setting, value = BY_NAME[name], getattr(settings, name)
        if value != setting.default:
            for text in _texts(setting, value):
                flags += [setting.flag, text] if text else [setting.flag]
    return tuple(flags)


def _texts(setting: Setting, value: object) -> list[str]:
    """Return what stands behind each of a setting's flags; "": nothing does."""
    if isinstance(setting.kind, Flag):
        return [""]
    return (
        [setting.kind.show((one,)) for one in value]
        if isinstance(value, tuple)
        else [setting.kind.show(value)]
    )


def _budget_s(text: str | None) -> float:
    budget_s = lab.one_value(text, "--budget", BUDGET) or BUDGET_S
    if budget_s < BUDGET_LEAST_S:
        raise UsageError(
            f"{text!r} is too short to find anything",
            origin="--budget",
            remedy=f"give {BUDGET_LEAST_S:.0f}s at least",
        )
    return budget_s


def _outputs(output: str | None) -> tuple[Path, Path] | None:
    """Return where the settings and the page that explains them go. Raises UsageError if something is there."""
    if output is None:
        return None
    settings = Path(output)
    paths = settings, settings.with_name(f"{settings.name}.html")
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} is there already", origin="--output", remedy="name a new file")
        if not path.parent.is_dir():
            raise UsageError(
                f"there is no directory {path.parent}", origin="--output", remedy="make it first"
            )
    return paths


def _say(line: str) -> None:
    standard_output.write(f"{line}\n")
    sys.stdout.flush()


def _notes(bench: Measuring) -> list[str]:
    if bench.busiest <= MUCH:
        return []
    return [
        f"The load generator took up to {share(bench.busiest)} of a processor, which the server did not have: alone it "
        "can do more."
    ]


def _leave(outputs: tuple[Path, Path], text: str, explanation: str) -> None:
    """Write both files. Raises UsageError."""
    for path, content in zip(outputs, (text, explanation), strict=True):
        try:
            write_whole(path, content)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {reason_of(error)}", origin="--output") from None
    standard_output.write(f"settings: {outputs[0]}\nwhy: {outputs[1]}\n")
