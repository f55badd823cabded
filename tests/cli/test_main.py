"""The command line: what it calls, what it prints, and the code that it ends with."""

import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import halfsync
from halfsync.cli import main
from halfsync.errors import BindError
from halfsync.native.forks import release_signal
from halfsync.runtime.signals import ENDING, HARMLESS
from halfsync.settings import BY_NAME, SETTINGS, Settings
from halfsync.settings.kinds import Optional
from halfsync.settings.setting import spell_flag

APP = "def application(environ, start_response):\n    return []\ndef create():\n    return application\n"
Served = list[tuple[Callable[..., Any], Settings, str]]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with an application, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "site_app", raising=False)
    for name in [name for name in os.environ if name.startswith("HALFSYNC_")]:
        monkeypatch.delenv(name)
    for name in ("PORT", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "site_app.py").write_text(APP)
    before = {number: signal.getsignal(number) for number in (*ENDING, *HARMLESS)}
    yield tmp_path
    # `serve` holds some, and ignores some, up to the end of its process.
    for number, handler in before.items():
        release_signal(number)
        signal.signal(number, handler)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """What the server was asked to serve, in place of a server."""
    calls: Served = []

    def serve(application: Callable[..., Any], settings: Settings, name: str) -> None:
        calls.append((application, settings, name))

    replace_server(monkeypatch, serve)
    return calls


def replace_server(monkeypatch: pytest.MonkeyPatch, serve: Callable[..., None]) -> None:
    foreground = types.ModuleType("halfsync.foreground")
    foreground.serve_alone = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "halfsync.foreground", foreground)
    supervisor = types.ModuleType("halfsync.supervisor.supervise")

    def supervise(
        load: Callable[[Settings], Any], settings: Settings, *, name: str, **_: Any
    ) -> tuple[int, bool]:
        serve(load(settings), settings, name)
        return 0, False

    supervisor.supervise = supervise  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "halfsync.supervisor.supervise", supervisor)


def environment(**extra: str) -> dict[str, str]:
    """Let another process import the halfsync that this one tests, whatever its working directory."""
    return {**os.environ, "PYTHONPATH": str(Path(halfsync.__file__).parent.parent), **extra}


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "halfsync", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(**environ),
    )


@pytest.mark.parametrize("command", [["serve"], []])
def test_serve_hands_the_application_to_the_server(served: Served, command: list[str]) -> None:
    assert main([*command, "site_app:application", "--threads", "8", "-b", ":1", "-b", ":2"]) == 0
    ((application, settings, name),) = served
    assert application({}, None) == []
    assert name == "site_app:application"
    assert (settings.threads, settings.bind) == (8, (":1", ":2"))
    assert settings.origins["threads"] == "--threads"


def test_options_may_come_before_the_target(served: Served) -> None:
    assert main(["--threads", "8", "site_app"]) == 0
    assert served[0][1].threads == 8


def test_flags_turn_on_and_off(served: Served, project: Path) -> None:
    (project / "halfsync.toml").write_text("factory = true\n")
    assert main(["site_app:create"]) == 0
    assert main(["site_app:application", "--no-factory", "--no-server-header"]) == 0
    assert [settings.factory for _, settings, _ in served] == [True, False]
    assert [settings.server_header for _, settings, _ in served] == [True, False]


def test_the_environment_is_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFSYNC_THREADS", "3")
    monkeypatch.setenv("PORT", "5000")
    assert main(["site_app"]) == 0
    assert (served[0][1].threads, served[0][1].bind) == (3, ("0.0.0.0:5000",))


def test_chdir_comes_before_loading(served: Served, project: Path) -> None:
    (project / "inner").mkdir()
    (project / "inner" / "inner_app.py").write_text(APP)
    assert main(["inner_app", "--chdir", "inner"]) == 0
    assert Path.cwd() == project / "inner"
    assert len(served) == 1


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_an_option(served: Served, setting: Any) -> None:
    """Each option takes the default's own text; the target is loaded wherever the option leads."""
    if setting.kind.metavar == "":
        arguments = [setting.flag if setting.default else f"--no-{setting.flag[2:]}"]
    elif setting.default is None:
        (Path("a") if setting.name == "config" else Path("b")).touch()
        values = {"chdir": ".", "config": "a", "umask": "022", "workers": "2", "wsgi_app": "site_app"}
        value = values.get(setting.name, "b")
        value = (
            "b:b" if isinstance(setting.kind, Optional) and setting.kind.metavar == "MODULE:NAME" else value
        )
        arguments = [setting.flag, value]
        if setting.name == "key_password_file":  # which is for a certificate
            arguments += ["--certfile", "b"]
    else:
        arguments = [setting.flag, setting.kind.show(setting.default)]
    assert main(arguments if setting.name == "wsgi_app" else ["site_app", *arguments]) == 0
    settings = served[0][1]
    assert settings.origins[setting.name] == setting.flag
    if setting.default is not None:
        assert getattr(settings, setting.name) == setting.default


