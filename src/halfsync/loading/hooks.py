"""Loading a hook: a function of the user that the server calls."""

from collections.abc import Callable, Sequence

from halfsync.errors import LoadError
from halfsync.loading.calls import mistake_in_arguments, require_callable
from halfsync.loading.importing import find, import_file, import_module
from halfsync.runtime.forking import NoCopies


def load_hook(target: str, *, origin: str, takes: Sequence[str] = ("worker",)) -> Callable[..., object]:
    """Import and return what ``module:function`` or ``FILE.py:function`` names. ``origin``: for errors.

    takes: names of what it is called with: the last of them or, if it takes two, as gunicorn's hooks do, both. A
    function that takes one is returned as one that takes all. Raises LoadError, whose ``traceback`` is set if the
    import of the module failed.
    """
    with NoCopies():
        return _load_hook(target, origin, takes)


def _load_hook(target: str, origin: str, takes: Sequence[str]) -> Callable[..., object]:
    module_name, _, name = target.rpartition(":")
    where = f"{origin} {target}"
    load = import_file if module_name.endswith(".py") else import_module
    found, name = find(load(module_name, where), name, where)
    function = require_callable(found, name, origin=where, remedy="name a function")
    mistake = mistake_in_arguments(function, None)
    if mistake is None:
        return lambda *given: function(given[-1])
    if len(takes) > 1 and mistake_in_arguments(function, *takes) is None:
        return function
    problem = f"{name!r} cannot be called with one argument: {mistake}"
    remedy = f"it must take one argument, the {takes[-1]}"
    if len(takes) > 1:
        remedy += f", or two, the {' and the '.join(takes)}"
    raise LoadError(problem, origin=where, remedy=remedy)
