"""Loading the application that ``module:callable`` names, and the hooks.

For a mistake in the target, one line says what was tried. For an exception in the application, the fault is in the
user's code, so the traceback is shown, cut down to the application's frames.
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from halfsync.errors import LoadError, UsageError, near, reason_of
from halfsync.log import warn
from halfsync.runtime.forking import NoCopies
from halfsync.runtime.originals import os
from halfsync.runtime.standard import FOR_TRACEBACKS, genuine, keep_apart, keep_new_apart

if TYPE_CHECKING:
    from traceback import FrameSummary, TracebackException

Application = Callable[..., Any]

DEFAULT_NAMES = ("application", "app")

_entered = ""  # the directory that `enter` has put first on sys.path


def load_application(
    target: str, *, factory: bool = False, chdir: str | None = None, stream: bool = False
) -> Application:
    """Import what ``target`` names and return the WSGI callable, or, with ``stream``, the maker of a stream's handlers.

    ``target`` is ``module``, ``module:callable`` or ``module:object.attribute``. Without a name, ``application`` is
    tried, then ``app``. With ``factory``, the callable is called without arguments, and its result is the application.
    ``chdir`` becomes the working directory, which is put first on ``sys.path``.

    Raises LoadError if the target or the application is at fault (``traceback`` is set if it is the application), and
    UsageError if ``chdir`` cannot be entered. KeyboardInterrupt passes through.
    """
    with NoCopies():
        return _load(target, factory, chdir, stream)


def _load(target: str, factory: bool, chdir: str | None, stream: bool) -> Application:
    module_name, name = _split(target)
    enter(chdir)
    module = _import(module_name, target)
    found, name = _find(module, name, target)
    if not callable(found):
        kind = type(found).__name__
        remedy = f"name a WSGI application in {module_name}"
        raise LoadError(f"{name!r} is of type {kind}, which cannot be called", origin=target, remedy=remedy)
    if factory:
        found, name = _call_factory(found, name, target), f"{name}()"
    if stream:
        _check_makes_handlers(found, name, target)
    else:
        _check_arguments(found, name, target)
    return found


def load_hook(target: str, *, origin: str) -> Callable[[Any], object]:
    """Import and return what ``module:function`` names, which must take one argument. ``origin``: what errors name.

    Raises LoadError, whose ``traceback`` is set if the import of the module failed.
    """
    with NoCopies():
        return _load_hook(target, origin)


def _load_hook(target: str, origin: str) -> Callable[[Any], object]:
    module_name, _, name = target.partition(":")
    where = f"{origin} {target}"
    found, name = _find(_import(module_name, where), name, where)
    if not callable(found):
        kind = type(found).__name__
        raise LoadError(
            f"{name!r} is of type {kind}, which cannot be called", origin=where, remedy="name a function"
        )
    import inspect  # noqa: PLC0415 - as in _check_arguments

    try:
        inspect.signature(found, follow_wrapped=False).bind(None)
    except ValueError:
        pass  # some compiled callables have no signature: a mistake shows at the call
    except TypeError as error:
        problem = f"{name!r} cannot be called with one argument: {error}"
        raise LoadError(problem, origin=where, remedy="let it take the worker, and nothing more") from None
    return found


def _split(target: str) -> tuple[str, str]:
    """Return the module and the name of a target. Raises LoadError."""
    module_name, _, name = target.partition(":")
    called, call, _ = name.partition("(")
    directory, slash, file = module_name.rpartition("/")
    module = file.removesuffix(".py")
    if called and call:
        problem = "a target is a name, not a call"
    elif module != module_name:
        problem = "a target names a module, not a file"
    elif "-" in target and _is_target(_without_hyphens(module), _without_hyphens(name)):
        part = next(part for part in (*module.split("."), *name.split(".")) if "-" in part)
        problem = f"{part!r} has a hyphen, which no name in Python has"
    elif not _is_target(module, name):
        parts = (*module.split("."), *(name.split(".") if name else ()))
        part = next(part for part in parts if not part.isidentifier())
        problem = f"{part!r} is not a name in Python" if part else "this is not a target"
        raise LoadError(problem, origin=target or "''", remedy="write it as module:callable")
    else:
        return module, name
    named = called or ("" if "/" not in module_name and module == module_name else DEFAULT_NAMES[1])
    remedy = _advise(module, named, directory or slash, is_called=bool(call))
    raise LoadError(problem, origin=target, remedy=remedy)


def _is_target(module_name: str, name: str) -> bool:
    """Return whether the module and the name are valid in Python. name: "" if there is none."""
    parts = (*module_name.split("."), *(name.split(".") if name else ()))
    return all(part.isidentifier() for part in parts)


def _without_hyphens(name: str) -> str:
    """Return a name with underscores for the hyphens inside its parts."""
    return re.sub("(?<=[^.])-", "_", name)


def _advise(module: str, name: str, directory: str, *, is_called: bool) -> str:
    """Return advice on how to write the target. name: "" if the default names are meant."""
    module_name, name = _without_hyphens(module), _without_hyphens(name)
    if not _is_target(module_name, name) or module_name.endswith(".py"):
        return "write it as module:callable"
    remedy = f"write {module_name}" + (f":{name}" if name else "")
    if is_called:
        remedy = f"to call a function for the application, {remedy} --factory"
    if directory:
        remedy += f" with --chdir {directory}"
    hyphened = [part for part in module.split(".") if "-" in part]
    if hyphened:
        remedy += f", and rename the file or directory if it is called {' or '.join(hyphened)}"
    return remedy


def enter(chdir: str | None) -> None:
    """Change to the directory, and put it first on sys.path, in the place of one that was entered before.

    Raises UsageError if it cannot be entered.
    """
    global _entered  # noqa: PLW0603 - like sys.path, it belongs to the process
    directory = change_to(chdir)
    if sys.path[:1] != [directory]:
        hidden = [file for file in keep_apart(directory) if os.path.dirname(file) == directory]
        if sys.path[:1] != [_entered]:
            sys.path.insert(0, directory)
        _tell_hidden(hidden)
    sys.path[0] = _entered = directory


def _tell_hidden(files: list[str]) -> None:
    """Log which files of the application cannot be imported, because the server needs the standard modules."""
    for directory in dict.fromkeys(os.path.dirname(file) for file in files):
        warn(
            "modules of the standard library are loaded already, and hide those of the same names in %s: %s; "
            "an application that imports them needs other names",
            directory,
            ", ".join(os.path.basename(file) for file in files if os.path.dirname(file) == directory),
        )


class _Application:
    """A block that runs the application to load it. The application may put directories on sys.path.

    If it forks, the copy ends as it leaves the block (`NoCopies`).
    """

    def __enter__(self) -> None:
        self._copies = NoCopies()
        self._copies.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._copies.__exit__(kind, error, traceback)
        _tell_hidden(keep_new_apart())


def change_to(chdir: str | None) -> str:
    """Change to the directory, if it is not None, and return the path of the working directory. Raises UsageError."""
    try:
        if chdir is not None:
            os.chdir(chdir)
        return os.getcwd()
    except OSError as error:
        reason = reason_of(error)
        if chdir is not None:
            problem, remedy = f"cannot change to {chdir!r}: {reason}", "name a directory that exists"
        else:
            problem = f"the directory in which it was started cannot be found: {reason}"
            remedy = "start it in one that exists, or give the whole path of the application's with --chdir"
        origin = "" if chdir is None else "chdir"
        raise UsageError(problem, origin=origin, remedy=remedy) from None


def _import(module_name: str, target: str) -> ModuleType:
    try:
        with _Application():  # inside the try, which turns sys.exit() into another error
            return importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - an application may raise anything, sys.exit() included
        if _is_missing(error, module_name):
            assert isinstance(error, ModuleNotFoundError)
            _refuse_missing(error, module_name, target)
        _blame_application(error, f"importing {module_name} failed", target)


def _is_missing(error: BaseException, module_name: str) -> bool:
    """Return whether the target itself is missing, and not a module that it imports.

    In the second case the traceback has frames of the application. The name alone does not show it: a package may
    import a missing part of itself.
    """
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return False
    return (module_name + ".").startswith(error.name + ".") and not _frames(error)


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


def _find(module: ModuleType, name: str, target: str) -> tuple[object, str]:
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
            if _frames(error):
                _blame_application(error, f"looking up {part!r} failed", target)
            close = near(part, [known for known in dir(found) if not known.startswith("__")])
            remedy = f"did you mean {close!r}?" if close else "check the name after the colon"
            raise LoadError(f"{walked} has no attribute {part!r}", origin=target, remedy=remedy) from None
        walked = f"{walked}.{part}"
    return found, name


def _call_factory(factory: Callable[..., Any], name: str, target: str) -> Application:
    import inspect  # noqa: PLC0415 - only a factory needs it

    try:
        # Do not look through wrappers: only the arguments of the outermost callable matter.
        inspect.signature(factory, follow_wrapped=False).bind()
    except ValueError:
        pass  # some compiled callables have no signature: a mistake shows at the call
    except TypeError as error:
        problem = f"the factory {name!r} cannot be called without arguments: {error}"
        remedy = "give its parameters defaults, or leave --factory out"
        raise LoadError(problem, origin=target, remedy=remedy) from None
    try:
        with _Application():
            made = factory()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a factory may raise anything, sys.exit() included
        _blame_application(error, f"the factory {name!r} failed", target)
    if inspect.iscoroutine(made):
        made.close()
        raise LoadError(f"the factory {name!r} is async", origin=target, remedy="make it a plain function")
    if not callable(made):
        problem = f"the factory {name!r} returned {type(made).__name__}, which cannot be called"
        raise LoadError(problem, origin=target, remedy="return the application from it")
    application: Application = made
    return application


def _check_makes_handlers(maker: Callable[..., Any], name: str, target: str) -> None:
    """Reject what would fail at every connection: a maker that takes arguments, or a class without the two methods."""
    import inspect  # noqa: PLC0415 - as in _check_arguments

    remedy = (
        "name a class, or a function without arguments, that makes a handler with received() and closed()"
    )
    if inspect.isclass(maker):
        for method in ("received", "closed"):
            if not callable(getattr(maker, method, None)):
                raise LoadError(f"{name!r} has no method {method}()", origin=target, remedy=remedy)
    try:
        inspect.signature(maker, follow_wrapped=False).bind()
    except ValueError:
        pass  # some compiled callables have no signature: a mistake shows at the first connection
    except TypeError as error:
        raise LoadError(
            f"{name!r} cannot be called without arguments: {error}", origin=target, remedy=remedy
        ) from None


def _check_arguments(application: Callable[..., Any], name: str, target: str) -> None:
    """Reject what would fail at every request: an ASGI application, or a factory without --factory."""
    import inspect  # noqa: PLC0415 - settings have loaded it already; loading alone may not need it

    call = application if inspect.isroutine(application) else type(application).__call__
    if inspect.iscoroutinefunction(call):
        remedy = "halfsync serves WSGI; wrap it, for example with a2wsgi, or use an ASGI server"
        raise LoadError(
            f"{name!r} is async, so it looks like an ASGI application", origin=target, remedy=remedy
        )
    try:
        signature = inspect.signature(application, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # some compiled callables have no signature: a mistake shows at the first request
    try:
        signature.bind({}, None)
    except TypeError:
        problem = f"{name!r} does not take the two arguments of WSGI, environ and start_response"
        is_factory = not _requires_arguments(application)
        remedy = (
            "add --factory if it returns the application" if is_factory else "name the application itself"
        )
        raise LoadError(problem, origin=target, remedy=remedy) from None


def _requires_arguments(function: Callable[..., Any]) -> bool:
    import inspect  # noqa: PLC0415 - as above

    try:
        inspect.signature(function, follow_wrapped=False).bind()
    except TypeError:
        return True
    return False


def _blame_application(error: BaseException, what: str, target: str) -> NoReturn:
    """Raise LoadError for an exception in the application, with its traceback cut down to the application's frames."""
    with genuine(*FOR_TRACEBACKS):
        import traceback  # noqa: PLC0415 - only a failure needs it

        report = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        _strip(report)
        summary = " ".join("".join(traceback.format_exception_only(error)).strip().splitlines()[-1].split())
        text = "".join(report.format())
    problem = f"{what}: {summary}"
    remedy = "the traceback above shows where"
    raise LoadError(problem, origin=target, remedy=remedy, traceback=text) from error


def _strip(report: "TracebackException") -> None:
    """Remove the frames of this loader and of the import system, from the causes of the exception too."""
    for frame in [frame for frame in report.stack if _is_ours(frame)]:
        report.stack.remove(frame)
    for other in (report.__cause__, report.__context__, *(report.exceptions or ())):
        if other is not None:
            _strip(other)


def _frames(error: BaseException) -> "list[FrameSummary]":
    """Return the frames of an exception that are neither this loader's nor the import system's."""
    import traceback  # noqa: PLC0415 - only a failure needs it

    return [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame)]


def _is_ours(frame: "FrameSummary") -> bool:
    return frame.filename in (__file__, importlib.__file__) or frame.filename.startswith("<frozen importlib")
