"""Projects whose modules have the names of those of the standard library: the server never imports them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.client import fetch
from tests.faults.serving import MODELS, Serving, environment
from tests.wsgi import until

APP = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise ValueError("of the application")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
STREAM = """
class Echo:
    def received(self, data):
        return data
    def closed(self):
        pass

app = Echo
"""
OWN = """
from resource import users

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [users()]
"""
RUNS = {
    "alone": (),
    "workers": ("--workers", "2"),
    "preload": ("--workers", "1", "--preload"),
    "reload": ("--reload",),
}
# An application with a second directory of modules, which is put on sys.path by {0}, {1} or {2}.
SECOND = """
import os, sys

def insert():
    if sys.path[0] != os.path.abspath("apps"):
        sys.path.insert(0, os.path.abspath("apps"))

{0}

def app():
    {1}
    return application

def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        {2}
        raise ValueError(
            "of the application" + environ["PATH_INFO"] * 0)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
WAYS = {
    "at import": SECOND.format("insert()", "pass", "pass"),
    "by the factory": SECOND.format("pass", "insert()", "pass"),
    "by a request": SECOND.format("pass", "pass", "insert()"),
}
# The rest of what is imported only if it is asked for, together as far as it goes.
MORE: dict[str, tuple[str, ...]] = {
    "everything": (
        "--access-log", "access.log", "--admin-bind", "127.0.0.1:0", "--static", "/files=files", "--pidfile", "pid",
        "--config", "halfsync.toml", "--forwarded-allow-ips", "10.0.0.0/8",
    ),
    "warmup": ("--workers", "1", "--warmup", "/", "--max-requests", "1000"),
    "auto": ("--workers", "auto", "--threads", "auto"),
}  # fmt: skip
ROOTS: dict[str, tuple[str, ...]] = {  # what takes root
    "user": ("--user", "nobody"),
    "unix_owner": ("--bind", "unix:socket", "--unix-owner", "nobody"),
}


def imported_by_python() -> set[str]:
    """Return the modules that Python imports for any `python -m`, which no program can help."""
    code = "import runpy, sys, pkgutil; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(told.stdout.split())


def find_dependencies() -> set[str]:
    """Return the packages that those import which the server imports on demand, and others that they might."""
    code = (
        "import sys; before = {*sys.modules}; import click, setproctitle, watchfiles\n"
        "print(*{name.partition('.')[0] for name in {*sys.modules} - before})\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {*told.stdout.split(), "exceptiongroup", "idna", "sniffio", "trio", "typing_extensions"}


def make_modules(directory: Path, names: Iterable[str]) -> None:
    """Make modules that say so if they are imported, and end the process."""
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / f"{name}.py").write_text(
            f"import os\nos.write(2, b'{name}.py of the project was imported\\n')\nraise SystemExit\n"
        )


def fill(directory: Path) -> None:
    """Make a module of each name that a module of the standard library, or a package of ours, has."""
    make_modules(directory, {*sys.stdlib_module_names, *find_dependencies()} - imported_by_python())
    (directory / "files").mkdir()
    (directory / "halfsync.toml").write_text("max_body = '1m'\n")


def see_served(serving: Serving) -> None:
    """See that requests are answered, and that an error of the application is logged with its traceback."""
    assert fetch(serving.address).body == b"ok"
    assert fetch(serving.address, "/raise").status == 500
    serving.wait_line("ValueError: of the application")


def end(serving: Serving) -> None:
    """End the server, and see that it had none of the modules."""
    serving.signal(signal.SIGTERM)
    assert serving.exit_code() == 0, serving.lines
    assert not any("was imported" in line for line in serving.lines), serving.lines


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", MODELS)
def test_a_project_may_have_modules_of_any_name(tmp_path: Path, model: str, run: str) -> None:
    fill(tmp_path)
    with Serving(tmp_path, APP, *MODELS[model], *RUNS[run]) as serving:
        see_served(serving)
        if run in ("workers", "preload"):
            serving.signal(signal.SIGHUP)
            serving.wait_line("the reload is complete")
            assert fetch(serving.address).body == b"ok"
        end(serving)


@pytest.mark.parametrize("more", MORE)
def test_and_ask_for_anything(tmp_path: Path, more: str) -> None:
    fill(tmp_path)
    with Serving(tmp_path, APP, *MORE[more]) as serving:
        assert fetch(serving.address).body == b"ok"
        end(serving)


def test_and_serve_a_stream(tmp_path: Path) -> None:
    fill(tmp_path)
    with Serving(tmp_path, STREAM, "--stream") as serving:
        end(serving)


