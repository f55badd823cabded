"""`halfsync serve --reload`: changed source is loaded again, or a page shows why it cannot be."""

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from halfsync.native.system import readable
from tests.browser import Browser, read_png
from tests.client import Connection, Response, build, fetch
from tests.faults.serving import MODELS, Serving, children
from tests.wsgi import until

APP = """
import os, time
CODE = "first"
def app(environ, start_response):
    while environ["PATH_INFO"] == "/slow" and not os.path.exists("go"):
        time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(CODE)))])
    return [CODE.encode()]
"""
BROKEN = 'CODE = "<b>"\nraise RuntimeError(f"half {CODE} written")\n'
HTML = [("Accept", "text/html,application/xhtml+xml;q=0.9")]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


class Developing(Serving):
    """A server with `--reload`; edits are counted, so that each one's line in the log can be waited for."""

    def __init__(self, directory: Path, *options: str, application: str = APP, **more: str) -> None:
        self._directory = directory
        super().__init__(directory, application, "--reload", *options, more=more)

    def edit(self, text: str, name: str = "served.py", *, say: str = "") -> None:
        """Write a file, and wait until the change was seen: nothing old is served after that."""
        say = f"reloading: {say or name} changed"
        before = sum(say in line for line in self.lines)
        (self._directory / name).write_text(text)
        self.wait_lines(say, before + 1)

    def code(self) -> str:
        """Return which code answers."""
        response = fetch(self.address)
        assert response.status == 200, response.body
        return response.body.decode()

    def page(self, target: str = "/", fields: Iterable[tuple[str, str]] = ()) -> Response:
        """Return the page that shows an error."""
        response = fetch(self.address, target, fields=fields)
        assert response.status == 500
        return response


def offspring(pid: int) -> list[int]:
    """List the processes that a process has started, and those that these have."""
    found = sorted(children(pid))
    return found + [later for child in found for later in offspring(child)]


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def edited(code: str) -> str:
    return APP.replace("first", code)


