"""Imports from the standard library for the server, even if a project has modules with the same names.

Python looks for a module in the application's directory first. If there is a `resource.py`, a good name in a REST API,
every import of `resource` gets that file, in our code and in the modules of the standard library that we import. An
application must be able to have its own modules, and the server must not get them (decisions/0023).

So, if a directory before the standard library has a file with such a name, and only then, everything that the server
may import later is imported at once, from the standard library. That costs some milliseconds; projects without such
files pay nothing. An application may put more directories on sys.path while it is loaded; they are searched once it is
loaded. Directories that it adds later, in a request, are not searched. So what is imported so late is imported by
`genuine`.

The same modules are imported before root is given up: the new user may not be allowed to read them.
"""

import os
import sys
from _frozen_importlib_external import PathFinder
from _imp import is_frozen
from _thread import get_ident
from posix import getcwd, listdir, stat  # which the application cannot replace here
from stat import S_ISREG

TYPE_CHECKING = False  # stands for typing.TYPE_CHECKING: an import of typing might find a namesake
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_HOME = os.path.dirname(os.__file__)  # noqa: PTH120 - without pathlib
_STANDARD = (_HOME, *(path for path in sys.path if path.endswith("/lib-dynload")))
_LIBRARY = tuple(f"{directory}/" for directory in _STANDARD)
_INSTALLED = (
    "/site-packages/",
    "/dist-packages/",
)  # directories of packages, possibly below the library's
_OTHERS = (
    "setproctitle",
    "watchfiles",
)  # packages that are imported when the application's directory is on the path already
_OPEN = ("click", "halfsync")  # packages that a directory on PYTHONPATH may replace
_UNNEEDED = ("resource", "test")  # no code of the server imports these, and projects often have them

_NEEDED = sys.stdlib_module_names.difference(_UNNEEDED)
FOR_TRACEBACKS = ("ast", "linecache", "tokenize", "traceback")  # modules needed to write a traceback

# Modules that are imported inside functions, when the application may be loaded already. Our own are listed for the
# modules that they import. tests/runtime/test_standard.py compares the list with the sources.
LATER = (
    "_json",
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
    "halfsync.shared.scoreboard",
    "halfsync.foreground",
    "halfsync.native.system",
    "halfsync.models.pool",
    "halfsync.models.proactor",
    "halfsync.models.process",
    "halfsync.models.thread",
    "halfsync.admin.admin_engine",
    "halfsync.observe.watcher",
    "halfsync.shared.activity",
    "halfsync.server",
    "halfsync.serving",
    "halfsync.settings.access_format",
    "halfsync.settings.elsewhere",
    "halfsync.static.mounts",
    "halfsync.stream.handler",
    "halfsync.stream.streaming",
    "halfsync.settings.capacity",
    "halfsync.supervisor.development.child",
    "halfsync.supervisor.development.error_page",
    "halfsync.supervisor.development.sources",
    "halfsync.supervisor.development.watching",
    "halfsync.host.preflight",
    "halfsync.supervisor.supervise",
    "halfsync.transport.certificates",
    "halfsync.transport.profiles",
    "halfsync.transport.tls",
    "halfsync.pool.threadpool",
    "halfsync.wsgi.application",
    "halfsync.wsgi.scheme",
)


_looked_at: set[str] = set()  # directories that were searched for namesakes
_kept: "dict[str, dict[str, ModuleType]]" = {}  # library modules whose names the application uses for its own


class genuine:  # noqa: N801 - it reads as what it is: a context manager
    """A block that imports modules of the standard library, and packages that the server needs, from where they belong.

    It affects the imports of the thread that enters it, including those inside an imported module. names: what may be
    imported; without any, everything that the server imports late. If the application has its own module of such a
    name, or if a module is not loaded yet, the application's modules with standard names are set aside in the block,
    for all threads.
    """

    def __init__(self, *names: str) -> None:
        self._names = names or LATER
        self._aside: dict[str, dict[str, ModuleType]] = {}

    def __enter__(self) -> None:
        self._thread = get_ident()
        if any(
            name in sys.modules and not _is_library(sys.modules[name])
            for name in self._names
            if name in _NEEDED
        ):
            self._aside = _set_aside()
        sys.meta_path.insert(0, self)

    def __exit__(self, *_exc_info: object) -> None:
        sys.meta_path.remove(self)
        _put_back(self._aside)

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return where a standard module, or an installed package, really is. None: look for it as usual.

        Raises ModuleNotFoundError for a standard module that this system does not have.
        """
        if path is not None or name in _OPEN or get_ident() != self._thread:
            return None
        if name in sys.stdlib_module_names:
            self._aside |= _set_aside()
            spec = PathFinder.find_spec(name, _STANDARD, target)
            if spec is None and name not in sys.builtin_module_names and not is_frozen(name):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return spec
        return PathFinder.find_spec(name, sys.path[len(directories_ahead()) :], target)


def _set_aside() -> "dict[str, dict[str, ModuleType]]":
    """Remove the application's modules with standard names from sys.modules, and return them by these names."""
    names = [name for name in _NEEDED.intersection(sys.modules) if not _is_library(sys.modules[name])]
    aside = {name: _take(name) for name in names}
    for name in names:
        sys.modules.update(_kept.get(name, {}))
    return aside


