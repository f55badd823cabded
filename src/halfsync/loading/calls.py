"""Whether something can be called, and with which arguments."""

from collections.abc import Callable
from typing import Any

from halfsync.errors import LoadError


def require_callable(found: object, name: str, *, origin: str, remedy: str) -> Callable[..., Any]:
    """Return what was found under a name, if it can be called. Raises LoadError."""
    if not callable(found):
        kind = type(found).__name__
        raise LoadError(f"{name!r} is of type {kind}, which cannot be called", origin=origin, remedy=remedy)
    return found


def mistake_in_arguments(function: Callable[..., Any], *arguments: object) -> TypeError | None:
    """Return why a function cannot be called with these arguments.

    None: it can; or it has no signature, as some compiled functions, and a mistake shows at the call.
    """
    import inspect  # noqa: PLC0415 - settings have loaded it already; loading alone may not need it

    try:
        # Do not look through wrappers: only the arguments of the outermost callable matter.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*arguments)
    except TypeError as error:
        return error
    return None
