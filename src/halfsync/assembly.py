"""What a server's model is made of: made here from the application, the listeners and the settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from halfsync.http.trust import TrustedPeers
from halfsync.listening.endpoints import Endpoints
from halfsync.models.model import Parts
from halfsync.native.system import LOW_END, LOW_OURS, raise_descriptor_limit
from halfsync.observe.access import AccessLog
from halfsync.observe.refusals import RefusalLog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from halfsync.exchange.bridging import Bridge
    from halfsync.listening.listeners import Listener
    from halfsync.observe.watcher import Watcher
    from halfsync.opened import Opened
    from halfsync.runtime.originals import socket
    from halfsync.settings import Settings
    from halfsync.shared.scoreboard import Slot
    from halfsync.static.static_files import StaticFiles
    from halfsync.transport.profiles import Profiles

RESERVED_DESCRIPTORS = 64  # of the process's limit, for files of the application and of the server


def assemble(
    application: Any,
    listeners: list[Listener],
    settings: Settings,
    opened: Opened,
    *,
    slot: Slot | None = None,
    queue: tuple[int, int] | None = None,
) -> Parts:
    """Return the parts of a model. queue: as `Parts.handoff_queue`. Raises OSError if descriptors are short."""
    sockets = [listener.socket for listener in listeners]
    descriptors = [one.fileno() for one in sockets]
    trusted = TrustedPeers(settings.forwarded_allow_ips, settings.forwarded_hops)
    endpoints = Endpoints(descriptors)
    bridge = _make_bridge(application, listeners, settings, trusted, endpoints)
    refusals = RefusalLog(trusted, settings.stream)
    return Parts(
        bridge=bridge,
        listeners=descriptors,
        endpoints=endpoints,
        settings=settings,
        room=_room_for_connections(settings),
        trusted=trusted,
        access_log=_make_access_log(settings, opened, trusted),
        refusals=refusals,
        files=_make_files(settings, opened),
        watcher=_watch(bridge, refusals, settings, slot),
        slot=slot,
        handoff_queue=queue,
        # Not a method of the server: that would make a reference cycle of server and model.
        close_server_sockets=partial(_close_sockets, sockets),
        profiles=_make_profiles(listeners, opened),
    )


def _close_sockets(sockets: Iterable[socket.socket]) -> None:
    for one in sockets:
        one.close()


def _make_profiles(listeners: list[Listener], opened: Opened) -> Profiles | None:
    """Return the transport of each listener; None: all have plain sockets, and nothing is loaded."""
    if not any(listener.secure for listener in listeners):
        return None
    from halfsync.transport.profiles import Profiles  # noqa: PLC0415

    return Profiles([opened.tls if listener.secure else None for listener in listeners])


def _make_bridge(
    application: Any,
    listeners: list[Listener],
    settings: Settings,
    trusted: TrustedPeers,
    endpoints: Endpoints,
) -> Bridge:
    """Return the bridge to a WSGI application or to a stream's handlers. Only that one is loaded."""
    if settings.stream:
        from halfsync.stream.streaming import StreamBridge  # noqa: PLC0415

        return StreamBridge(application)
    from halfsync.wsgi.application import make_bridge  # noqa: PLC0415

    servers = [
        (listener.server_name, listener.server_port, "https" if listener.secure else "http")
        for listener in listeners
    ]
    return make_bridge(application, servers, settings, trusted, endpoints)


def _watch(bridge: Bridge, refusals: RefusalLog, settings: Settings, slot: Slot | None) -> Watcher | None:
    """Note what each worker does, if the status shows it or slow requests are logged. Return the thread that watches.

    None: nothing is noted, and nothing is loaded.
    """
    if not settings.slow_request and (slot is None or not settings.admin_bind):
        return None
    from halfsync.observe.watcher import Watcher  # noqa: PLC0415
    from halfsync.shared.activity import Activity  # noqa: PLC0415

    activity, number = (Activity(), 0) if slot is None else (slot.scoreboard.activity, slot.number)
    bridge.watch(activity, number)
    refusals.keep(activity)
    return Watcher(activity, number, settings.slow_request)


def _make_files(settings: Settings, opened: Opened) -> StaticFiles | None:
    """Return the handler of static files; None: there are no directories, and nothing is loaded."""
    if not opened.directories:
        return None
    from halfsync.static.mounts import serve_directories  # noqa: PLC0415

    return serve_directories(opened.directories, settings)


def _make_access_log(settings: Settings, opened: Opened, trusted: TrustedPeers) -> AccessLog | None:
    if settings.access_log is None:
        return None
    # The model `process` starts no thread, so it has no writer thread for the log.
    direct = settings.model == "process"
    return AccessLog(settings, opened.access_log, direct, trusted)


def _room_for_connections(settings: Settings) -> int:
    """Raise the limit on open files as far as the system allows, and return how many connections fit."""
    wanted = settings.max_connections + RESERVED_DESCRIPTORS
    left = LOW_END - LOW_OURS if wanted > LOW_OURS else 0
    limit = raise_descriptor_limit(wanted + left)
    # If the limit is too low for that, connections may use the low numbers too, except for the reserve.
    room = max(min(limit, LOW_END), limit - left) - RESERVED_DESCRIPTORS
    return max(1, min(settings.max_connections, room))