def _put_back(aside: "dict[str, dict[str, ModuleType]]") -> None:
    for name, modules in aside.items():
        _kept[name] = _take(name)
        sys.modules.update(modules)


def _take(name: str) -> "dict[str, ModuleType]":
    """Remove a module, and the modules below it, from sys.modules, and return them."""
    names = [module for module in list(sys.modules) if module == name or module.startswith(f"{name}.")]
    return {module: sys.modules.pop(module) for module in names}


def _is_library(module: object) -> bool:
    """Return whether a module is of the standard library. A module without a file counts as such."""
    file = _file_of(module)
    return not file or is_in_library(file)


def is_in_library(file: str) -> bool:
    """Return whether a file, by Python's name for it, is of the standard library. Some modules are frozen."""
    return file.startswith((*_LIBRARY, "<frozen ")) and not any(part in file for part in _INSTALLED)


def _is_in(path: str, module: object) -> bool:
    """Return whether a module is this file, or this package."""
    file = _file_of(module)
    whole = os.path.normpath(path if path.startswith("/") else f"{getcwd()}/{path}")
    return whole in (file, os.path.dirname(file))  # noqa: PTH120 - without pathlib


def _file_of(module: object) -> str:
    file = getattr(module, "__dict__", {}).get("__file__")
    return file if isinstance(file, str) else ""


def directories_ahead() -> list[str]:
    """Return the directories of sys.path that come before the standard library."""
    return sys.path[: sys.path.index(_HOME)] if _HOME in sys.path else []


def put_directories_behind() -> None:
    """Move the directories before the standard library to the end, in a process that does not run the application."""
    ahead = directories_ahead()
    sys.path[:] = [*sys.path[len(ahead) :], *ahead]


def find_namesakes(directories: "Iterable[str]") -> list[str]:
    """Return the files in these directories, sorted, that have the name of a module that the server needs."""
    found: set[str] = set()
    for directory in directories:
        try:
            entries = listdir(directory or ".")
        except OSError:
            continue  # a file, or missing
        for entry in entries:
            name, dot, _ = entry.partition(".")
            if name in _UNNEEDED or (name not in sys.stdlib_module_names and name not in _OTHERS):
                continue
            is_file = dot and entry.endswith((".py", ".pyc", ".so"))
            if is_file or _is_file(f"{directory or '.'}/{entry}/__init__.py"):
                found.add(f"{directory or '.'}/{entry}")
    return sorted(found)


def _is_file(path: str) -> bool:
    try:
        return S_ISREG(stat(path).st_mode)
    except OSError:
        return False


def import_all() -> None:
    """Import what the server may need later, from the standard library, if directories before it have namesakes."""
    directories = directories_ahead()
    _looked_at.update(directories)
    if find_namesakes(directories):
        import_later()


def keep_apart(*directories: str) -> list[str]:
    """Import what the server may need later, if these directories have namesakes. Return those that stay hidden.

    Directories on sys.path that were not searched before count too. Call this before anything is imported from them. A
    standard module that only this call has imported, and that the server does not import again, is removed from
    sys.modules, so that the application can import its own.
    """
    directories = (*directories, *_find_new())
    _looked_at.update(directories)
    namesakes = {_module_of(file): file for file in find_namesakes(directories)}
    if not namesakes:
        return []
    before = set(sys.modules)
    import_later()
    for module in set(sys.modules) - before:
        top = module.partition(".")[0]
        if top in namesakes and top not in before and top not in LATER:
            del sys.modules[module]
    return [
        file
        for name, file in namesakes.items()
        if name in sys.modules and not _is_in(file, sys.modules[name])
    ]


def keep_new_apart() -> list[str]:
    """Do what `keep_apart` does, for directories that were put on sys.path since the last search. Cheap without any."""
    return keep_apart() if _find_new() else []


def _find_new() -> list[str]:
    """Return the directories before the standard library that were not searched yet."""
    return [directory for directory in directories_ahead() if directory not in _looked_at]


def import_later() -> None:
    """Import what the server may need later, from the standard library."""
    with genuine():
        for name in LATER:
            __import__(name)


def _module_of(file: str) -> str:
    return os.path.basename(file).partition(".")[0]  # noqa: PTH119
