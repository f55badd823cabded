"""A target as it is written: ``module``, ``module:callable`` or ``module:object.attribute``."""

import re

from halfsync.errors import LoadError

DEFAULT_NAMES = ("application", "app")


def split_target(target: str) -> tuple[str, str]:
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
