"""The import check: it finds each way in which an import can go wrong, and passes what is right."""

from pathlib import Path

import pytest
from tools.check_imports import main


def tree(root: Path, files: dict[str, str]) -> str:
    for name, text in {"__init__.py": "", **files}.items():
        path = root / "halfsync" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def faults(root: Path, files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    code = main([tree(root, files)])
    lines = capsys.readouterr().err.splitlines()
    assert code == (1 if lines else 0)
    return lines


def test_this_repository_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0, capsys.readouterr().err


def test_imports_that_go_down_are_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "errors.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\n",
        "runtime/originals.py": "import os",
        "settings.py": "from halfsync.errors import UsageError",
        "http/parser.pyx": "from halfsync.settings import x\nfrom libc.stdint cimport int64_t\n",
        "http/parser.pxd": 'cdef extern from "native/x.h":\n    pass\n',
        "engine/loop.pyx": "from halfsync.http cimport parser\nfrom ..exchange import y\n",
        "exchange/exchange.pyx": "cimport halfsync.http.parser as p",
        "cli/__init__.py": "from halfsync import lab",
        "lab/__init__.py": "import halfsync",
    }
    assert faults(tmp_path, files, capsys) == []


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("errors.py", "import halfsync.cli", 1),
        ("errors.py", "def f():\n    from halfsync import cli\n", 2),
        ("errors.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .cli import main\n", 3),
        ("errors.py", "from . import (\n    cli,\n)\n", 1),
        ("http/parser.pyx", "\nfrom halfsync cimport cli\n", 2),
        ("http/parser.pyx", "from halfsync.cli cimport (  # why\n    a,\n    b)\n", 1),
        ("http/parser.pyx", "cimport cython, halfsync.cli as c\n", 1),
        ("http/parser.pxd", "from ..cli cimport a\n", 1),
        ("http/parser.pyx", "from halfsync import \\\n    cli\n", 1),
        ("http/parser.pyx", "x = '# not a comment'\nimport halfsync.cli\n", 2),
    ],
)
def test_an_import_from_a_higher_layer_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, line: int
) -> None:
    (fault,) = faults(tmp_path, {"cli/__init__.py": "", name: text}, capsys)
    module = "halfsync." + name.rpartition(".")[0].replace("/", ".")
    assert fault.endswith(f"{name}:{line}: {module} imports halfsync.cli, which is above it")


def test_text_that_looks_like_an_import_is_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '"""A docstring.\n\nimport halfsync.cli\n"""\n# import halfsync.cli\nimportant = 1\n'
    files = {"cli/__init__.py": "", "errors.py": text, "http/parser.pyx": text}
    assert faults(tmp_path, files, capsys) == []


def test_a_circle_within_one_layer_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "http/a.pyx": "from halfsync.http cimport b",
        "http/b.pxd": "from halfsync.http.c cimport x",
        "http/b.pyx": "",
        "http/c.py": "from halfsync.http import a",
    }
    (fault,) = faults(tmp_path, files, capsys)
    assert fault == (
        "imports in a circle: halfsync.http.a -> halfsync.http.b -> halfsync.http.c -> halfsync.http.a"
    )


def test_a_module_may_name_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"http/a.pyx": "from halfsync.http cimport a", "http/a.pxd": ""}
    assert faults(tmp_path, files, capsys) == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("engine/loop.pyx", "wsgi"), ("__main__.py", "lab")],
)
def test_what_is_forbidden_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], importer: str, imported: str
) -> None:
    files = {f"{imported}.py": "", importer: f"import halfsync.{imported}"}
    (fault,) = faults(tmp_path, files, capsys)
    assert fault.endswith(f"must not import halfsync.{imported}")


@pytest.mark.parametrize("importer", ["server.py", "supervisor/a.py", "observe/a.py", "__init__.py"])
def test_only_the_command_line_imports_the_lab(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], importer: str
) -> None:
    assert len(faults(tmp_path, {"lab/__init__.py": "", importer: "import halfsync.lab"}, capsys)) == 1


def test_a_module_without_a_layer_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The root package has a row of its own, which must not take in every new module.
    (fault,) = faults(tmp_path, {"stray.py": ""}, capsys)
    assert fault == "halfsync.stray is in no layer: add it to LAYERS in tools/check_imports.py"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("server.py", "import os\n", 1),
        (
            "server.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\nelse:\n    import os\n",
            5,
        ),
        ("server.py", "def f():\n    from time import sleep\n", 2),
        ("engine/loop.pyx", "import sys\nimport threading\n", 2),
    ],
)
def test_what_an_application_may_replace_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, line: int
) -> None:
    (fault,) = faults(tmp_path, {name: text}, capsys)
    assert f"{name}:{line}: " in fault
    assert "use halfsync.runtime.originals" in fault