def test_mistakes_are_shown_in_development(tmp_path: Path) -> None:
    fill(tmp_path)
    with Serving(tmp_path, "raise ValueError('a mistake')", "--reload") as serving:
        assert b"a mistake" in fetch(serving.address).body
        (tmp_path / "served.py").write_text(APP)
        until(lambda: fetch(serving.address).body == b"ok")
        end(serving)


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (("check", "served:app"), 0, "served:app loads"),
        (("--version",), 0, "halfsync 0"),
        (("--help",), 0, "Usage"),
        (("serve", "served:ap"), 3, "did you mean 'app'?"),
        (("serve", "serve:app"), 3, "did you mean 'served'?"),
        (("serve", "broken:app"), 3, "ValueError"),
        (("serve", "served:app", "--thread", "2"), 2, "did you mean --threads?"),
        (("serve", "served:app", "--user", "nobody-at-all"), 2, "nobody-at-all"),
    ],
)
@pytest.mark.parametrize("way", ["module", "script", "path"])
def test_and_use_the_command_line(
    tmp_path: Path, way: str, command: tuple[str, ...], code: int, told: str
) -> None:
    """By `python -m halfsync`; by the script that pip makes; and with the project on PYTHONPATH, before everything."""
    project = tmp_path / "project"
    project.mkdir()
    fill(project)
    (project / "served.py").write_text(APP)
    (project / "broken.py").write_text("raise ValueError('broken')")
    script = tmp_path / "halfsync"
    script.write_text("import sys\nfrom halfsync.cli import main\nsys.exit(main())\n")
    start = [sys.executable, "-m", "halfsync"] if way == "module" else [sys.executable, str(script)]
    variables = environment()
    if way == "path":
        variables["PYTHONPATH"] = f"{project}:{variables['PYTHONPATH']}"
        (project / "click.py").unlink()  # which PYTHONPATH is there to replace
    ended = subprocess.run(
        [*start, *command],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert told in ended.stdout + ended.stderr
    assert "was imported" not in ended.stderr


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", MODELS)
def test_an_application_may_have_a_resource_of_its_own(tmp_path: Path, model: str, run: str) -> None:
    (tmp_path / "resource.py").write_text("def users():\n    return b'ok'\n")
    with Serving(tmp_path, OWN, *MODELS[model], *RUNS[run]) as serving:
        assert fetch(serving.address).body == b"ok"
        assert not any("hide" in line for line in serving.lines)
        end(serving)


def serve_second(directory: Path, way: str, *options: str) -> None:
    """Serve an application that has namesakes in a second directory: it is served, and so are its errors."""
    make_modules(directory / "apps", {*sys.stdlib_module_names, *find_dependencies()})
    (directory / "files").mkdir()
    (directory / "halfsync.toml").write_text("max_body = '1m'\n")
    with Serving(directory, WAYS[way], "--factory", *options) as serving:
        assert fetch(serving.address).body == b"ok"
        for _ in range(2):
            assert fetch(serving.address, "/raise").status == 500
        serving.wait_lines("ValueError: of the application", 2)
        if "--workers" in options:
            serving.signal(signal.SIGHUP)
            serving.wait_line("the reload is complete")
            assert fetch(serving.address).body == b"ok"
        end(serving)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", MODELS)
def test_a_second_directory_may_have_them(tmp_path: Path, model: str, run: str, way: str) -> None:
    serve_second(tmp_path, way, *MODELS[model], *RUNS[run])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("more", [*MORE, *ROOTS])
def test_and_a_server_may_be_asked_for_anything(tmp_path: Path, more: str, way: str) -> None:
    if more in ROOTS and os.geteuid() != 0:
        pytest.skip("only root may")
    tmp_path.chmod(0o755)
    serve_second(tmp_path, way, *(MORE | ROOTS)[more])


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("model", MODELS)
def test_what_the_application_has_imported_itself_stays_its_own(tmp_path: Path, model: str, run: str) -> None:
    """It has imported its own modules before the server could: the server still gets those of the library."""
    names = ("ast", "calendar", "difflib", "grp", "http", "ipaddress", "mimetypes", "numbers", "tomllib")
    (tmp_path / "apps").mkdir()
    (tmp_path / "files").mkdir()
    for name in names:
        (tmp_path / "apps" / f"{name}.py").write_text("OWN = True\n")
    application = (
        f"import os, sys\nsys.path.insert(0, os.path.abspath('apps'))\nimport {', '.join(names)}\n"
        "def app(environ, start_response):\n"
        f"    own = [one for one in ({', '.join(names)}) if hasattr(one, 'OWN')]\n"
        "    import calendar as again\n"
        "    assert again.OWN\n"
        "    if environ['PATH_INFO'] == '/raise':\n"
        "        raise ValueError(\n            'of the application' + environ['PATH_INFO'] * 0)\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok' if own else b'no']\n"
    )
    options = (
        *MODELS[model],
        *RUNS[run],
        "--static",
        "/files=files",
        "--bind",
        "unix:socket",
        "--unix-owner",
        ":0",
    )
    with Serving(tmp_path, application, *options) as serving:
        see_served(serving)
        end(serving)


@pytest.mark.parametrize("options", ["", "workers=2", "model='process'", "model='pool'"])
def test_a_program_may_have_them(tmp_path: Path, options: str) -> None:
    fill(tmp_path)
    (tmp_path / "program.py").write_text(
        f"import halfsync\n{APP}\nhalfsync.serve(app, bind='127.0.0.1:0', {options})\n"
    )
    with Serving(tmp_path, "", command=(sys.executable, "program.py")) as serving:
        see_served(serving)
        end(serving)


@pytest.mark.parametrize("first", ["halfsync", "halfsync.serve"])
@pytest.mark.parametrize("options", ["", "workers=2", "model='process'", "model='pool'"])
def test_a_program_may_put_them_on_the_path_later(tmp_path: Path, options: str, first: str) -> None:
    make_modules(tmp_path / "apps", {*sys.stdlib_module_names, *find_dependencies()})
    (tmp_path / "files").mkdir()
    (tmp_path / "program.py").write_text(
        f"import os, sys, halfsync\n{first}\nsys.path.insert(0, os.path.abspath('apps'))\n{APP}\n"
        f"halfsync.serve(app, bind='127.0.0.1:0', static='/files=files', {options})\n"
    )
    with Serving(tmp_path, "", command=(sys.executable, "program.py")) as serving:
        see_served(serving)
        end(serving)


def test_a_module_that_is_hidden_is_named(tmp_path: Path) -> None:
    (tmp_path / "traceback.py").touch()
    with Serving(tmp_path, "import traceback\nassert traceback.print_exc\n" + APP) as serving:
        assert "traceback.py" in serving.wait_line("hide modules of the same names")
        end(serving)
