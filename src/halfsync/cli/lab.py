"""`halfsync compare`: read the command line, run the experiments, and leave a report.

It needs the extra `lab`. Only this module and `tune` import the lab, and `commands` imports these only if one of the
two commands runs.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Self, TypeVar

import hdrh  # noqa: F401 - the lab imports it only when it has measured something, and it must be there then

from halfsync.errors import HalfsyncError, LoadError, UsageError, near, reason_of
from halfsync.lab import machine as machines
from halfsync.lab import progress
from halfsync.lab.comparing import Comparison
from halfsync.lab.experiment import Experiment, Outcome
from halfsync.lab.experiments import ALL, BY_NAME
from halfsync.lab.laboratory import MODELS, Laboratory, Wanted
from halfsync.lab.report import report
from halfsync.lab.results import Results, write, write_whole
from halfsync.runtime.output import standard_error, standard_output
from halfsync.settings.kinds import Count, Duration, Kind

DEFAULT = "models"
EVERY = "all"
CLIENTS = Count(1, 20_000)
ROUNDS = Count(1, 100)
MEASURED = Duration(longest_s=3600)
BUDGET = Duration(longest_s=86_400)
BUDGET_S = 270.0
"""How long an experiment may take: with all that comes before and after it, less than five minutes."""
FOLDER = "halfsync-compare-%Y%m%d-%H%M%S"
RESULTS, REPORT = "results.json", "report.html"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIBRARIES = ("halfsync", "hdrhistogram", "matplotlib", "rich")
NOTHING_MEASURED = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """The command line as it was typed. `line` is all of it; None and "" are options that were not given."""

    line: Sequence[str]
    target: str | None
    path: str
    models: str | None
    clients: str | None
    duration: str | None
    rounds: str | None
    budget: str | None
    experiments: Sequence[str]
    python: str | None
    output: str | None


class Interrupts:
    """Ctrl-C and the signals that end a program, as one KeyboardInterrupt: what it ends is then ended in peace."""

    def __init__(self) -> None:
        self._seen = False

    def __enter__(self) -> Self:
        # One that is ignored stays so: nohup, and shells for what they run in the background, ask for that.
        numbers = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._interrupt) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._seen:
            self._seen = True
            raise KeyboardInterrupt

    def allow(self) -> None:
        """Let the next one interrupt again."""
        self._seen = False


def show_experiments() -> None:
    """Print the experiments with their claims."""
    width = max(len(experiment.name) for experiment in ALL)
    for experiment in ALL:
        standard_output.write(f"{experiment.name:{width}}  {experiment.claim}\n")


def compare(options: Options) -> int:
    """Run what the options ask for, and return the exit code. Raises StartError for what cannot be run."""
    experiments = chosen(options.experiments)
    wanted = Wanted(
        application=options.target,
        path=request_path(options.path),
        models=names(options.models, MODELS, "--models", "model") if options.models is not None else MODELS,
        clients=_numbers(options.clients, "--clients", CLIENTS) if options.clients is not None else None,
        duration_s=one_value(options.duration, "--duration", MEASURED),
        rounds=one_value(options.rounds, "--rounds", ROUNDS),
        python=_interpreter(options.python),
    )
    budget_s = one_value(options.budget, "--budget", BUDGET) or BUDGET_S
    if wanted.application is not None:
        check_application(wanted.application)
    folder = _folder(options.output)
    machine = machines.read()
    results = Results(
        started=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        command=("halfsync", *options.line),
        machine=machine.as_json(),
        versions={name: metadata.version(name) for name in LIBRARIES},
        application=wanted.application,
    )
    _write(lambda: write(results, folder / RESULTS), folder)
    return _run(experiments, Laboratory(machine, wanted, 0.0), results, folder, budget_s)


def _run(
    experiments: Sequence[Experiment], laboratory: Laboratory, results: Results, folder: Path, budget_s: float
) -> int:
    """Run the experiments, write the report, and return the exit code. An interrupt goes on once there is a report."""
    interrupted = False
    with Interrupts() as interrupts:
        try:
            with progress.shown(sys.stdout) as shown:
                comparison = Comparison(results, folder / RESULTS, laboratory, shown, budget_s=budget_s)
                _write(lambda: comparison.run(experiments), folder)
        except KeyboardInterrupt:
            interrupted = True
            interrupts.allow()
            standard_error.write(
                "interrupted: writing the report of what was measured; again: without a report\n"
            )
        _write(lambda: write_whole(folder / REPORT, report(comparison.results)), folder)
    standard_output.write(f"report: {folder / REPORT}\nmeasurements: {folder / RESULTS}\n")
    if interrupted:
        raise KeyboardInterrupt
    verdicts = [record.verdict for record in comparison.results.records]
    nothing = all(verdict is None or verdict.outcome is Outcome.NOT_MEASURED for verdict in verdicts)
    return NOTHING_MEASURED if nothing else 0


def chosen(wanted: Sequence[str]) -> list[Experiment]:
    """Return the experiments of these names, in their own order; without names the default one. Raises UsageError."""
    if EVERY in wanted:
        return list(ALL)
    known = names(",".join(wanted) or DEFAULT, (*BY_NAME, EVERY), "--experiment", "experiment")
    return [experiment for experiment in ALL if experiment.name in known]


def names(text: str, known: Sequence[str], flag: str, noun: str) -> tuple[str, ...]:
    """Return the names in a list with commas, in the order in which they are known. Raises UsageError."""
    given = _parts(text, flag)
    for name in given:
        if name not in known:
            close = near(name, known)
            remedy = f"did you mean {close!r}?" if close else f"there are {', '.join(known)}"
            raise UsageError(f"no {noun} {name!r}", origin=flag, remedy=remedy)
    return tuple(name for name in known if name in given)


def check_application(target: str, flags: Sequence[str] = ()) -> None:
    """Raise LoadError if the application cannot be served, or UsageError if its settings are wrong.

    It is loaded by `halfsync check`, as the lab would by no means share a process with it.
    """
    done = subprocess.run(
        [sys.executable, "-m", "halfsync", "check", target, *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    if done.returncode == 0:
        return
    *trace, last = done.stderr.strip().splitlines() or [f"`halfsync check` ended with {done.returncode}"]
    problem = last.partition("halfsync: ")[2] or last
    if done.returncode == UsageError.exit_code:
        raise UsageError(problem)
    raise LoadError(problem, traceback="".join(f"{line}\n" for line in trace))


def _parts(text: str, flag: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"{text!r} is not a list like a,b,c", origin=flag)
    return parts


def _numbers(text: str, flag: str, kind: Kind[int]) -> tuple[int, ...]:
    return tuple(sorted({_value(part, flag, kind) for part in _parts(text, flag)}))


def one_value(text: str | None, flag: str, kind: Kind[T]) -> T | None:
    """Return the value of an option, or None if it was not given. Raises UsageError."""
    return None if text is None else _value(text, flag, kind)


def _value(text: str, flag: str, kind: Kind[T]) -> T:
    try:
        return kind.convert(text)
    except UsageError as error:
        raise UsageError(error.problem, origin=flag, remedy=error.remedy) from None


def request_path(path: str) -> str:
    """Return what is requested of the application. Raises UsageError if it is no path."""
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise UsageError(f"{path!r} is not a path", origin="--path", remedy="write it like /shop?page=2")
    return path


def _interpreter(path: str | None) -> str | None:
    """Return the interpreter, once it has shown that it can run halfsync. Raises UsageError."""
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "-m", "halfsync", "--version"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UsageError(f"{path} cannot be run: {reason_of(error)}", origin="--python") from None
    if done.returncode:
        raise UsageError(
            f"{path} cannot run halfsync",
            origin="--python",
            remedy=f"install it: {path} -m pip install halfsync",
        )
    return path


def _folder(output: str | None) -> Path:
    """Return the folder for the results, which is there now. Raises UsageError."""
    folder = Path(output if output is not None else datetime.now().strftime(FOLDER))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


def _write(action: Callable[[], None], folder: Path) -> None:
    try:
        action()
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> HalfsyncError:
    return UsageError(
        f"{folder} cannot be written: {reason_of(error)}", origin="--output", remedy="name a folder of yours"
    )
