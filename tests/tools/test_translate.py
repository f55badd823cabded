"""The translation of the extensions to C, in a small package of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRANSLATE = Path(__file__).parents[2] / "tools" / "translate.py"
MODULES = ("one", "inner/two")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with two modules, of which one uses the other's declarations."""
    folder = tmp_path / "with space" / "package"
    (folder / "inner").mkdir(parents=True)
    for path in (folder, folder / "inner"):
        (path / "__init__.py").touch()
    (folder / "one.pxd").write_text("cdef int doubled(int value)\n")
    (folder / "one.pyx").write_text("cdef int doubled(int value):\n    return 2 * value\n")
    (folder / "inner" / "two.pyx").write_text(
        "from package.one cimport doubled\n\ndef four():\n    return doubled(2)\n"
    )
    for path in folder.rglob("*.p*"):
        os.utime(path, (1e9, 1e9))
    (folder.parent / "built").mkdir()
    return folder


def run(package: Path) -> "subprocess.CompletedProcess[str]":
    command: list[str | Path] = [sys.executable, TRANSLATE, package, "built/one.c", "built/all.d", *MODULES]
    return subprocess.run(command, cwd=package.parent, capture_output=True, text=True, check=False)


def translate(package: Path) -> dict[str, int]:
    """Translate, and return when each C file was written, in nanoseconds."""
    done = run(package)
    assert done.returncode == 0, done.stderr
    return {path.name: path.stat().st_mtime_ns for path in (package.parent / "built").glob("*.c")}


def test_each_module_has_a_c_file(package: Path) -> None:
    assert set(translate(package)) == {"one.c", "two.c"}
    text = (package.parent / "built" / "two.c").read_text()
    assert "PyInit_two" in text
    assert "package.inner.two" in text


def test_only_what_has_changed_is_written_again(package: Path) -> None:
    before = translate(package)
    assert translate(package) == before
    (package / "inner" / "two.pyx").write_text("def five():\n    return 5\n")
    after = translate(package)
    assert after["one.c"] == before["one.c"]
    assert after["two.c"] > before["two.c"]


def test_a_declaration_changes_the_modules_that_use_it(package: Path) -> None:
    before = translate(package)
    (package / "one.pxd").write_text("cdef long doubled(int value)\n")
    (package / "one.pyx").write_text("cdef long doubled(int value):\n    return 2 * value\n")
    after = translate(package)
    assert after["one.c"] > before["one.c"]
    assert after["two.c"] > before["two.c"]


def test_a_source_that_gives_the_same_c_file_changes_nothing(package: Path) -> None:
    before = translate(package)
    os.utime(package / "one.pyx")
    assert translate(package) == before


def test_ninja_learns_of_every_source(package: Path) -> None:
    translate(package)
    target, _, listed = (package.parent / "built" / "all.d").read_text().partition(": ")
    assert target == "built/one.c"
    assert sorted(name.rpartition("/package/")[2] for name in listed.replace(r"\ ", "_").split()) == [
        "inner/two.pyx",
        "one.pxd",
        "one.pyx",
    ]


def test_a_mistake_in_a_source_fails_and_is_named(package: Path) -> None:
    (package / "one.pyx").write_text("cdef int doubled(int value):\n    return value +\n")
    done = run(package)
    assert done.returncode != 0
    assert "one.pyx:2" in done.stdout + done.stderr
    assert "one.pyx cannot be translated" in done.stderr
