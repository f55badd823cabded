"""A server as a program makes one, or, if it is given a place among several processes, as a supervisor does."""

from typing import Any

import halfsync
from halfsync.server import seat_server
from halfsync.settings import Settings

PLACES = ("listeners", "seat", "handover", "opened")


def make_server(application: Any, **given: Any) -> halfsync.Server:
    """Return a server with these settings, and with these of `PLACES`."""
    place = {name: given.pop(name) for name in PLACES if name in given}
    if not place:
        return halfsync.Server(application, **given)
    return seat_server(application, given.pop("settings", None) or Settings.from_options(**given), **place)
