"""`runserver`, served by halfsync: with reload, and with the static files of installed applications.

The server is `halfsync serve` with the application of WSGI_APPLICATION, in a process that takes this one's place. So a
project is developed under the server that it runs on.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

NAIVE = ("127.0.0.1", "::1")  # where it listens without an address; with --ipv6
PORT = 8000
STATIC = "halfsync.contrib.django.wsgi:application"


class Command(BaseCommand):
    """Serve the project, for development."""

    help = "Serves this project with halfsync, for development: reloads it when its source changes."
    # As Django's: checks run before, in this process.
    requires_system_checks: ClassVar[list[str]] = []
    stealth_options = ("shutdown_message",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of Django's runserver, and what is for the server."""
        parser.add_argument("addrport", nargs="?", help="Port, or address:port.")
        parser.add_argument("--ipv6", "-6", action="store_true", dest="use_ipv6", help="Use an IPv6 address.")
        parser.add_argument(
            "--nothreading", action="store_false", dest="use_threading", help="Run one request at a time."
        )
        parser.add_argument(
            "--noreload", action="store_false", dest="use_reloader", help="Do not reload the project."
        )
        parser.add_argument(
            "--nostatic", action="store_false", dest="use_static", help="Do not serve static files."
        )
        parser.add_argument(
            "--insecure", action="store_true", dest="insecure", help="Serve static files if DEBUG is False."
        )
        parser.add_argument("--skip-checks", action="store_true", help="Skip system checks.")
        parser.add_argument(
            "--server-option",
            action="append",
            default=[],
            metavar="OPTION",
            dest="server_options",
            help="An option of `halfsync serve`, as in --server-option=--threads=8; repeatable.",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Check the project, and become the server. Raises CommandError."""
        if not settings.DEBUG and not settings.ALLOWED_HOSTS:
            raise CommandError("You must set settings.ALLOWED_HOSTS if DEBUG is False.")
        if not settings.WSGI_APPLICATION:
            raise CommandError("WSGI_APPLICATION is not set: name the project's application in the settings.")
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        arguments = server_arguments(options)
        self.stdout.write(f"Starting halfsync: {' '.join(arguments)}")
        self.stdout.flush()
        self.stderr.flush()
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings.SETTINGS_MODULE)
        os.execv(sys.executable, [sys.executable, "-m", "halfsync", "serve", *arguments])


def server_arguments(options: dict[str, Any]) -> list[str]:
    """Return the arguments of `halfsync serve` for the options of runserver. Raises CommandError."""
    arguments = [_target(options), "--bind", _bind(options["addrport"], use_ipv6=options["use_ipv6"])]
    if options["use_reloader"]:
        if find_spec("watchfiles") is None:
            raise CommandError('reload needs watchfiles: pip install "halfsync[reload]", or use --noreload')
        arguments.append("--reload")
    if not options["use_threading"]:
        arguments += ["--threads", "1"]
    if not any(one.startswith("--access-log") for one in options["server_options"]):
        arguments += ["--access-log", "-"]
    return [*arguments, *options["server_options"]]


def _target(options: dict[str, Any]) -> str:
    """Return the project's application, or the one that serves static files before it, as Django's command does."""
    static = options["use_static"] and (settings.DEBUG or options["insecure"])
    if static and "django.contrib.staticfiles" in settings.INSTALLED_APPS:
        return STATIC
    module, _, name = settings.WSGI_APPLICATION.rpartition(".")
    return f"{module}:{name}"


def _bind(given: str | None, *, use_ipv6: bool) -> str:
    """Return the address: none, a port, or an address with a port."""
    host, _, port = (given or "").rpartition(":")
    host = host.strip("[]") or NAIVE[use_ipv6]
    port = port or str(PORT)
    if not port.isdigit():
        raise CommandError(f'"{given}" is not a valid port number or address:port pair.')
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
