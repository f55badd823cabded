"""`halfsync tune`: what it refuses, what it prints and leaves, and that it loads no server but its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import APP
from tests.lab.pages import Page
from tests.lab.tune.surfaces import Surface

from halfsync.cli import main, tune
from halfsync.lab.errors import MeasureError
from halfsync.settings import resolve

OWN_SERVERS = "tune loads only servers that it starts itself, on 127.0.0.1"

pytestmark = pytest.mark.usefixtures("project")


class Bench(Surface):
    """A bench of an application that is known, for whatever is to be measured. `made` is what it was made with."""

    made: tuple[Any, ...] = ()
    busiest = 0.1

    def __init__(self, target: str, paths: list[str], _machine: object, **more: Any) -> None:
        super().__init__(0.002, 0.002, 0.002, 2, noise=0.0)
        Bench.made = (target, paths, more)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> type[Bench]:
    """What measures is this."""
    monkeypatch.setattr(tune, "Measuring", Bench)
    monkeypatch.setattr(Bench, "busiest", 0.1)
    return Bench


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["http://example.org/"], "'http://example.org/' is an address, and not an application; name it as "),
        (["https://127.0.0.1:8000"], f"'https://127.0.0.1:8000' is an address, and not an application; name it as "
         f"module:callable; {OWN_SERVERS}"),
        (["//example.org"], "'//example.org' is an address, and not an application; "),
        (["example.org:80"], "'example.org:80' is an address, and not an application; "),
        (["localhost:8000/shop"], "'localhost:8000/shop' is an address, and not an application; "),
        (["site_app", "--path", "http://example.org/"], "--path: 'http://example.org/' names a host; give the path "
         f"alone; {OWN_SERVERS}"),
        (["site_app", "--path", "/", "--path", "//example.org/"], "--path: '//example.org/' names a host; "),
        (["site_app", "--path", "shop"], "--path: 'shop' is not a path; write it like /shop?page=2"),
        (["site_app", "--path", "/a b"], "--path: '/a b' is not a path; "),
        (["site_app", "--budget", "10s"], "--budget: '10s' is too short to find anything; give 30s at least"),
        (["site_app", "--budget", "soon"], "--budget: 'soon' is not a duration longer than 0 to 24h"),
        (["site_app", "--patience", "0"], "--patience: '0' is not a duration longer than 0 to 1h"),
        (["site_app", "--output", "site_app.py"], "--output: site_app.py is there already; name a new file"),
        (["site_app", "--output", "no/where.toml"], "--output: there is no directory no; make it first"),
        (["site_app", "--config", "other.toml"], "--config: cannot read other.toml: "),
        (["site_app", "--pathh", "/"], "no such option --pathh; did you mean --path?"),
        ([], "missing argument 'MODULE:CALLABLE'; see `halfsync tune --help`"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_2(
    arguments: list[str], line: str, project: Path, bench: type[Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    bench.made = ()
    assert main(["tune", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"halfsync: {line}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert bench.made == ()
    assert [entry.name for entry in project.iterdir()] == ["site_app.py"]


def test_an_application_that_does_not_load_is_refused(
    bench: type[Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    bench.made = ()
    assert main(["tune", "sight_app"]) == 3
    assert capsys.readouterr().err.startswith("halfsync: sight_app: no module named 'sight_app' in ")
    assert bench.made == ()


def test_it_prints_settings_that_a_server_accepts(
    project: Path, bench: type[Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "site_app", "--path", "/a", "--path", "/b?c=d"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "Measuring site_app for about 2 min 00 s (--budget). It is asked for /a, /b?c=d many "
    )
    assert bench.made == ("site_app", ["/a", "/b?c=d"], {"flags": (), "supervised": False})
    assert "\nTake proactor, " in said
    settings = said[said.index("# Written by `halfsync tune site_app --path /a --path /b?c=d`.") :]
    (project / "tuned.toml").write_text(settings)
    assert resolve({"config": "tuned.toml"}).workers in (2, 4)
    assert main(["check", "site_app", "--config", "tuned.toml"]) == 0
    assert "load generator" not in said


def test_it_leaves_settings_and_a_page(
    project: Path, bench: type[Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    bench.busiest = 0.5
    assert main(["tune", "site_app", "--output", "tuned.toml", "--patience", "300ms"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("settings: tuned.toml\nwhy: tuned.toml.html\n")
    assert "took up to 50 % of a processor, which the server did not have" in said
    assert "clients that wait for 300 ms" in said
    assert resolve({"config": "tuned.toml"}).workers in (2, 4)
    page = Page((project / "tuned.toml.html").read_text())
    assert page.faults == []
    assert "halfsync tune site_app --output tuned.toml" in page.text
    assert "took up to 50 %" in page.text


def test_how_the_application_is_loaded_is_passed_on(project: Path, bench: type[Bench]) -> None:
    (project / "halfsync.toml").write_text(
        "chdir = '.'\nfactory = true\nroot_path = '/shop'\nworkers = 3\nthreads = 9\npost_fork = 'site_app:hook'\n"
    )
    (project / "site_app.py").write_text(
        f"{APP}\ndef make():\n    return app\n\ndef hook(_process):\n    pass\n"
    )
    assert main(["tune", "site_app:make"]) == 0
    flags = ("--chdir", ".", "--factory", "--root-path", "/shop", "--post-fork", "site_app:hook")
    assert bench.made == ("site_app:make", ["/"], {"flags": flags, "supervised": True})


def test_what_cannot_be_measured_is_one_line_and_1(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_bench: Bench) -> tuple[float, float]:
        raise MeasureError("GET / is not answered with a success: errors 9")

    monkeypatch.setattr(bench, "alone", fail)
    assert main(["tune", "site_app"]) == 1
    assert capsys.readouterr().err == "halfsync: site_app: GET / is not answered with a success: errors 9\n"


def test_an_interrupt_recommends_nothing(
    project: Path, bench: type[Bench], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_bench: Bench) -> tuple[float, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "alone", interrupt)
    assert main(["tune", "site_app", "--output", "tuned.toml"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted: nothing is recommended"
    assert [entry.name for entry in project.iterdir()] == ["site_app.py"]


def test_files_that_cannot_be_written_are_named(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tune, "write_whole", full)
    assert main(["tune", "site_app", "--output", "tuned.toml"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "halfsync: --output: tuned.toml cannot be written: no space left on device"


@pytest.mark.parametrize("module", ["hdrh", "matplotlib", "rich"])
def test_without_the_extra_it_says_what_to_install(module: str) -> None:
    code = (
        f"import sys\nsys.modules[{module!r}] = None\n"
        "from halfsync.cli import main\nsys.exit(main(['tune', 'site_app']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"halfsync: the lab needs {module}; install it: pip install 'halfsync[lab]'\n"
