"""The standard library for the server: which module is found, and that all late imports are prepared."""

import ast
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.models.model import MODEL_CLASSES
from halfsync.runtime import standard

SOURCES = Path(__file__).parents[2] / "src" / "halfsync"
# Imported inside functions, and no later than the application.
EARLY = {
    "halfsync.cli.commands": "before anything else",
    "click.shell_completion": "by a shell that completes a command line",
    "importlib.metadata": "for --version, by genuine()",
    "json": "for a format of the access log, before the application, by genuine()",
    "halfsync.cli.supervised": "before the application, by genuine()",
    "halfsync": "by a test of a user, in the process of pytest",
    "halfsync.cli.importing": "without an application, by genuine()",
    "halfsync.cli.status": "without an application, by genuine()",
    "halfsync.cli": "lab, without an application, by genuine()",
    "halfsync.supervisor.warmup": "before the application, by genuine()",
    "hdrh.histogram": "by the lab, which runs in no server",
    "numpy": "by the lab, which runs in no server",
    "setproctitle": "by genuine()",
    "watchfiles._rust_notify": "by genuine(), in a process without the application",
}


def find_free_imports() -> Iterator[tuple[str, str]]:
    """Yield what Python sources import inside functions, but not by genuine(), each with its place."""

    def visit(node: ast.AST, where: str, *, inside: bool) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.With) and "genuine(" in ast.unparse(child.items[0]):
                continue
            if inside and isinstance(child, ast.Import):
                yield from ((alias.name, f"{where}:{child.lineno}") for alias in child.names)
            elif inside and isinstance(child, ast.ImportFrom) and child.module:
                yield child.module, f"{where}:{child.lineno}"
            yield from visit(child, where, inside=inside or isinstance(child, ast.FunctionDef))

    for path in SOURCES.rglob("*.py"):
        yield from visit(ast.parse(path.read_text()), path.name, inside=False)


def test_a_late_import_finds_the_standard_library() -> None:
    """A request may have put a directory on sys.path before: what every server has loaded is loaded, and no more."""
    code = "import sys, logging, halfsync.cli.commands, halfsync.foreground; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())
    for name, where in find_free_imports():
        is_standard = name.partition(".")[0] in sys.stdlib_module_names
        assert not is_standard or name in loaded, f"{where} imports {name} late: let genuine() import it"


