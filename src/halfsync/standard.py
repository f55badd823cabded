"""Imports from the standard library for the server, even if a project has modules with the same names.

Python looks for a module in the application's directory first. If there is a `resource.py`, a good name in a REST API,
every import of `resource` gets that file, in our code and in the modules of the standard library that we import. An
application must be able to have its own modules, and the server must not get them (decisions/0023).

So, if a directory that comes before the standard library has a file with such a name, and only then, all that the
server may import later is imported at once, from the standard library. That costs some milliseconds. Projects without
such files pay nothing.

The same is imported before root is given up: the new user may not be allowed to read the modules.
"""

import os
import sys
from _frozen_importlib_external import PathFinder
from _imp import is_frozen

TYPE_CHECKING = False  # stands for typing.TYPE_CHECKING: an import of typing might find a namesake
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_HOME = os.path.dirname(os.__file__)  # noqa: PTH120 - without pathlib
_STANDARD = (_HOME, *(path for path in sys.path if path.endswith("/lib-dynload")))
_OTHERS = (
    "setproctitle",
    "watchfiles",
)  # packages that are imported once the application's directory is on the path
_UNNEEDED = ("resource", "test")  # no code of the server imports these, and projects like to have them

# What is imported inside functions, once the application may have been loaded: tests/test_standard.py compares it with
# the sources. Our own modules are listed for the modules that they import.
LATER = (
    "ast",  # by traceback, to underline
    "difflib",
    "encodings.idna",  # by the system's resolver of names
    "grp",
    "http",
    "importlib",
    "importlib.util",
    "inspect",
    "ipaddress",
    "linecache",
    "locale",  # by gettext, for the texts of click
    "logging",
    "numbers",
    "pwd",
    "tokenize",  # by linecache
    "tomllib",
    "traceback",
    "halfsync.board",
    "halfsync.foreground",
    "halfsync.native.system",
    "halfsync.models.pool",
    "halfsync.models.proactor",
    "halfsync.models.process",
    "halfsync.models.thread",
    "halfsync.probes",
    "halfsync.server",
    "halfsync.serving",
    "halfsync.settings.elsewhere",
    "halfsync.static.mounts",
    "halfsync.stream.handler",
    "halfsync.stream.streaming",
    "halfsync.supervisor.capacity",
    "halfsync.supervisor.development",
    "halfsync.supervisor.error_page",
    "halfsync.supervisor.sources",
    "halfsync.supervisor.starting",
    "halfsync.supervisor.supervisor",
    "halfsync.threadpool",
    "halfsync.wsgi.application",
)


class genuine:  # noqa: N801 - it reads as what it is: a context manager
    """Find modules of the standard library, and the packages in _OTHERS, where they belong. For a single thread."""

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_exc_info: object) -> None:
        sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return where a standard module, or a package in _OTHERS, really is. None: the name is none of these.

        Raises ModuleNotFoundError for a standard module that this system does not have.
        """
        if path is None and name in sys.stdlib_module_names:
            spec = PathFinder.find_spec(name, _STANDARD, target)
            if spec is None and name not in sys.builtin_module_names and not is_frozen(name):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return spec
        if path is None and name in _OTHERS:
            return PathFinder.find_spec(name, sys.path[len(directories_ahead()) :], target)
        return None


def directories_ahead() -> list[str]:
    """Return the directories of sys.path that come before the standard library."""
    return sys.path[: sys.path.index(_HOME)] if _HOME in sys.path else []


def find_namesakes(directories: "Iterable[str]") -> list[str]:
    """Return the files in these directories that have the name of a module which the server needs, in order."""
    found: set[str] = set()
    for directory in directories:
        try:
            entries = os.listdir(directory or ".")  # noqa: PTH208 - without pathlib
        except OSError:
            continue  # a file, or not there
        for entry in entries:
            name, dot, _ = entry.partition(".")
            if name in _UNNEEDED or (name not in sys.stdlib_module_names and name not in _OTHERS):
                continue
            if (dot and entry.endswith((".py", ".pyc", ".so"))) or os.path.isfile(  # noqa: PTH113
                f"{directory or '.'}/{entry}/__init__.py"
            ):
                found.add(f"{directory or '.'}/{entry}")
    return sorted(found)


def import_all() -> None:
    """Import what the server may need later, from the standard library, if directories before it have namesakes."""
    if find_namesakes(directories_ahead()):
        import_later()


def keep_apart(directory: str) -> list[str]:
    """Import what the server may need later, if this directory has namesakes. Returns the namesakes that stay hidden.

    To be called before the directory is put first on sys.path. If only this call has imported a standard module, and
    the server does not import it again, it is taken out of sys.modules. The application can then import its own.
    """
    namesakes = {_module_of(file): file for file in find_namesakes([directory])}
    if not namesakes:
        return []
    before = set(sys.modules)
    import_later()
    for module in set(sys.modules) - before:
        top = module.partition(".")[0]
        if top in namesakes and top not in before and top not in LATER:
            del sys.modules[module]
    return [file for name, file in namesakes.items() if name in sys.modules]


def import_later() -> None:
    """Import what the server may need later, from the standard library."""
    with genuine():
        for name in LATER:
            __import__(name)


def _module_of(file: str) -> str:
    return os.path.basename(file).partition(".")[0]  # noqa: PTH119
