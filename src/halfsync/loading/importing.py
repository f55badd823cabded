"""Importing a module of the application, and finding a name in it."""

import importlib
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import NoReturn

from halfsync.errors import LoadError, near
from halfsync.loading.directory import tell_hidden
from halfsync.loading.faults import application_frames, blame_application
from halfsync.loading.target import DEFAULT_NAMES
from halfsync.runtime.forking import NoCopies
from halfsync.runtime.originals import os
from halfsync.runtime.standard import genuine, keep_new_apart


class RunningApplication:
    """A block that runs the application to load it. The application may put directories on sys.path.

    If it forks, the copy ends as it leaves the block (`NoCopies`).
    """

    def __enter__(self) -> None:
        self._copies = NoCopies()
        self._copies.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._copies.__exit__(kind, error, traceback)
        tell_hidden(keep_new_apart())


def import_module(module_name: str, target: str) -> ModuleType:
    """Import a module of the application. target: for errors. Raises LoadError."""
    try:
        with RunningApplication():  # inside the try, which turns sys.exit() into another error
            return importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - an application may raise anything, sys.exit() included
        if _is_missing(error, module_name):
            assert isinstance(error, ModuleNotFoundError)
            _refuse_missing(error, module_name, target)
        blame_application(error, f"importing {module_name} failed", target)


def import_file(path: str, target: str) -> ModuleType:
    """Run a Python file as a module, once. path: relative to the working directory. target: for errors.

    The module's name is the path. Raises LoadError.
    """
    whole = os.path.abspath(path)
    known = sys.modules.get(whole)
    if known is not None:
        return known
    if not os.path.isfile(whole):
        raise LoadError(f"there is no file {whole}", origin=target, remedy="name a Python file")
    with genuine():
        from importlib.util import module_from_spec, spec_from_file_location  # noqa: PLC0415 - rarely used

        spec = spec_from_file_location(whole, whole)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[whole] = module
    try:
        with RunningApplication():
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[whole]
        if isinstance(error, KeyboardInterrupt):
            raise
        blame_application(error, f"running {path} failed", target)
    return module


def _is_missing(error: BaseException, module_name: str) -> bool:
    """Return whether the target itself is missing, and not a module that it imports.

    In the second case the traceback has frames of the application. The name alone does not show it: a package may
    import a missing part of itself.
    """
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return False
    return (module_name + ".").startswith(error.name + ".") and not application_frames(error)


def _refuse_missing(error: ModuleNotFoundError, module_name: str, target: str) -> NoReturn:
    directory = os.getcwd()
    missing = error.name or module_name
    parent, _, last = missing.rpartition(".")
    if parent:
        package = sys.modules.get(parent)
        places = list(getattr(package, "__path__", ()))
        if not places:
            problem = f"no module named {missing!r}: {parent!r} is a module, not a package"
            raise LoadError(
                problem, origin=target, remedy=f"write {parent}:{last} for a name in it"
            ) from None
    else:
        places = [directory]
    close = near(last, _modules_in(places))
    remedy = (
        f"did you mean {close!r}?" if close else "name the directory it is in with --chdir, or install it"
    )
    problem = f"no module named {missing!r} in {places[0]}" + (
        "" if parent else " or among the installed ones"
    )
    raise LoadError(problem, origin=target, remedy=remedy) from None


def _modules_in(places: Iterable[str]) -> list[str]:
    names: list[str] = []
    for place in places:
        try:
            entries = list(os.scandir(place))
        except OSError:
            continue
        names += [entry.name.removesuffix(".py") for entry in entries if entry.name.endswith(".py")]
        names += [entry.name for entry in entries if entry.is_dir()]
    return [name for name in names if name.isidentifier()]


def find(module: ModuleType, name: str, target: str) -> tuple[object, str]:
    """Return the object that a dotted name in the module leads to, and its name; without one, try the default names."""
    if not name:
        for default in DEFAULT_NAMES:
            if hasattr(module, default):
                return getattr(module, default), default
        tried = " and ".join(repr(default) for default in DEFAULT_NAMES)
        remedy = f"name the application, as in {target.removesuffix(':')}:callable"
        raise LoadError(f"tried {tried}, and the module has neither", origin=target, remedy=remedy)
    found: object = module
    walked = module.__name__
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            if application_frames(error):
                blame_application(error, f"looking up {part!r} failed", target)
            close = near(part, [known for known in dir(found) if not known.startswith("__")])
            remedy = f"did you mean {close!r}?" if close else "check the name after the colon"
            raise LoadError(f"{walked} has no attribute {part!r}", origin=target, remedy=remedy) from None
        walked = f"{walked}.{part}"
    return found, name
