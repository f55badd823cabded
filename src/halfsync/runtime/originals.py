"""Copies of Python's system modules, made before an application can replace functions in them.

gevent and eventlet put their own functions into the modules of the standard library, for the whole process, and any
application may do the same. A loop of the server that called those would wait for a scheduler that does not run, or
would spin. So halfsync imports the names below from here and not from the modules themselves; `make lint` checks it.

A program may have replaced functions before it imports halfsync. So each copy takes its functions from the underlying
C module, if there is one: programs do not replace functions there. Threads, and waiting for descriptors, are always in
C (native/system.pyx).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the C module below signal has no stub
import _socket
import os as _os
import posix
import signal as _signal_module
import socket as _socket_module
from time import localtime, monotonic, monotonic_ns, time
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    import signal
    import socket

__all__ = ["localtime", "monotonic", "monotonic_ns", "os", "signal", "socket", "time"]


def _copy(module: ModuleType, **genuine: Any) -> Any:
    """Return a copy of a module as it is now, with these values replaced."""
    copy = ModuleType(module.__name__, module.__doc__)
    copy.__dict__.update(vars(module) | genuine)
    return copy


def _functions(below: ModuleType, module: ModuleType) -> dict[str, Any]:
    """Return the functions that a module takes from the C module below it."""
    return {name: value for name, value in vars(below).items() if callable(value) and hasattr(module, name)}


def _socket_class() -> type[_socket_module.socket]:
    """Return the original socket class: the module may have another class under that name now."""
    classes: list[Any] = _socket.socket.__subclasses__()
    found: type[_socket_module.socket] = next(
        one for one in classes if (one.__module__, one.__qualname__) == ("socket", "socket")
    )
    return found


def _socketpair(family: int, kind: int) -> tuple[_socket_module.socket, _socket_module.socket]:
    """Return two connected sockets of the original class. The standard function uses the module's present class."""
    first, second = (_class(fileno=end.detach()) for end in _socket.socketpair(family, kind))
    return first, second


_class = _socket_class()

if not TYPE_CHECKING:
    os = _copy(_os, **_functions(posix, _os))
    # The C functions accept only the C module's own objects for these two.
    signal = _copy(
        _signal_module,
        **_functions(_signal, _signal_module),
        SIG_DFL=_signal.SIG_DFL,
        SIG_IGN=_signal.SIG_IGN,
    )
    socket = _copy(_socket_module, socket=_class, socketpair=_socketpair, getaddrinfo=_socket.getaddrinfo)
