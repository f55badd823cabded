"""halfsync: a Python application server. The network side is async, your code is sync.

`serve` and `Server` serve a WSGI application, and `serve_stream` serves a protocol of your own. `ThreadPool` is the
thread pool alone. `Settings` are the settings of a server. What is wrong with them, with an application or with a
listener raises a `StartError`: `UsageError`, `LoadError` or `BindError`. Each is loaded when it is first used, so that
importing the package costs next to nothing.
"""

import sys

from halfsync.runtime.standard import genuine, import_all
from halfsync.version import VERSION

TYPE_CHECKING = False  # stands for typing.TYPE_CHECKING: typing need not be loaded
if TYPE_CHECKING:
    from halfsync.errors import BindError, HalfsyncError, LoadError, StartError, UsageError
    from halfsync.pool.threadpool import ThreadPool, ThreadPoolStatistics
    from halfsync.server import Server
    from halfsync.serving import serve, serve_stream
    from halfsync.settings import Settings
    from halfsync.stream.handler import EndStream, StreamHandler

__version__ = VERSION
__all__ = [
    "BindError",
    "EndStream",
    "HalfsyncError",
    "LoadError",
    "Server",
    "Settings",
    "StartError",
    "StreamHandler",
    "ThreadPool",
    "ThreadPoolStatistics",
    "UsageError",
    "__version__",
    "serve",
    "serve_stream",
]

_HOMES = {
    **dict.fromkeys(
        ("BindError", "HalfsyncError", "LoadError", "StartError", "UsageError"), "halfsync.errors"
    ),
    "Settings": "halfsync.settings",
    "EndStream": "halfsync.stream.handler",
    "Server": "halfsync.server",
    "StreamHandler": "halfsync.stream.handler",
    "serve": "halfsync.serving",
    "serve_stream": "halfsync.serving",
    "ThreadPool": "halfsync.pool.threadpool",
    "ThreadPoolStatistics": "halfsync.pool.threadpool",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with genuine():
        from importlib import import_module  # noqa: PLC0415 - reached only at the first use of each name

        value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if sys.argv[:1] != ["-m"]:  # with -m, __main__.py comes next, and clears the path itself
    import_all()
