"""Loaded by a server at its start: makes one function raise once, in the process that loaded this, if a test asks.

RAISING names the function, as module:name, and the exception. It raises at the first call after the file "raise" was
made, and removes that file. With "late" before its name it does what it is for, and raises then.
"""

import builtins
import os
from importlib import import_module
from typing import Any


def arrange(target: str, exception: str) -> None:
    """Put something in the place of the function that may raise."""
    when, _, place = target.rpartition(" ")
    module, _, path = place.partition(":")
    holder: Any = import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    found = holder.__dict__[name]
    is_static = isinstance(found, staticmethod | classmethod)
    original = getattr(holder, name)
    pid, error = os.getpid(), getattr(builtins, exception)
    exists, unlink, getpid = os.path.exists, os.unlink, os.getpid

    def call(*args: Any, **keywords: Any) -> Any:
        due = getpid() == pid and exists(os.environ["RAISING_FILE"])
        result = original(*args, **keywords) if when or not due else None
        if due:
            unlink(os.environ["RAISING_FILE"])
            raise error(11, "raised by a test")
        return result

    setattr(holder, name, staticmethod(call) if is_static else call)


if "RAISING" in os.environ:
    arrange(*os.environ["RAISING"].rsplit(" ", 1))
