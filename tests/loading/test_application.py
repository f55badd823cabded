"""Loading an application: what is found, and the error if nothing is."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.errors import LoadError, UsageError
from halfsync.loading.application import load_application

WSGI = "def {name}(environ, start_response):\n    return [b'{name}']\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of its own, and an interpreter that forgets what was imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def refused(target: str, **options: bool) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load_application(target, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_named_callable(project: Path) -> None:
    write(project, "one.py", WSGI.format(name="site"))
    assert load_application("one:site")({}, None) == [b"site"]


def test_application_comes_before_app(project: Path) -> None:
    write(project, "both.py", WSGI.format(name="app") + WSGI.format(name="application"))
    write(project, "second.py", WSGI.format(name="app"))
    assert load_application("both")({}, None) == [b"application"]
    assert load_application("second")({}, None) == [b"app"]


def test_dotted_attributes_and_modules(project: Path) -> None:
    write(project, "pkg/__init__.py", "")
    write(
        project,
        "pkg/web.py",
        "class Site:\n    @staticmethod\n    def run(environ, start):\n        return []\n",
    )
    assert load_application("pkg.web:Site.run")({}, None) == []


def test_a_factory_is_called(project: Path) -> None:
    write(project, "made.py", WSGI.format(name="inner") + "def create(x=1):\n    return inner\n")
    assert load_application("made:create", factory=True)({}, None) == [b"inner"]


def test_chdir_is_entered_and_put_first(project: Path) -> None:
    write(project, "inside/json.py", WSGI.format(name="app"))
    sys.modules.pop("json", None)
    try:
        load_application("json", chdir="inside")
        assert Path.cwd() == project / "inside"
        assert sys.path[0] == str(project / "inside")
    finally:
        sys.modules.pop("json", None)


def test_the_working_directory_is_put_first_once(project: Path) -> None:
    write(project, "one.py", WSGI.format(name="app"))
    load_application("one")
    load_application("one")
    assert sys.path.count(str(project)) == 1


def test_chdir_to_nowhere_is_a_mistake_in_the_usage() -> None:
    with pytest.raises(UsageError, match="chdir: cannot change to 'gone': no such file or directory"):
        load_application("one", chdir="gone")


def test_a_missing_module_names_the_nearest(project: Path) -> None:
    write(project, "guestbook.py", "")
    error = refused("guestbok:app")
    assert error.problem.startswith(f"no module named 'guestbok' in {project}")
    assert error.remedy == "did you mean 'guestbook'?"
    assert not error.traceback
    assert "--chdir" in refused("nothing_like_it").remedy


def test_a_missing_part_of_a_package_names_the_nearest(project: Path) -> None:
    write(project, "pkg/__init__.py", "")
    write(project, "pkg/views.py", "")
    error = refused("pkg.view:app")
    assert error.problem == f"no module named 'pkg.view' in {project / 'pkg'}"
    assert error.remedy == "did you mean 'views'?"


def test_a_dot_for_a_colon_is_explained(project: Path) -> None:
    write(project, "one.py", WSGI.format(name="site"))
    assert refused("one.site").remedy.startswith("write one:site")


def test_a_missing_import_inside_the_application_is_its_own(project: Path) -> None:
    write(project, "needs.py", "import no_such_library\n")
    error = refused("needs:app")
    assert "importing needs failed: ModuleNotFoundError" in error.problem
    assert "import no_such_library" in error.traceback


def test_a_package_that_misses_a_part_of_itself_is_at_fault_itself(project: Path) -> None:
    write(project, "pkg/__init__.py", "import pkg.web\n")
    error = refused("pkg.web:app")
    assert "import pkg.web" in error.traceback


def test_the_traceback_holds_only_the_applications_frames(project: Path) -> None:
    write(
        project,
        "deep.py",
        "def fail():\n    raise RuntimeError('broken')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    fail()\n",
    )
    write(project, "outer.py", "import importlib\nimportlib.import_module('deep')\n")
    text = refused("outer").traceback
    assert text.rstrip().endswith("RuntimeError: broken")
    assert "ZeroDivisionError" in text
    files = {line.split('"')[1] for line in text.splitlines() if line.lstrip().startswith("File ")}
    assert files == {str(project / "outer.py"), str(project / "deep.py")}


def test_a_syntax_error_shows_the_line(project: Path) -> None:
    write(project, "wrong.py", "x = = 1\n")
    error = refused("wrong")
    assert "SyntaxError" in error.problem
    assert "x = = 1" in error.traceback


def test_a_group_of_exceptions_is_shown_without_our_frames(project: Path) -> None:
    write(project, "group.py", "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])\n")
    error = refused("group")
    assert "ValueError: a" in error.traceback
    assert "halfsync/loading" not in error.traceback


def test_an_application_that_exits_is_a_load_error(project: Path) -> None:
    write(project, "quits.py", "import sys\nsys.exit(0)\n")
    assert "SystemExit" in refused("quits").problem


def test_an_interrupt_passes_through(project: Path) -> None:
    write(project, "stopped.py", "raise KeyboardInterrupt\ndef app(): ...\n")
    write(project, "slow.py", "def create():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_application("stopped")
    with pytest.raises(KeyboardInterrupt):
        load_application("slow:create", factory=True)


def test_missing_attributes_name_the_nearest(project: Path) -> None:
    write(project, "one.py", WSGI.format(name="site"))
    assert str(refused("one:sit")) == "one:sit: one has no attribute 'sit'; did you mean 'site'?"
    assert str(refused("one:site.x.y")).startswith("one:site.x.y: one.site has no attribute 'x'")
    assert refused("one").problem == "tried 'application' and 'app', and the module has neither"


def test_an_attribute_that_fails_when_read_shows_where(project: Path) -> None:
    write(project, "lazy.py", "def __getattr__(name):\n    raise AttributeError(f'no {name} today')\n")
    assert "no site today" in refused("lazy:site").traceback


@pytest.mark.parametrize(
    ("target", "factory", "says"),
    [
        ("m:number", False, "'number' is of type int, which cannot be called"),
        ("m:create", False, "add --factory"),
        ("m:one_argument", False, "does not take the two arguments of WSGI"),
        ("m:asgi", False, "looks like an ASGI application"),
        ("m:asgi_object", False, "looks like an ASGI application"),
        ("m:one_argument", True, "cannot be called without arguments"),
        ("m:returns_none", True, "returned NoneType, which cannot be called"),
        ("m:returns_asgi", True, "looks like an ASGI application"),
        ("m:async_factory", True, "is async; make it a plain function"),
        ("m:fails", True, "the factory 'fails' failed: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_an_application(project: Path, target: str, factory: bool, says: str) -> None:
    write(
        project,
        "m.py",
        "number = 1\n"
        "def create(): return None\n"
        "def one_argument(x): return None\n"
        "async def asgi(scope, receive, send): ...\n"
        "class A:\n    async def __call__(self, scope, receive, send): ...\n"
        "asgi_object = A()\n"
        "def returns_none(): return None\n"
        "def returns_asgi(): return A()\n"
        "async def async_factory(): return None\n"
        "def fails(): return 1 / 0\n",
    )
    error = refused(target, factory=factory)
    assert says in str(error)
    assert ("in fails" in error.traceback) == (target == "m:fails")


def test_wrappers_are_treated_by_their_own_type(project: Path) -> None:
    write(
        project,
        "wrapped.py",
        "import functools\n"
        "def inner(request): return []\n"
        "@functools.wraps(inner)\n"
        "def app(*args): return inner(args)\n",
    )
    assert callable(load_application("wrapped"))


@pytest.mark.parametrize("target", ["", ":app", "a b:c", "m:", "m:x y", "m:app:x", "a..b", "-x"])
def test_what_is_no_target(target: str) -> None:
    if target == "m:":
        assert "no module named 'm'" in str(refused(target))
    else:
        assert "write it as module:callable" in str(refused(target))


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        ("my-app:app", "write my_app:app, and rename the file or directory if it is called my-app"),
        ("my-app", "write my_app, and rename the file or directory if it is called my-app"),
        ("my-app.wsgi:app", "write my_app.wsgi:app, and rename the file or directory if it is called my-app"),
        (
            "shop.my-wsgi:my-app",
            "write shop.my_wsgi:my_app, and rename the file or directory if it is called my-wsgi",
        ),
        ("shop:my-app", "write shop:my_app"),
    ],
)
def test_a_hyphen_is_put_right(target: str, remedy: str) -> None:
    error = refused(target)
    assert "has a hyphen, which no name in Python has" in error.problem
    assert error.remedy == remedy


def test_files_and_calls_are_put_right() -> None:
    assert refused("src/shop.py:site").remedy == "write shop:site with --chdir src"
    assert refused("shop.py").remedy == "write shop:app"
    assert refused("shop:create()").remedy.endswith("write shop:create --factory")
    assert refused("src/shop.py:create()").remedy.endswith("write shop:create --factory with --chdir src")
    assert refused("/shop.py").remedy == "write shop:app with --chdir /"


RENAME = ", and rename the file or directory if it is called"


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        ("my-app.py:site", f"write my_app:site{RENAME} my-app"),
        ("my-app.py", f"write my_app:app{RENAME} my-app"),
        ("my-app:create()", f"write my_app:create --factory{RENAME} my-app"),
        ("my-app/my-wsgi.py", f"write my_wsgi:app with --chdir my-app{RENAME} my-wsgi"),
        ("my-app/wsgi:app", "write wsgi:app with --chdir my-app"),
        ("a-b.c-d:app", f"write a_b.c_d:app{RENAME} a-b or c-d"),
        ("my-app:1x", "write it as module:callable"),
        ("1app.py:app", "write it as module:callable"),
    ],
)
def test_several_mistakes_in_a_target_are_put_right_at_once(target: str, remedy: str) -> None:
    assert refused(target).remedy.removeprefix("to call a function for the application, ") == remedy


def test_a_target_without_its_name_gets_a_hint(project: Path) -> None:
    (project / "bare.py").write_text("")
    for target in ("bare", "bare:"):
        assert refused(target).remedy == "name the application, as in bare:callable"


def test_a_directory_that_cannot_be_listed_gives_no_suggestion(project: Path) -> None:
    os.chdir(project)
    assert refused("x9").remedy.startswith("name the directory")


HANDLER = (
    "class {name}:\n    def received(self, data):\n        return data\n    def closed(self):\n        pass\n"
)


def test_a_streams_target_makes_handlers(project: Path) -> None:
    write(project, "line.py", HANDLER.format(name="Echo") + "def make():\n    return Echo\n")
    assert load_application("line:Echo", stream=True)().received(b"a") == b"a"
    assert load_application("line:make", stream=True, factory=True)().received(b"a") == b"a"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("class app:\n    def received(self, data):\n        pass\n", "'app' has no method closed()"),
        ("class app:\n    received = 1\n    closed = 1\n", "'app' has no method received()"),
        ("def app(loop):\n    pass\n", "'app' cannot be called without arguments"),
    ],
)
def test_what_makes_no_handlers_is_refused(project: Path, text: str, problem: str) -> None:
    write(project, "line.py", text)
    error = refused("line", stream=True)
    assert error.problem.startswith(problem)
    assert "received() and closed()" in error.remedy