@pytest.mark.parametrize("name", ["certfile", "reload_dir"])
def test_paths_may_be_repeated(served: Served, name: str) -> None:
    flag = BY_NAME[name].flag
    assert main(["site_app", flag, "a", flag, "b,c"]) == 0
    assert getattr(served[0][1], name) == ("a", "b,c")  # as for every option that may be repeated


def test_a_bind_error_ends_with_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(*_: object, **__: object) -> None:
        raise BindError("the address is in use", origin="bind :80", remedy="stop it")

    replace_server(monkeypatch, serve)
    assert main(["site_app"]) == 4
    assert capsys.readouterr().err.endswith("halfsync: bind :80: the address is in use; stop it\n")


def test_an_interrupt_while_loading_is_quiet(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "interrupted_app.py").write_text("raise KeyboardInterrupt\n")
    assert main(["interrupted_app"]) == 130
    assert capsys.readouterr().err.strip() == ""


def test_a_real_interrupt_while_loading_is_quiet(project: Path) -> None:
    # The application reports that it is being loaded, so that the signal comes at no other time.
    (project / "waits.py").write_text(
        "import time\nprint('loading', flush=True)\nwhile True:\n    time.sleep(0.01)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "halfsync", "waits"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == ""


def test_check_prints_every_setting_and_its_origin() -> None:
    done = run("check", "site_app", "--max-body", "10m", HALFSYNC_THREADS="7")
    assert (done.returncode, done.stderr) == (0, "")
    first, _, head, *lines = done.stdout.splitlines()
    assert first == "site_app loads, with these settings:"
    assert head.split() == ["setting", "value", "from"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert list(rows) == [setting.name for setting in SETTINGS]
    assert rows["max_body"] == ["10m", "--max-body"]
    assert rows["threads"] == ["7", "$HALFSYNC_THREADS"]
    assert rows["keep_alive"] == ["75s", "default"]
    column = head.index("from")
    assert all(line[column - 1] == " " and line[column] != " " for line in lines)


def test_auto_is_logged_with_its_reasons(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "site_app", "--threads", "auto", "-w", "auto"]) == 0
    *rows, empty, sized = capsys.readouterr().out.splitlines()
    workers, threads = (
        next(row.split() for row in rows if row.startswith(name)) for name in ("workers", "threads")
    )
    assert empty == ""
    assert sized.startswith(f"auto: {workers[1]} worker")
    assert (threads[2:], workers[2:]) == (["--threads", "(auto)"], ["--workers", "(auto)"])
    assert main(["site_app", "--threads", "auto"]) == 0
    assert served[0][1].threads == int(threads[1])
    assert main(["site_app", "--threads", "2"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            ["check", "site_app", "--threads", "x"],
            2,
            "--threads: 'x' is not a whole number from 1 to 1024 or auto",
        ),
        (
            ["check", "site_app", "--user", "nobody-here"],
            2,
            "--user: there is no user 'nobody-here'; check the name",
        ),
        (
            ["check", "site_app", "--pidfile", "/nowhere/x"],
            2,
            "--pidfile: /nowhere/x cannot be written: no such file",
        ),
        (
            ["check", "site_app", "--post-fork", "hook:f"],
            2,
            "--post-fork: post_fork applies only to serving processes",
        ),
        (
            ["check", "site_app", "-w", "2", "--worker-exit", "gone:f"],
            3,
            "worker_exit gone:f: no module named 'gone'",
        ),
        (
            ["site_app", "--boot-timeout", "60s"],
            2,
            "--boot-timeout: boot_timeout applies only to serving processes",
        ),
        (
            ["site_app", "--admin-bind", "127.0.0.1:8000"],
            2,
            "--admin-bind: 127.0.0.1:8000 is also a bind, and probes need an address of their own; choose another",
        ),
        (
            ["site_app", "-w", "2", "-b", ":8000", "--admin-bind", "[::1]:8000"],
            2,
            "--admin-bind: [::1]:8000 listens where bind :8000 does",
        ),
        (["site_app", "-w", "0"], 2, "--workers: '0' is not a whole number from 1 to 1024 or auto"),
        (
            ["site_app", "--reload", "--preload"],
            2,
            "--preload: preload keeps the code that was loaded at the start",
        ),
        (
            ["check", "site_app", "--reload", "--preload"],
            2,
            "--preload: preload keeps the code that was loaded at the start",
        ),
        (
            ["site_app:application", "--stream"],
            3,
            "site_app:application: 'application' cannot be called without arguments: missing a required argument: "
            "'environ'; name a class, or a function without arguments, that makes a handler with received() and "
            "closed()",
        ),
        (["site_app", "--thread", "3"], 2, "no such option --thread; did you mean --threads?"),
        (
            ["site_app", "--threads"],
            2,
            "option '--threads' requires an argument; see `halfsync serve --help`",
        ),
        (["site_app", "other"], 2, "got unexpected extra argument (other); see `halfsync serve --help`"),
        (
            ["serve"],
            2,
            "no application is named; name it as module:callable, or set wsgi_app in halfsync.toml; see "
            "`halfsync serve --help`",
        ),
        (
            ["site_app", "--wsgi-app", "other"],
            2,
            "--wsgi-app: two applications are named: site_app and other",
        ),
        (
            ["site_app", "--env", "HALFSYNC_BIND=:1"],
            2,
            "--env: HALFSYNC_BIND is a setting of the server; set bind",
        ),
        (["site_app", "--env-file", "gone"], 2, "--env-file: cannot read gone: no such file or directory"),
        (["site_app", "--pythonpath", "gone"], 2, "--pythonpath: there is no directory "),
        (
            ["site_app", "--chdir", "gone"],
            2,
            "--chdir: cannot change to 'gone': no such file or directory; name a directory that exists",
        ),
        (
            ["serv", "site_app"],
            2,
            "no command 'serv'; did you mean 'serve'? An application is named as module:callable",
        ),
        (["site_app:aplication"], 3, "site_app:aplication: site_app has no attribute 'aplication'; "),
        (["check", "sight_app"], 3, "sight_app: no module named 'sight_app' in "),
        (["status"], 2, "admin_bind is not set"),
    ],
)
def test_mistakes_are_one_line_and_a_code(arguments: list[str], code: int, line: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert done.stderr.partition("halfsync: ")[2].startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_unknown_variable_is_one_line() -> None:
    done = run("check", "site_app", HALFSYNC_THREDS="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "did you mean 'HALFSYNC_THREADS'?" in done.stderr


def test_the_applications_own_exception_is_shown_and_then_one_line(project: Path) -> None:
    (project / "broken.py").write_text("def fail():\n    return 1 / 0\nfail()\n")
    done = run("broken")
    *trace, last = done.stderr.splitlines()
    assert done.returncode == 3
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "ZeroDivisionError: division by zero"
    assert not any("halfsync" in line or "importlib" in line for line in trace)
    assert " ERROR halfsync: broken: importing broken failed: ZeroDivisionError" in last


def test_a_module_named_like_a_misspelt_command_is_served(served: Served, project: Path) -> None:
    (project / "server.py").write_text(APP)
    assert main(["server"]) == 0
    assert served[0][2] == "server"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_the_commands(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in ("serve", "check", "status", "compare"))


@pytest.mark.parametrize("command", ["serve", "check"])
def test_help_names_every_setting_within_80_columns(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    words = done.stdout.replace(",", " ").split()
    for setting in SETTINGS:
        assert (f"--no-{setting.flag[2:]}" if setting.default is True else setting.flag) in words


def test_help_lines_up_and_leaves_out_other_servers_names() -> None:
    done = run("serve", "--help")
    assert "  -p, --pidfile FILE " in done.stdout
    assert "  -e, --env NAME=VALUE " in done.stdout
    for alias in (spell_flag(alias) for setting in SETTINGS for alias in setting.aliases):
        assert f"{alias} " not in done.stdout, alias


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("halfsync ")


def test_choices_complete_in_the_shell() -> None:
    done = run(_HALFSYNC_COMPLETE="bash_complete", COMP_WORDS="halfsync serve --poller e", COMP_CWORD="3")
    assert done.stdout.split() == ["plain,epoll"]


def test_starting_stays_light() -> None:
    """Serving imports nothing that only mistakes, files or other commands need."""
    heavy = {
        "asyncio", "difflib", "email", "importlib.metadata", "json", "logging", "pathlib", "ssl",
        "subprocess", "tempfile", "tomllib", "traceback", "unittest", "urllib",
    }  # fmt: skip
    print_modules = "import sys; print(*sys.modules)"
    bare, loaded = (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
        )
        for code in (print_modules, f"import halfsync.cli.commands; {print_modules}")
    )
    assert heavy & (set(loaded.stdout.split()) - set(bare.stdout.split())) == set()


def test_check_opens_the_directories_of_static_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "static_app.py").write_text("def app(environ, start_response):\n    return []\n")
    (tmp_path / "public").mkdir()
    assert main(["check", "static_app", "--static", "/static=public"]) == 0
    assert main(["check", "static_app", "--static", "/static=missing"]) == 2
    assert "--static: 'missing' cannot be served under /static" in capsys.readouterr().err
