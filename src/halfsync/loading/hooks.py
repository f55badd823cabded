"""Loading a hook: a function of the user that the server calls."""

from collections.abc import Callable
from typing import Any

from halfsync.errors import LoadError
from halfsync.loading.calls import mistake_in_arguments, require_callable
from halfsync.loading.importing import find, import_module
from halfsync.runtime.forking import NoCopies


def load_hook(target: str, *, origin: str) -> Callable[[Any], object]:
    """Import and return what ``module:function`` names, which must take one argument. ``origin``: what errors name.

    Raises LoadError, whose ``traceback`` is set if the import of the module failed.
    """
    with NoCopies():
        return _load_hook(target, origin)


def _load_hook(target: str, origin: str) -> Callable[[Any], object]:
    module_name, _, name = target.partition(":")
    where = f"{origin} {target}"
    found, name = find(import_module(module_name, where), name, where)
    function = require_callable(found, name, origin=where, remedy="name a function")
    mistake = mistake_in_arguments(function, None)
    if mistake is not None:
        problem = f"{name!r} cannot be called with one argument: {mistake}"
        raise LoadError(problem, origin=where, remedy="it must take one argument, the worker")
    return function
