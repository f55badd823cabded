"""Loading the application that ``module:callable`` names.

For a mistake in the target, one line says what was tried. For an exception in the application, the fault is in the
user's code, so the traceback is shown, cut down to the application's frames.
"""

from collections.abc import Callable
from typing import Any

from halfsync.errors import LoadError
from halfsync.loading.calls import mistake_in_arguments, require_callable
from halfsync.loading.directory import enter
from halfsync.loading.faults import blame_application
from halfsync.loading.importing import RunningApplication, find, import_module
from halfsync.loading.target import split_target
from halfsync.runtime.forking import NoCopies

Application = Callable[..., Any]


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
    module_name, name = split_target(target)
    enter(chdir)
    module = import_module(module_name, target)
    found, name = find(module, name, target)
    application = require_callable(
        found, name, origin=target, remedy=f"name a WSGI application in {module_name}"
    )
    if factory:
        application, name = _call_factory(application, name, target), f"{name}()"
    if stream:
        _check_makes_handlers(application, name, target)
    else:
        _check_arguments(application, name, target)
    return application


def _call_factory(factory: Callable[..., Any], name: str, target: str) -> Application:
    import inspect  # noqa: PLC0415 - only a factory needs it

    mistake = mistake_in_arguments(factory)
    if mistake is not None:
        problem = f"the factory {name!r} cannot be called without arguments: {mistake}"
        remedy = "give its parameters defaults, or leave --factory out"
        raise LoadError(problem, origin=target, remedy=remedy)
    try:
        with RunningApplication():
            made = factory()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a factory may raise anything, sys.exit() included
        blame_application(error, f"the factory {name!r} failed", target)
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
    mistake = mistake_in_arguments(maker)
    if mistake is not None:
        raise LoadError(
            f"{name!r} cannot be called without arguments: {mistake}", origin=target, remedy=remedy
        )


def _check_arguments(application: Callable[..., Any], name: str, target: str) -> None:
    """Reject what would fail at every request: an ASGI application, or a factory without --factory."""
    import inspect  # noqa: PLC0415 - settings have loaded it already; loading alone may not need it

    call = application if inspect.isroutine(application) else type(application).__call__
    if inspect.iscoroutinefunction(call):
        remedy = "halfsync serves WSGI; wrap it, for example with a2wsgi, or use an ASGI server"
        raise LoadError(
            f"{name!r} is async, so it looks like an ASGI application", origin=target, remedy=remedy
        )
    if mistake_in_arguments(application, {}, None) is None:
        return
    problem = f"{name!r} does not take the two arguments of WSGI, environ and start_response"
    is_factory = mistake_in_arguments(application) is None
    remedy = "add --factory if it returns the application" if is_factory else "name the application itself"
    raise LoadError(problem, origin=target, remedy=remedy)
