"""`halfsync compare`: what it refuses, what it leaves, and what it is without the extra."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client import fetch
from tests.faults.serving import Serving
from tests.lab.fakes import Invented
from tests.lab.pages import Page
from tests.wsgi import until

from halfsync.cli import lab, main
from halfsync.errors import UsageError
from halfsync.lab import results
from halfsync.lab.experiment import Cell, MeasureError
from halfsync.lab.experiments import ALL

MODULES = """
import sys

def app(environ, start_response):
    start_response("200 OK", [])
    return ["\\n".join(sys.modules).encode()]
"""

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Invented:
    """The only experiment there is: its figures are made up."""
    experiment = Invented()
    monkeypatch.setattr(lab, "ALL", (experiment,))
    monkeypatch.setattr(lab, "BY_NAME", {"invented": experiment})
    monkeypatch.setattr(lab, "DEFAULT", "invented")
    return experiment


def run(*arguments: str, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own, which runs the code in `before` first."""
    code = f"import sys\n{before}\nfrom halfsync.cli import main\nsys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, **environ},
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--models", "thread,proactr"], "--models: no model 'proactr'; did you mean 'proactor'?"),
        (["--models", "xyz"], "--models: no model 'xyz'; there are process, thread, pool, proactor"),
        (["--models", ""], "--models: '' is not a list like a,b,c"),
        (["--models", "pool,,thread"], "--models: 'pool,,thread' is not a list like a,b,c"),
        (["--clients", "1,x"], "--clients: 'x' is not a whole number from 1 to 20000"),
        (["--clients", "0"], "--clients: '0' is not a whole number from 1 to 20000"),
        (["--clients", "1e3"], "--clients: '1e3' is not a whole number from 1 to 20000"),
        (["--clients", "1;2"], "--clients: '1;2' is not a whole number from 1 to 20000"),
        (
            ["--duration", "0"],
            "--duration: '0' is not a duration longer than 0 to 1h; write it like 500ms, 30s",
        ),
        (["--duration", "2 hours"], "--duration: '2 hours' is not a duration longer than 0 to 1h"),
        (["--budget", "nan"], "--budget: 'nan' is not a duration longer than 0 to 24h"),
        (["--rounds", "0"], "--rounds: '0' is not a whole number from 1 to 100"),
        (["--experiment", "model"], "--experiment: no experiment 'model'; did you mean 'models'?"),
        (["--experiment", "qqq"], "--experiment: no experiment 'qqq'; there are models, "),
        (["--path", "shop"], "--path: 'shop' is not a path; write it like /shop?page=2"),
        (["--path", "/a b"], "--path: '/a b' is not a path; write it like /shop?page=2"),
        (
            ["--python", "/nowhere/python"],
            "--python: /nowhere/python cannot be run: no such file or directory",
        ),
        (
            ["--python", "/bin/false"],
            "--python: /bin/false cannot run halfsync; install it: /bin/false -m pip install",
        ),
        (
            ["--output", "site_app.py/x"],
            "--output: site_app.py/x cannot be written: not a directory; name a folder",
        ),
        (
            ["--output", "/proc/x"],
            "--output: /proc/x cannot be written: no such file or directory; name a folder",
        ),
        (
            ["--output", "/dev/null"],
            "--output: /dev/null cannot be written: file exists; name a folder of yours",
        ),
        (["--model", "pool"], "no such option --model; did you mean --models?"),
        (["site_app", "other"], "got unexpected extra argument (other); see `halfsync compare --help`"),
    ],
)
def test_mistakes_are_one_line_and_2(
    arguments: list[str], line: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"halfsync: {line}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert [entry.name for entry in project.iterdir()] == ["site_app.py"]


@pytest.mark.parametrize(
    ("target", "code", "line"),
    [
        ("sight_app", 3, "sight_app: no module named 'sight_app' in "),
        ("site_app:ap", 3, "site_app:ap: site_app has no attribute 'ap'; "),
        ("broken", 3, "broken: importing broken failed: ZeroDivisionError"),
    ],
)
def test_an_application_that_does_not_load_is_refused(
    target: str, code: int, line: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "broken.py").write_text("1 / 0\n")
    assert main(["compare", target]) == code
    captured = capsys.readouterr()
    *trace, last = captured.err.splitlines()
    assert last.startswith(f"halfsync: {line}")
    assert any("ZeroDivisionError" in one for one in trace) == (target == "broken")
    assert captured.out == ""


def test_wrong_settings_of_the_application_are_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "halfsync.toml").write_text("threads = 'many'\n")
    assert main(["compare", "site_app"]) == 2
    assert capsys.readouterr().err.startswith(
        "halfsync: threads in halfsync.toml: 'many' is not a whole number"
    )


