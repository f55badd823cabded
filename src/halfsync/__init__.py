"""halfsync: a Python application server. Async where the network is, sync where your code is.

`serve` and `Server` serve a WSGI application; `ThreadPool` is the pool of threads on its own. Each is loaded when it is
first used, so that importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING

from halfsync.version import VERSION

if TYPE_CHECKING:
    from halfsync.server import Server, serve
    from halfsync.threadpool import ThreadPool, ThreadPoolStatistics

__version__ = VERSION
__all__ = ["Server", "ThreadPool", "ThreadPoolStatistics", "__version__", "serve"]

_HOMES = {
    "Server": "halfsync.server",
    "serve": "halfsync.server",
    "ThreadPool": "halfsync.threadpool",
    "ThreadPoolStatistics": "halfsync.threadpool",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only the first use of each name comes here

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
