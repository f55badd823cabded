"""Check that imports run one way: no module imports from a layer above its own, and there are no cycles.

Also check that what an application may replace in the standard library, as gevent and eventlet do, is not imported from
there.

Reads imports and cimports of every .py, .pyx and .pxd under src/halfsync, also inside functions and under
TYPE_CHECKING: they are dependencies too. Ends with 1 and a line for each fault.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "halfsync"

# From the bottom to the top. A module may import from its own row and from the rows before it. A name means the module
# and everything in it; if two names fit a module, the longer one counts.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("version", "errors", "amounts", "native", "runtime"),  # system calls, and Python as a server needs it
    ("log",),
    ("listening", "settings", "loading"),
    ("host",),  # a process as its system sees it; called by a lone server and by a supervisor
    ("http",),
    ("transport",),
    ("shared", "pool"),
    ("exchange",),
    ("static",),
    ("observe",),  # what a server reports about itself; used by all layers above
    ("wsgi", "stream"),
    ("engine",),
    ("workers",),
    ("blocking",),
    ("models",),
    ("admin",),
    ("opened",),  # what the server opens as the user who starts it
    ("testing",),  # Python interfaces to native code, for tests; in no release
    ("assembly",),  # what a model is made of
    ("server",),
    ("foreground", "orders", "announcements"),
    ("supervisor",),
    ("serving",),
    ("",),  # halfsync itself, with its public names
    ("lab", "migration", "contrib"),
    ("cli",),
    ("__main__",),
)

# What the order of the layers allows, but the design does not: importer, imported.
FORBIDDEN: tuple[tuple[str, str], ...] = (
    ("engine", "exchange.bridging"),  # the engine never touches Python objects, so it knows no bridge
    ("engine", "wsgi"),
    ("__main__", "lab"),  # only the command line may start the lab
)

# Modules of the standard library whose functions wait, or start something that waits. halfsync has copies of some, made
# before an application could replace anything (originals.py), and calls the others in C (native/system.pyx).
REPLACEABLE = frozenset(
    [
        "_socket",
        "_thread",
        "os",
        "posix",
        "queue",
        "select",
        "selectors",
        "signal",
        "socket",
        "subprocess",
        "threading",
        "time",
    ]
)
# Modules that make the copies, modules that only run while a server starts, and wait for nothing, those of other tools,
# and the lab, which runs in no process that has an application.
MAY_IMPORT_REPLACEABLE = (
    "__main__",
    "cli",
    "contrib",
    "host.identity",
    "host.pidfile",
    "lab",
    "listening.activation",
    "runtime.originals",
    "runtime.standard",
    "runtime.threads",
    "settings",
    "testing",
)


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """One import: the full names of both modules, and where it is."""

    importer: str
    imported: str
    file: str
    line: int


def main(arguments: list[str]) -> int:
    """Check the tree named on the command line, or this repository's. Return the exit code."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / "src"
    modules = find_modules(root)
    imports = [one for module, files in modules.items() for one in find_imports(module, files, modules)]
    faults = [*unplaced(modules), *upward(imports), *cycles(imports), *replaceable(modules)]
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"check_imports: {len(modules)} modules, {len(imports)} imports between them, all one way")
    return 1 if faults else 0


def find_modules(root: Path) -> dict[str, list[Path]]:
    """Return the files of each module by its full name. A .pyx and its .pxd are one module."""
    modules: dict[str, list[Path]] = {}
    for path in sorted((root / PACKAGE).rglob("*")):
        if path.suffix in (".py", ".pyx", ".pxd"):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules.setdefault(name, []).append(path)
    return modules


def find_imports(module: str, files: Iterable[Path], modules: Mapping[str, object]) -> Iterator[Import]:
    """Yield a module's imports from the package, each with the deepest module that the statement names."""
    for path in files:
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        read = _python_imports if path.suffix == ".py" else _cython_imports
        for line, level, source, names in read(path.read_text(encoding="utf-8")):
            base = source
            if level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - level + 1], *([source] if source else [])])
            named = (f"{base}.{name}" for name in names or ("",))
            for target in dict.fromkeys(full if full in modules else base for full in named):
                if target.split(".")[0] == PACKAGE and target != module:
                    yield Import(module, target, str(path), line)


# One import statement: its line, the dots before its source, the source, and the names after "import".
Statement = tuple[int, int, str, tuple[str, ...]]