def test_next_request_is_answered_by_new_code(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Developing(tmp_path, *model) as server:
        assert "(1 process," in server.wait_line("serves served:app")
        assert server.code() == "first"
        for number in range(5):
            server.edit(edited(f"code {number}"))
            assert server.code() == f"code {number}"
        until(
            lambda: len(offspring(server.process.pid)) == 2
        )  # the serving process and the watcher; no zombie


def test_code_that_cannot_be_loaded_is_shown_and_mended(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Developing(tmp_path, *model) as server:
        server.edit(BROKEN)
        page = server.page("/any/path", HTML)
        assert page.one("Content-Type") == "text/html; charset=utf-8"
        text = page.body.decode()
        assert "served.py&quot;, line 2" in text and "half &lt;b&gt; written" in text
        assert "<b>" not in text
        server.wait_line("RuntimeError: half <b> written")  # in the log
        plain = server.page()
        assert plain.one("Content-Type") == "text/plain; charset=utf-8"
        assert "RuntimeError: half <b> written" in plain.body.decode()
        server.wait_line("WARNING halfsync: the reload failed: 1 process serves, and shows why")
        assert not [line for line in server.lines if "the reload is complete" in line], server.lines
        server.edit(edited("second"))
        assert server.code() == "second"
        server.wait_line("the reload is complete")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_can_be_read_in_a_browser(browser: Browser, tmp_path: Path, dark: bool) -> None:
    project = tmp_path / "project"
    project.mkdir()
    inner = "import served\n\n\ndef connect(name):\n    raise ConnectionError(f'<script>{name}</script> & more')\n"
    (project / "database.py").write_text(inner)
    application = "import database\n\nDATABASE = database.connect('shop')\n" + APP
    with Developing(project, application=application) as server:
        for width, height in ((1000, 700), (390, 844)):
            browser.dress(width=width, height=height, dark=dark)
            browser.open("http://{}:{}/basket".format(*server.address))
            text = browser.evaluate("document.querySelector('pre').textContent")
            assert "<script>shop</script> & more" in text and "database.py" in text
            assert not browser.evaluate("document.scripts.length")
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            picture = tmp_path / f"page-{width}.png"
            browser.screenshot(picture)
            assert read_png(picture)[:2] == (width, height)
        server.edit(edited("mended"))
        browser.open("http://{}:{}/basket".format(*server.address))
        assert browser.evaluate("document.body.textContent") == "mended"


def test_first_code_may_be_broken(tmp_path: Path) -> None:
    with Developing(tmp_path, application="def app(:\n") as server:
        assert "SyntaxError" in server.page().body.decode()
        assert "served.py" in server.page().body.decode()
        server.edit(edited("mended"))
        assert server.code() == "mended"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os._exit(9)", "ended with exit code 9 before it was ready"),
        ("import os; os.kill(os.getpid(), 5)", "was killed by signal 5 before it was ready"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("import missing_of_that_name", "No module named 'missing_of_that_name'"),
        ("application = 3", "has no attribute 'app'"),
    ],
)
def test_code_that_ends_its_process_is_shown_and_mended(tmp_path: Path, code: str, says: str) -> None:
    with Developing(tmp_path) as server:
        server.edit(code)
        assert says in server.page().body.decode()
        server.edit(edited("mended"))
        assert server.code() == "mended"


def test_code_that_hangs_is_replaced_by_the_next_edit(tmp_path: Path) -> None:
    with Developing(tmp_path) as server:
        server.edit("import time\nopen('hangs', 'w').close()\nwhile True: time.sleep(1)\n")
        until((tmp_path / "hangs").exists)
        server.edit(edited("mended"))
        assert server.code() == "mended"


def test_only_imported_files_are_watched(tmp_path: Path) -> None:
    project, library, other = tmp_path / "project", tmp_path / "library", tmp_path / "other"
    for folder in (project, library, other):
        folder.mkdir()
    (library / "helper.py").write_text("WORD = 'first'\n")
    (library / "unused.py").write_text("")
    (other / "served.py").write_text("")
    for ignored in (".venv", "node_modules", "__pycache__", "env"):
        (project / ignored).mkdir()
    (project / "env" / "pyvenv.cfg").write_text("")
    application = APP.replace("import os, time", "import os, time, helper").replace('"first"', "helper.WORD")
    path = os.pathsep.join([str(library), str(Path(sys.modules["halfsync"].__file__ or "").parent.parent)])
    with Developing(project, application=application, PYTHONPATH=path) as server:
        assert server.code() == "first"
        # What is no source is written first: were it seen, it would be seen before the edit.
        for name in (
            "env/a.py",
            ".venv/a.py",
            "node_modules/a.py",
            "__pycache__/a.py",
            ".#served.py",
            "a.txt",
        ):
            (project / name).write_text("")
        (library / "unused.py").write_text("changed")
        (other / "served.py").write_text("changed")
        os.utime(library / "unused.py")
        server.edit("WORD = 'second'\n", "../library/helper.py", say=str(library / "helper.py"))
        assert server.code() == "second"
        (library / "new.py").write_text("WORD = 'third'\n")
        (library / "new.py").replace(library / "helper.py")  # as some editors write
        server.wait_lines(f"reloading: {library / 'helper.py'} changed", 2)
        assert server.code() == "third"
        (project / "package").mkdir()
        server.edit("", "package/new.py")
        server.wait_lines("the reload is complete", 3)
        seen = [line.partition("reloading: ")[2] for line in server.lines if "reloading: " in line]
        assert seen == [f"{library / 'helper.py'} changed"] * 2 + ["package/new.py changed"]


def test_what_is_imported_by_a_request_is_watched(tmp_path: Path) -> None:
    project, library = tmp_path / "project", tmp_path / "library"
    project.mkdir()
    library.mkdir()
    (library / "helper.py").write_text("WORD = 'first'\n")
    path = os.pathsep.join([str(library), str(Path(sys.modules["halfsync"].__file__ or "").parent.parent)])
    late = APP.replace(
        '    start_response("200', '    import helper; CODE = helper.WORD\n    start_response("200'
    )
    with Developing(project, application=late, PYTHONPATH=path) as server:
        assert server.code() == "first"
        (library / "helper.py").write_text("WORD = 'second'\n")

        def is_seen() -> bool:
            """Change it again, since the file is unknown until the process has reported it."""
            (library / "helper.py").touch()
            return any(f"reloading: {library / 'helper.py'} changed" in line for line in server.lines)

        until(is_seen)
        assert server.code() == "second"


def test_module_that_fails_stays_watched(tmp_path: Path) -> None:
    project, library = tmp_path / "project", tmp_path / "library"
    project.mkdir()
    library.mkdir()
    (library / "helper.py").write_text("raise RuntimeError('not yet')\n")
    path = os.pathsep.join([str(library), str(Path(sys.modules["halfsync"].__file__ or "").parent.parent)])
    with Developing(project, application="import helper\n" + APP, PYTHONPATH=path) as server:
        assert "not yet" in server.page().body.decode()
        server.edit("def broken(:\n", "../library/helper.py", say=str(library / "helper.py"))
        assert "SyntaxError" in server.page().body.decode()
        server.edit("", "../library/helper.py", say=str(library / "helper.py"))
        assert server.code() == "first"


def test_kept_connections_live_and_requests_that_run_are_finished(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    with (
        Developing(tmp_path, *model) as server,
        Connection(server.address) as kept,
        Connection(server.address) as busy,
    ):
        kept.send(build("/"))
        assert kept.response().body == b"first"
        busy.send(build("/slow"))
        server.edit(edited("second"))
        server.wait_line("the reload is complete")
        for _ in range(2):
            kept.send(build("/"))
            assert kept.response().body == b"second"
        assert not readable([busy.socket.fileno()], 0)
        (tmp_path / "go").touch()
        assert busy.response().body == b"first"


def test_settings_are_read_again_and_what_is_wrong_in_them_is_shown(tmp_path: Path) -> None:
    (tmp_path / "halfsync.toml").write_text("workers = 1\n")
    with Developing(tmp_path) as server:
        server.edit("workres = 3\n", "halfsync.toml")
        assert "did you mean 'workers'?" in server.page().body.decode()
        server.edit("workers = 2\n", "halfsync.toml")
        assert server.code() == "first"
        server.wait_line("all 2 processes serve")


def test_factory_is_called_again(tmp_path: Path) -> None:
    factory = APP.replace("def app(", "def serve(") + "def app():\n    return serve\n"
    with Developing(tmp_path, "--factory", application=factory) as server:
        assert server.code() == "first"
        server.edit(factory.replace("return serve", "raise RuntimeError('no factory')"))
        assert "no factory" in server.page().body.decode()
        server.edit(factory.replace("first", "second"))
        assert server.code() == "second"


def test_failed_hook_is_shown(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text("def begin(worker):\n    raise RuntimeError('no database')\n")
    with Developing(tmp_path, "--post-fork", "hooks:begin") as server:
        assert "RuntimeError: no database" in server.page().body.decode()
        server.edit("def begin(worker):\n    pass\n", "hooks.py")
        assert server.code() == "first"


def test_stream_that_cannot_be_loaded_ends_its_connections(tmp_path: Path) -> None:
    stream = "class app:\n    def received(self, data):\n        return data\n    def closed(self):\n        pass\n"
    with Developing(tmp_path, "--stream", application=stream) as server:
        server.edit("raise RuntimeError('half written')")
        with Connection(server.address) as client:
            client.send(b"word")
            assert client.rest() == b""
        server.edit(stream)
        with Connection(server.address) as client:
            client.send(b"word")
            assert client.some(4) == b"word"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("application", [APP, BROKEN], ids=["whole", "broken"])
def test_signals_end_it_and_leave_nothing_behind(
    tmp_path: Path, number: signal.Signals, application: str
) -> None:
    with Developing(tmp_path, application=application) as server:
        server.wait_line("1 process serves")
        others = offspring(server.process.pid)
        assert len(others) == 2  # the serving process and the watcher
        os.killpg(server.process.pid, number)  # as a terminal does
        assert server.exit_code() == 0
        assert not [pid for pid in others if lives(pid)]
        errors = [line for line in server.lines if "ERROR" in line]
        assert not [line for line in errors if "importing served failed" not in line]


def test_upgrade_takes_the_watcher_along(tmp_path: Path) -> None:
    with Developing(tmp_path) as server:
        server.wait_line("1 process serves")
        before = [server.process.pid, *offspring(server.process.pid)]
        server.signal(signal.SIGUSR2)
        assert server.process.wait(30) == 0
        until(lambda: not [pid for pid in before if lives(pid)])
        server.edit(edited("second"))
        assert server.code() == "second"


def test_killed_supervisor_leaves_nothing_behind(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Developing(tmp_path, *model) as server:
        server.edit(edited("second"))
        server.wait_line("the reload is complete")
        until(lambda: server.code() == "second")  # the old one may have accepted the first of these
        others = offspring(server.process.pid)
        assert len(others) >= 2
        server.signal(signal.SIGKILL)
        server.exit_code()  # returns when no process has its standard error
        until(lambda: not [pid for pid in others if lives(pid)])


def test_watcher_that_dies_early_is_logged(tmp_path: Path) -> None:
    with Developing(tmp_path) as server:
        server.wait_line("1 process serves")
        watcher = min(offspring(server.process.pid))  # it was started first
        os.kill(watcher, signal.SIGKILL)
        server.wait_line(
            "source changes are no longer noticed: the watcher ended with -9; SIGHUP still reloads"
        )
        (tmp_path / "served.py").write_text(edited("second"))
        server.signal(signal.SIGHUP)
        server.wait_line("the reload is complete")
        assert server.code() == "second"


def test_sighup_of_broken_code_shows_it(tmp_path: Path) -> None:
    """What a hand-made reload brings is shown as well, though nothing has changed."""
    (tmp_path / "state.txt").write_text("")
    application = APP + 'if open("state.txt").read():\n    raise RuntimeError("bad state")\n'
    with Developing(tmp_path, application=application) as server:
        assert server.code() == "first"
        (tmp_path / "state.txt").write_text("bad")
        server.signal(signal.SIGHUP)
        server.wait_line("the reload failed")
        assert "bad state" in server.page().body.decode()