def test_a_folder_that_must_not_be_written_is_refused_before_anything_is_measured(
    project: Path, invented: Invented, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(*_args: object, **_kwargs: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", read_only)
    assert main(["compare", "--output", "out"]) == 2
    assert capsys.readouterr().err.startswith("halfsync: --output: out cannot be written: permission denied")
    assert invented.measured == []


def test_list_names_each_experiment_with_its_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == [experiment.name for experiment in ALL]
    for line, experiment in zip(lines, ALL, strict=True):
        assert line.endswith(f"  {experiment.claim}")


def test_names_of_experiments_are_one_word_each() -> None:
    names = [experiment.name for experiment in ALL]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalpha() and name == name.lower() for name in names)


def test_which_experiments_run() -> None:
    first = ALL[0].name
    assert [one.name for one in lab.chosen(())] == ["models"]
    assert lab.chosen(("all",)) == lab.chosen((first, "all")) == list(ALL)
    assert lab.chosen((first, first)) == [ALL[0]]
    with pytest.raises(UsageError):
        lab.chosen((first, "other"))


def test_it_leaves_a_report_and_the_measurements(
    project: Path, invented: Invented, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--rounds", "2", "--output", "some/where"]) == 0
    found = results.read(project / "some/where/results.json")
    assert found.command == ("halfsync", "compare", "--rounds", "2", "--output", "some/where")
    assert found.whole
    assert len(found.records[0].samples.samples) == 14
    assert found.versions.keys() == {"halfsync", "hdrhistogram", "matplotlib", "rich"}
    assert found.machine["limits"]["ports"] > 0
    page = Page((project / "some/where/report.html").read_text())
    assert page.faults == []
    assert "holds the pool costs" in page.text
    output = capsys.readouterr().out
    assert "report: some/where/report.html\n" in output
    assert "14/14 round 2" in output
    assert sorted(entry.name for entry in (project / "some/where").iterdir()) == [
        "report.html",
        "results.json",
    ]


def test_without_an_output_the_folder_has_the_time_in_its_name(project: Path, invented: Invented) -> None:
    assert main(["compare", "--rounds", "1"]) == 0
    (folder,) = project.glob("halfsync-compare-*")
    assert results.read(folder / "results.json").whole


def test_nothing_measured_ends_with_1(
    invented: Invented, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(_laboratory: Any) -> None:
        raise MeasureError("the server did not start")

    monkeypatch.setattr(invented, "plan", plan, raising=False)
    assert main(["compare", "--output", "out"]) == 1
    output = capsys.readouterr().out
    assert "invented: not measured: the server did not start\n" in output
    assert "not measured the server did not start" in Page(Path("out/report.html").read_text()).text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_a_partial_report_and_130(
    number: signal.Signals, invented: Invented, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {one: signal.getsignal(one) for one in lab.ENDING}

    def interrupts(_cell: Cell) -> None:
        if len(invented.measured) == 9:
            signal.raise_signal(number)

    invented.before = interrupts
    assert main(["compare", "--output", "out"]) == 130
    found = results.read(Path("out/results.json"))
    assert not found.whole
    assert len(found.records[0].samples.samples) == 9
    page = Page(Path("out/report.html").read_text())
    assert page.faults == []
    assert "Partial:" in page.text
    assert "interrupted: " in capsys.readouterr().err
    assert {one: signal.getsignal(one) for one in lab.ENDING} == before


def test_a_second_interrupt_while_the_first_is_obeyed_does_nothing_and_later_it_ends_the_report(
    invented: Invented, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(_cell: Cell) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)  # while a server would be ended

    def impatient(_results: object) -> str:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("an interrupt of the report ends it")

    invented.before = twice
    monkeypatch.setattr(lab, "report", impatient)
    assert main(["compare", "--output", "out"]) == 130
    assert not results.read(Path("out/results.json")).whole
    assert not Path("out/report.html").exists()


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with lab.Interrupts():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def with_variable(mark: str) -> Iterator[int]:
    """Yield the processes that have this in their environment."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                yield int(entry.name)
        except OSError:
            continue


def test_an_interrupt_ends_the_server_and_the_generator() -> None:
    """In the middle of a real measurement, which it leaves no process of."""
    mark = f"LAB_TEST={uuid.uuid4()}"
    with subprocess.Popen(
        [
            sys.executable, "-m", "halfsync", "compare", "site_app", "--models", "thread", "--clients", "2",
            "--duration", "1h", "--output", "out",
        ],
        env={**os.environ, **dict([mark.split("=")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("models: ")
            # Itself, a server, and a generator, which has an hour to go.
            until(lambda: any(is_generator(pid) for pid in with_variable(mark)), timeout_s=60)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted: " in errors
    assert list(with_variable(mark)) == []
    found = results.read(Path("out/results.json"))
    assert (found.whole, found.application) == (False, "site_app")
    assert Page(Path("out/report.html").read_text()).faults == []


def is_generator(pid: int) -> bool:
    try:
        return b"halfsync.lab.generating" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_two_models_are_compared_on_the_application_of_the_user(project: Path) -> None:
    arguments = ("--models", "proactor,thread", "--clients", "3", "--duration", "300ms", "--rounds", "1")
    done = run("compare", "site_app:app", *arguments, "--output", "out")
    assert done.returncode == 0, done.stderr
    found = results.read(project / "out/results.json")
    (record,) = found.records
    assert record.plan is not None
    assert {(cell.arm, cell.place) for cell in record.plan.cells} == {
        ("thread", 3),
        ("proactor", 3),
    }
    assert len(record.samples.samples) == 3
    for sample in record.samples:
        assert {"cpu_us", "rate", "p50_ms", "p99_ms"} <= sample.metrics.keys(), sample.note
        assert sample.metrics["cpu_us"] > 0
        assert sample.metrics["rate"] > 0
    assert record.verdict is not None
    assert "times as many requests per second" in record.verdict.sentence


@pytest.mark.parametrize("missing", ["matplotlib", "rich", "hdrh"])
@pytest.mark.parametrize("arguments", [["compare"], ["compare", "--list"]])
def test_without_the_extra_one_line_says_what_to_install(missing: str, arguments: list[str]) -> None:
    done = run(*arguments, before=f"sys.modules[{missing!r}] = None")
    assert (done.returncode, done.stdout) == (2, "")
    line = f"halfsync: the lab needs {missing}; install it: pip install 'halfsync[lab]'\n"
    assert done.stderr == line


def test_a_fault_of_the_lab_itself_is_not_taken_for_a_missing_extra() -> None:
    done = run("compare", before="sys.modules['halfsync.lab.comparing'] = None")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "pip install" not in done.stderr


def test_serving_imports_nothing_of_the_lab(project: Path) -> None:
    with Serving(project, MODULES) as serving:
        loaded = set(fetch(serving.address).body.decode().split())
    assert "halfsync.cli.commands" in loaded
    assert not [name for name in loaded if name.startswith(("halfsync.lab", "halfsync.cli.lab"))]
    assert not {"matplotlib", "numpy", "rich", "hdrh"} & loaded


def test_help_fits_and_names_the_options() -> None:
    done = run("compare", "--help")
    assert done.returncode == 0
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    for flag in (
        "--models",
        "--clients",
        "--duration",
        "--experiment",
        "--list",
        "--output",
        "--rounds",
        "--budget",
    ):
        assert f"  {flag}" in done.stdout
