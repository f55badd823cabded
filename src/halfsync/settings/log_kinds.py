"""The kinds of the settings about the access log: where it goes, and the form of its lines."""

from __future__ import annotations

from dataclasses import dataclass

from halfsync.amounts import digits
from halfsync.errors import UsageError
from halfsync.runtime.standard import genuine
from halfsync.settings.kinds import Kind, Path

SYSLOG = "syslog:"
SYSLOG_SOCKET = "/dev/log"
SYSLOG_PORT = 514
# Those that syslogs know (RFC 5424 6.2.1), by number.
FACILITY_NUMBERS = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9,
    "authpriv": 10, "ftp": 11, **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip
FACILITIES = tuple(FACILITY_NUMBERS)


@dataclass(frozen=True, slots=True)
class SyslogTarget:
    """Where a syslog listens: at the path of a unix socket, or at a host and a UDP port."""

    path: str = ""
    host: str = ""
    port: int = SYSLOG_PORT


class LogTarget(Kind[str]):
    """Where an access log goes: a file, "-" for standard output, or a syslog."""

    metavar = "-|FILE|syslog:ADDR"
    accepts = "-, a file, or syslog: with nothing, /PATH, HOST or HOST:PORT behind it"

    def convert(self, raw: object) -> str:
        text = Path("FILE").convert(raw)
        find_syslog(text)
        return text


class LogFormat(Kind[str]):
    """The form of a line of the access log: the name of one, or one that is written out."""

    choices = ("combined", "json", "logfmt")
    metavar = "combined|json|logfmt|FORMAT"
    accepts = "combined, json, logfmt, or a format with fields like %(remote)s"

    def convert(self, raw: object) -> str:
        if not isinstance(raw, str):
            raise self.refuse(raw)
        name = raw.strip().lower()
        if name in self.choices:
            return name
        with genuine():
            from halfsync.settings.access_format import check_format  # noqa: PLC0415 - few have a format of their own

        check_format(raw)
        return raw


def find_syslog(target: str) -> SyslogTarget | None:
    """Return the syslog that the target of a log names; None: it names none. Raises UsageError for a wrong one."""
    if not target.startswith(SYSLOG):
        return None
    address = target.removeprefix(SYSLOG)
    if not address:
        return SyslogTarget(path=SYSLOG_SOCKET)
    if address.startswith("/"):
        return SyslogTarget(path=address)
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        right = bracket and (not rest or rest.startswith(":"))
        port = rest[1:] if rest else str(SYSLOG_PORT)
    else:
        host, colon, port = address.partition(":")
        right = ":" not in port
        port = port if colon else str(SYSLOG_PORT)
    number = digits(port)
    if not right or not host or any(c.isspace() for c in host) or number is None or not 0 < number < 65536:
        raise UsageError(
            f"{target!r} names no syslog",
            remedy="write syslog: for /dev/log, syslog:/PATH, syslog:HOST:PORT or syslog:[IPv6]:PORT",
        )
    return SyslogTarget(host=host, port=number)