def late_imports() -> Iterator[tuple[str, str]]:
    """Yield the modules that the sources import inside functions, each with its place."""
    for path in SOURCES.rglob("*.py"):
        functions = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
        ]
        for node in (inner for function in functions for inner in ast.walk(function)):
            if isinstance(node, ast.Import):
                yield from ((alias.name, f"{path.name}:{node.lineno}") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                is_metadata = node.module == "importlib" and node.names[0].name == "metadata"
                yield "importlib.metadata" if is_metadata else node.module, f"{path.name}:{node.lineno}"
    for path in SOURCES.rglob("*.pyx"):
        if path.parent.name != "testing":
            for found in re.finditer(
                r"^[ \t]+(?:import|from) +([\w.]+)( cimport)?", path.read_text(), re.MULTILINE
            ):
                if not found[2]:
                    yield found[1], path.name


def test_all_late_imports_are_prepared() -> None:
    late = dict(late_imports())
    assert {"traceback", "logging", "halfsync.foreground"} <= late.keys()
    for name, where in late.items():
        assert name in standard.LATER or name in EARLY, f"{where} imports {name} late: add it to LATER"
    for home, _ in MODEL_CLASSES.values():
        assert home in standard.LATER


def test_the_standard_library_is_found_before_a_namesake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("colorsys", "halfsync_own"):
        (tmp_path / f"{name}.py").write_text("whose = 'own'\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with standard.genuine():
        import colorsys

        import halfsync_own  # type: ignore[import-not-found]
    assert not hasattr(colorsys, "whose")
    assert halfsync_own.whose == "own"
    monkeypatch.delitem(sys.modules, "colorsys")
    import colorsys as again

    assert again.__file__ == str(tmp_path / "colorsys.py")
    monkeypatch.delitem(sys.modules, "colorsys")
    monkeypatch.delitem(sys.modules, "halfsync_own")


@pytest.mark.parametrize("name", sorted(name for name in standard.LATER if not name.startswith("halfsync.")))
def test_any_of_them_is_found_even_if_the_application_has_imported_its_own(tmp_path: Path, name: str) -> None:
    """In a process of its own. Whoever has imported it first has it still."""
    top = name.partition(".")[0]
    (tmp_path / f"{top}.py").write_text("OWN = True\n")
    code = (
        "import sys, importlib\nfrom halfsync.runtime import standard\n"
        f"kept = {{name: sys.modules.pop(name) for name in [*sys.modules] if (name + '.').startswith('{top}.')}}\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\nown = __import__('{top}')\nassert own.OWN\n"
        f"with standard.genuine():\n    found = importlib.import_module({name!r})\n    first = sys.modules['{top}']\n"
        f"assert not hasattr(first, 'OWN') and found.__spec__\nassert sys.modules['{top}'] is own\n"
        f"assert {name!r} == '{top}' or {name!r} not in sys.modules\n"
        f"with standard.genuine():\n    assert importlib.import_module({name!r}) is found\n"
        "standard.keep_new_apart()\n"
        f"assert sys.modules['{top}'] is own\n"
    )
    if top in sys.builtin_module_names or top in ("encodings", "importlib"):
        pytest.skip("Python has imported it before")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def own_colorsys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a module of the application have the name of a standard one, before which it is found."""
    (tmp_path / "colorsys.py").write_text("whose = 'own'\n")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    monkeypatch.delitem(sys.modules, "colorsys")


@pytest.mark.usefixtures("own_colorsys")
def test_what_the_application_has_imported_is_not_touched_if_nothing_is_to_be_imported() -> None:
    """Each error of the application writes a traceback; other threads import at the same time."""
    import colorsys

    with standard.genuine(*standard.FOR_TRACEBACKS):
        import traceback

        assert sys.modules["colorsys"] is colorsys
        assert traceback.format_exception(ValueError("x"))


@pytest.mark.usefixtures("own_colorsys")
def test_only_the_thread_that_asks_gets_the_standard_library() -> None:
    found: list[object] = []
    with standard.genuine():
        thread = threading.Thread(target=lambda: found.append(__import__("colorsys")))
        thread.start()
        thread.join()
    assert getattr(found[0], "whose", None) == "own"


def test_imports_of_a_package_are_found_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, installed = tmp_path / "project", tmp_path / "installed"
    for directory, whose in ((project, "own"), (installed, "installed")):
        directory.mkdir()
        (directory / "halfsync_dependency.py").write_text(f"whose = {whose!r}\n")
    (installed / "halfsync_package.py").write_text("from halfsync_dependency import whose\n")
    monkeypatch.syspath_prepend(project)
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed)])
    with standard.genuine():
        import halfsync_package  # type: ignore[import-not-found]
    assert halfsync_package.whose == "installed"
    for name in ("halfsync_package", "halfsync_dependency"):
        monkeypatch.delitem(sys.modules, name)


def test_a_process_without_the_application_searches_its_directories_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = str(Path(os.__file__).parent)
    monkeypatch.setattr(sys, "path", ["/first", "/second", home, "/last"])
    standard.put_directories_behind()
    assert sys.path == [home, "/last", "/first", "/second"]


def test_namesakes_are_modules_with_the_names_of_standard_ones(tmp_path: Path) -> None:
    compiled = "calendar.cpython-311-x86_64-linux-gnu.so"
    for name in ("resource.py", "mailbox.py", compiled, "app.py", "json.txt", "queue", "watchfiles.py"):
        (tmp_path / name).touch()
    for name in ("logging", "email", "secrets.d"):  # a folder of log files, and a package
        (tmp_path / name).mkdir()
    (tmp_path / "email" / "__init__.py").touch()
    found = [os.path.basename(file) for file in standard.find_namesakes([str(tmp_path), "/nowhere"])]  # noqa: PTH119
    assert found == [compiled, "email", "mailbox.py", "watchfiles.py"]


def test_a_namesake_is_hidden_by_what_is_loaded(tmp_path: Path) -> None:
    for name in ("traceback", "this", "difflib"):  # the second is imported by nothing
        (tmp_path / f"{name}.py").touch()
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "difflib"}
    for name in kept:
        del sys.modules[name]
    try:
        assert standard.keep_apart(str(tmp_path)) == [
            str(tmp_path / "difflib.py"),
            str(tmp_path / "traceback.py"),
        ]
    finally:
        sys.modules.update(kept)
    assert standard.keep_apart("/nowhere") == []


def test_a_module_that_only_the_server_has_imported_can_be_imported_by_the_application(
    tmp_path: Path,
) -> None:
    """In a process of its own, in which the server has imported nothing yet."""
    (tmp_path / "json.py").touch()
    code = (
        "import sys, halfsync.runtime.standard\n"
        f"assert halfsync.runtime.standard.keep_apart({str(tmp_path)!r}) == []\n"
        "assert 'json' not in sys.modules and 'json.decoder' not in sys.modules\n"
        "import halfsync.supervisor.upgrade\n"
        "assert halfsync.supervisor.upgrade.json.dumps([1]) == '[1]'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_directories_ahead_are_those_before_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(Path(os.__file__).parent)
    monkeypatch.setattr(sys, "path", ["/first", "/second", home, "/last"])
    assert standard.directories_ahead() == ["/first", "/second"]
    monkeypatch.setattr(sys, "path", ["/first"])
    assert standard.directories_ahead() == []


def test_the_server_does_not_import_forbidden_modules() -> None:
    code = (
        "import sys\n"
        "from halfsync.runtime import standard\n"
        "import halfsync.cli.commands, halfsync.supervisor.warmup, watchfiles, setproctitle\n"
        "for name in standard.LATER: __import__(name)\n"
        "assert not set(standard._UNNEEDED) & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
