"""`serve` with several processes: what a reload reads again, and the directory of each generation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from halfsync.cli.applications import load, origins, surround, with_target
from halfsync.cli.options import given
from halfsync.errors import UsageError
from halfsync.host.directory import StartDirectory
from halfsync.host.handlers import outlive_handlers
from halfsync.host.preflight import refuse_lost_file
from halfsync.loading.directory import change_to, enter
from halfsync.runtime.originals import signal
from halfsync.runtime.signals import outlive_signals
from halfsync.settings import resolve
from halfsync.supervisor.inheritance import find_given_config
from halfsync.supervisor.supervise import supervise

if TYPE_CHECKING:
    from halfsync.loading.application import Application
    from halfsync.settings import Settings


class Supervised:
    """A command line that is read again at each reload, in the directory in which it was given.

    In its settings, `chdir` is the real path of the directory. So all processes of a generation are in the same
    directory, even if a deploy switches the link that led there.
    """

    def __init__(self, settings: Settings, options: dict[str, Any]) -> None:
        assert settings.wsgi_app is not None
        self._name = settings.wsgi_app
        self._options = options
        self._start = StartDirectory()
        self._named: dict[str | None, str | None] = {}  # `chdir` as given, by the path that it led to
        self._settings = settings

    def run(self) -> int:
        """Serve until told to end, and return the exit code. Raises StartError."""
        refuse_lost_file(self._settings, find_given_config())
        settings = self._fix_directory(self._settings)
        code, _ = supervise(
            self._load, settings, reread=self._reread, name=self._name, enter=self._enter, start=self._start
        )
        outlive_handlers()
        # These signals would come too late now.
        outlive_signals(signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
        return code

    def _fix_directory(self, settings: Settings) -> Settings:
        """Return the settings with `chdir` as the path of the directory that it leads to now."""
        with self._start.entered(), origins(settings):
            directory = change_to(settings.chdir)
        self._named[directory] = settings.chdir
        return replace(settings, chdir=directory)

    def _reread(self, before: Settings) -> Settings:
        """Return the current settings. before: those that count so far. Raises StartError."""
        with self._start.entered():
            settings = with_target(resolve(given(self._options), again=True))
            refuse_lost_file(settings, before.config)
        return self._fix_directory(settings)

    def _enter(self, settings: Settings) -> None:
        """Change to the directory of these settings, or, if it is gone, to the one that has its name now."""
        try:
            enter(settings.chdir)
        except UsageError:
            self._start.enter()
            with origins(settings):
                enter(self._named[settings.chdir])
        with origins(settings):
            surround(settings, None)

    def _load(self, settings: Settings) -> Application:
        return load(settings, None)