def _python_imports(text: str) -> Iterator[Statement]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, 0, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.level, node.module or "", tuple(alias.name for alias in node.names)


# Strings come first, so that a "#" in a string does not start a comment, and an import in a docstring does not count.
_NOISE = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*',
    re.DOTALL,
)
_FROM = re.compile(r"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+c?import[ \t]+(\([^)]*\)|[^\n;]+)", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*c?import[ \t]+([^\n;]+)", re.MULTILINE)


def _cython_imports(text: str) -> Iterator[Statement]:
    """Yield the imports in Cython code, found by patterns: a parser would be heavy, and imports are simple."""
    # Blanked and not removed, so that positions in the code are positions in the text.
    code = _NOISE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text).replace("\\\n", "  ")
    for match in _FROM.finditer(code):
        names = tuple(part.split()[0] for part in match[3].strip("() \t\n").split(",") if part.split())
        yield text.count("\n", 0, match.start()) + 1, len(match[1]), match[2], names
    for match in _IMPORT.finditer(code):
        for part in match[1].split(","):
            if part.split():
                yield text.count("\n", 0, match.start()) + 1, 0, part.split()[0], ()


def layer_of(module: str) -> int | None:
    """Return a module's row, by the longest name that fits it; None: no row has it."""
    inner = module.removeprefix(PACKAGE).removeprefix(".")
    found: tuple[int, int] | None = None
    for row, names in enumerate(LAYERS):
        for name in names:
            if _within(inner, name) and (found is None or len(name) > found[1]):
                found = (row, len(name))
    return None if found is None else found[0]


def _within(inner: str, name: str) -> bool:
    return inner == name or (name != "" and inner.startswith(name + "."))


def unplaced(modules: Iterable[str]) -> list[str]:
    """Return a fault for each module that no row has."""
    return [
        f"{module} is in no layer: add it to LAYERS in tools/check_imports.py"
        for module in modules
        if layer_of(module) is None
    ]


def upward(imports: Iterable[Import]) -> list[str]:
    """Return a fault for each import that goes up, or that is in FORBIDDEN."""
    faults: list[str] = []
    for one in sorted(imports):
        low, high = layer_of(one.importer), layer_of(one.imported)
        if low is not None and high is not None and high > low:
            faults.append(f"{one.file}:{one.line}: {one.importer} imports {one.imported}, which is above it")
        inner = [name.removeprefix(PACKAGE).removeprefix(".") for name in (one.importer, one.imported)]
        if any(
            _within(inner[0], importer) and _within(inner[1], imported) for importer, imported in FORBIDDEN
        ):
            faults.append(f"{one.file}:{one.line}: {one.importer} must not import {one.imported}")
    return faults


def replaceable(modules: Mapping[str, list[Path]]) -> list[str]:
    """Return a fault for each import of a module that an application may have changed, except those for types."""
    faults: list[str] = []
    for module, files in modules.items():
        inner = module.removeprefix(PACKAGE).removeprefix(".")
        if any(_within(inner, name) for name in MAY_IMPORT_REPLACEABLE):
            continue
        for path in files:
            text = path.read_text(encoding="utf-8")
            for_types = _lines_for_types(text) if path.suffix == ".py" else set()
            read = _python_imports if path.suffix == ".py" else _cython_imports
            faults += [
                f"{path}:{line}: {module} imports {source}, which an application may have changed: "
                f"use halfsync.runtime.originals, halfsync.runtime.threads or halfsync.native.system"
                for line, level, source, _ in read(text)
                if level == 0 and source in REPLACEABLE and line not in for_types
            ]
    return faults


def _lines_for_types(text: str) -> set[int]:
    """Return the lines under ``if TYPE_CHECKING``."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            lines.update(range(node.lineno, (node.body[-1].end_lineno or node.lineno) + 1))
    return lines


def cycles(imports: Iterable[Import]) -> list[str]:
    """Return a fault for each cycle of imports, once, beginning with its alphabetically first module."""
    graph: dict[str, set[str]] = {}
    for one in imports:
        graph.setdefault(one.importer, set()).add(one.imported)
    found: set[tuple[str, ...]] = set()
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            circle = trail[trail.index(module) :]
            first = circle.index(min(circle))
            found.add((*circle[first:], *circle[:first]))
        elif module not in done:
            for imported in sorted(graph.get(module, ())):
                visit(imported, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return [f"imports in a circle: {' -> '.join((*circle, circle[0]))}" for circle in sorted(found)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
