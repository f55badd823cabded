"""Two other parsers, h11 and httptools: each returns the first request in some bytes."""

from dataclasses import dataclass, field

import h11
import httptools


@dataclass(slots=True)
class Reading:
    """What an oracle made of some bytes. Names of headers are in lower case, as h11 returns them."""

    refused: str = ""
    complete: bool = False
    method: bytes = b""
    target: bytes = b""
    version: str = ""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    leftover: bytes = b""


def read_with_h11(wire: bytes) -> Reading:
    """Ask h11, with its own limit out of the way: limits have tests of their own."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**30)
    reading = Reading()
    try:
        connection.receive_data(wire)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                reading.method, reading.target = event.method, event.target
                reading.version = event.http_version.decode()
                reading.headers = list(event.headers)
            elif isinstance(event, h11.Data):
                reading.body += event.data
            else:
                reading.complete = isinstance(event, h11.EndOfMessage)
                break
    except h11.RemoteProtocolError as error:
        return Reading(refused=str(error))
    reading.leftover = connection.trailing_data[0] if reading.complete else b""
    return reading


class _Collector:
    """Takes the callbacks of httptools."""

    def __init__(self) -> None:
        self.reading = Reading()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self.reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # It reports trailer fields in the same way.
            self.reading.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        self.reading.body += body

    def on_message_complete(self) -> None:
        self.reading.complete = True


def read_with_httptools(wire: bytes) -> Reading:
    """Ask llhttp through httptools; wire must hold one request and nothing after it."""
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    reading = collector.reading
    try:
        parser.feed_data(wire)
    except httptools.HttpParserUpgrade:
        pass  # It stops after a head that asks for an upgrade, and calls nothing wrong.
    except httptools.HttpParserError as error:
        return Reading(refused=str(error))
    reading.method = parser.get_method()
    reading.version = parser.get_http_version()
    return reading
