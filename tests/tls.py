"""TLS for tests: certificates of an authority of their own, and the client's side of a connection.

HALFSYNC_TLS=1 lets the fixture `serve` speak TLS, and `client.Connection` too: the conformance suite runs over it.
"""

import functools
import os
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

ON = bool(os.environ.get("HALFSYNC_TLS"))
NAMES = ("localhost", "127.0.0.1", "127.0.0.2", "::1")


@dataclass(frozen=True, slots=True)
class Issued:
    """The files of a certificate: itself, its key, and both in one."""

    certificate: Path
    key: Path
    both: Path


class TlsSocket(ssl.SSLSocket):
    """A socket whose `shutdown` is that of the connection below, and leaves TLS alone."""

    def shutdown(self, how: int) -> None:
        socket.socket.shutdown(self, how)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive. An end without close_notify is no end that can be trusted, so it is a reset."""
        try:
            return super().recv(buflen, flags)
        except ssl.SSLEOFError:
            raise ConnectionResetError("no close_notify") from None


class Authority:
    """An authority that issues certificates into files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self._count = 0

    def issue(self, *names: str, **options: Any) -> Issued:
        """Return a certificate for these names. options: as for trustme."""
        made = self._ca.issue_cert(*(names or NAMES), **options)
        self._count += 1
        files = Issued(*(self._folder / f"{kind}-{self._count}.pem" for kind in ("cert", "key", "both")))
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        files.key.write_bytes(made.private_key_pem.bytes())
        files.both.write_bytes(made.private_key_and_cert_chain_pem.bytes())
        return files

    def trust(self, path: Path) -> Path:
        """Write the authority's own certificate to a file, for clients, and return the file."""
        self._ca.cert_pem.write_to_path(str(path))
        return path

    def client(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority only."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        context.sslsocket_class = TlsSocket
        return context


@functools.cache
def authority() -> Authority:
    """Return the authority of this process's tests."""
    return Authority(Path(_folder().name))


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="halfsync-tls-")  # removed when the process ends


@functools.cache
def _issued() -> Issued:
    return authority().issue()


@functools.cache
def _context() -> ssl.SSLContext:
    return authority().client()


def settings() -> dict[str, Any]:
    """Return the settings of a server that speaks TLS."""
    return {"certfile": str(_issued().certificate), "keyfile": str(_issued().key)}


def wrap(sock: socket.socket, name: str = "localhost", context: ssl.SSLContext | None = None) -> TlsSocket:
    """Speak TLS on a connected socket. The handshake is done with the first bytes that are sent or received."""
    wrapped = (context or _context()).wrap_socket(
        sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    assert isinstance(wrapped, TlsSocket)
    return wrapped
