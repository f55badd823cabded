"""The entry point: serve with several processes until a signal ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.runtime.output import hold_standard_descriptors, settle_output
from halfsync.supervisor.process import SpawnContext, run_process
from halfsync.supervisor.startup_signals import EndedBySignal, SupervisorSignals
from halfsync.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from halfsync.host.directory import StartDirectory
    from halfsync.server import Application
    from halfsync.settings import Settings
    from halfsync.stream.handler import StreamFactory


def supervise(
    load: Callable[[Settings], Application | StreamFactory],
    settings: Settings,
    *,
    reread: Callable[[Settings], Settings],
    name: str,
    enter: Callable[[Settings], None] | None = None,
    start: StartDirectory | None = None,
) -> tuple[int, bool]:
    """Serve with several processes until told to end. Return the exit code, and whether this is a serving process.

    Takes and raises what `Supervisor` does, but returns if SIGTERM, or a closed terminal, ends it before it serves.
    """
    hold_standard_descriptors()
    signals = SupervisorSignals()
    signals.__enter__()
    try:
        supervisor = Supervisor(
            load, settings, reread=reread, name=name, enter=enter, start=start, signals=signals
        )
    except BaseException as error:
        signals.queue_quietly()
        signals.__exit__()
        if isinstance(error, EndedBySignal):
            return 0, False
        raise
    outcome = supervisor.run(signals)
    if isinstance(outcome, SpawnContext):
        code = run_process(outcome)
        settle_output()
        return code, True
    return outcome, False
