"""Run the application on what the standard library has: wsgiref over a socketserver mixin, `forking` or `threading`.

wsgiref answers in HTTP/1.0 and closes: each request is a connection, and so a process or a thread, of its own.
"""

import sys
from importlib import import_module
from socketserver import ForkingMixIn, ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class Quiet(WSGIRequestHandler):
    """A handler without an access log."""

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing."""


class Forking(ForkingMixIn, WSGIServer):
    """A child process for each connection."""

    request_queue_size = 4096
    max_children = 1100  # as halfsync's; by default 40


class Threading(ThreadingMixIn, WSGIServer):
    """A thread for each connection."""

    request_queue_size = 4096
    daemon_threads = True


kind = {"forking": Forking, "threading": Threading}[sys.argv[1]]
with kind(("127.0.0.1", int(sys.argv[2])), Quiet) as server:
    server.set_app(import_module("app").app)
    server.serve_forever()
