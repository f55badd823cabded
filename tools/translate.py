"""Translate the extensions to C in one run of Cython: translate.py SOURCES FIRST DEPFILE MODULE...

SOURCES is the folder of the package halfsync. A module is a path below it, without suffix; its C file lies in the
folder of FIRST, which is that of the first module, under the module's last name, which no other module has. DEPFILE
tells ninja what the C files are made of. A run of Cython for each module would read the declarations that modules share
once for each of them, which takes twice the time.

Only what has changed is translated again, and a C file that stays the same keeps its time, so that it is not compiled.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler.Errors import CompileError

KEPT = "by-package"
"""The folder beside the C files with them as Cython places them: it compares their times with those of the sources."""


def translate(sources: Path, output: Path, modules: list[str]) -> None:
    """Translate the modules that have changed. Raises Cython's CompileError."""
    root = sources.parent
    os.chdir(root)  # the names of sources in tracebacks are relative to it
    kept = output / KEPT
    package = sources.name
    cythonize(  # type: ignore[no-untyped-call]
        [f"{package}/{module}.pyx" for module in modules],
        nthreads=len(os.sched_getaffinity(0)),
        build_dir=str(kept),
        include_path=[str(root)],
        language_level=3,
        compiler_directives={"embedsignature": False},
        quiet=True,
    )
    for module in modules:
        made, placed = kept / package / f"{module}.c", output / f"{Path(module).name}.c"
        text = made.read_bytes()
        if not placed.exists() or placed.read_bytes() != text:
            placed.write_bytes(text)


def dependencies(sources: Path) -> str:
    """Return what the C files depend on, as a depfile lists it: any of them may include any declaration."""
    return " ".join(
        str(path).replace(" ", r"\ ") for kind in ("*.pxd", "*.pyx") for path in sorted(sources.rglob(kind))
    )


def main(sources: str, first: str, depfile: str, *modules: str) -> None:
    """Translate as the build asks for it."""
    folder = Path(sources).resolve()
    Path(depfile).write_text(f"{first}: {dependencies(folder)}\n", encoding="utf-8")
    try:
        translate(folder, Path(first).resolve().parent, list(modules))
    except CompileError as error:  # which Cython has explained
        sys.exit(f"translate.py: {error} cannot be translated")


if __name__ == "__main__":
    main(*sys.argv[1:])
