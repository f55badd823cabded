"""Certificates and their keys: read and checked when the server starts, and again at each reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.errors import UsageError, reason_of
from halfsync.log import logger
from halfsync.runtime.originals import os

if TYPE_CHECKING:
    from halfsync.settings import Settings
    from halfsync.transport.tls import Tls, TlsError

DAY_S = 86400.0
WARN_DAYS = 14  # before a certificate expires
FILE_BYTES = 1 << 20  # more than any certificate with its chain
_BEGIN = b"-----BEGIN "
_CERTIFICATE, _KEY = b"CERTIFICATE-----", b"PRIVATE KEY-----"


def load_tls(settings: Settings) -> Tls | None:
    """Return TLS with the certificates of these settings; None: there are none. Raises UsageError.

    OpenSSL is loaded only if there are certificates. A certificate that is about to expire gets a warning.
    """
    if not settings.certfile:
        return None
    from halfsync.transport.tls import Tls, TlsError, load_library  # noqa: PLC0415 - only TLS needs OpenSSL

    if missing := load_library():
        raise UsageError(
            f"TLS needs OpenSSL 3, which cannot be loaded: {missing}",
            origin=_origin(settings, "certfile"),
            remedy="install it (Debian: the package libssl3), or leave certfile out and let a proxy speak TLS",
        )
    password = _read_password(settings)
    keys = settings.keyfile or settings.certfile
    pairs = list(zip(settings.certfile, keys, strict=True))
    for certificate, key in pairs:
        _check_files(settings, certificate, key, has_password=password is not None)
    try:
        tls = Tls(
            [(os.fsencode(certificate), os.fsencode(key)) for certificate, key in pairs],
            password=password,
            min_version=settings.tls_min_version,
            ciphers=_ascii(settings.ciphers),
            ciphersuites=None if settings.ciphersuites is None else _ascii(settings.ciphersuites),
            curves=_ascii(settings.curves),
            raw=settings.stream,
            server_header=settings.server_header,
        )
    except TlsError as error:
        raise _refuse(settings, error, *pairs[error.position], has_password=password is not None) from None
    for certificate, (age_s, left_s) in zip(settings.certfile, tls.lifetimes, strict=True):
        _check_lifetime(settings, certificate, age_s, left_s)
    return tls


def _origin(settings: Settings, name: str) -> str:
    return settings.origins.get(name, "")


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")


def _read(settings: Settings, setting: str, what: str, path: str) -> bytes:
    """Return what a file holds. Raises UsageError if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, FILE_BYTES)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{what} {path!r} cannot be read: {reason}",
            origin=_origin(settings, setting),
            remedy="check the path, and that the user that starts the server may read the file",
        ) from None


def _read_password(settings: Settings) -> bytes | None:
    path = settings.key_password_file
    if path is None:
        return None
    line = _read(settings, "key_password_file", "the password file", path).partition(b"\n")[0].rstrip(b"\r")
    if not line or b"\0" in line:
        raise UsageError(
            f"the password file {path!r} has no password in its first line",
            origin=_origin(settings, "key_password_file"),
            remedy="write the password of the keys there, or leave key_password_file out",
        )
    return line


def _has(data: bytes, ending: bytes) -> bool:
    """Return whether a line of PEM begins something whose name ends so."""
    return any(
        line.startswith(_BEGIN) and line.rstrip().endswith(ending)
        for line in (line.strip() for line in data.splitlines())
    )


def _check_files(settings: Settings, certificate: str, key: str, *, has_password: bool) -> None:
    """Check that the two files can be read and hold what they must. Raises UsageError."""
    data = _read(settings, "certfile", "the certificate", certificate)
    if not _has(data, _CERTIFICATE):
        only_key = "it has a private key only" if _has(data, _KEY) else "it is no PEM file with a certificate"
        raise UsageError(
            f"there is no certificate in {certificate!r}: {only_key}",
            origin=_origin(settings, "certfile"),
            remedy="name the PEM file (-----BEGIN CERTIFICATE-----); "
            "openssl x509 -inform der -in FILE converts a binary one",
        )
    setting = "keyfile" if settings.keyfile else "certfile"
    data = _read(settings, setting, "the key", key)
    if not _has(data, _KEY):
        raise UsageError(
            f"there is no private key in {key!r}",
            origin=_origin(settings, setting),
            remedy="name the PEM file of the key (-----BEGIN PRIVATE KEY-----) with keyfile",
        )
    if not has_password and (_has(data, b"ENCRYPTED PRIVATE KEY-----") or b"Proc-Type: 4,ENCRYPTED" in data):
        raise UsageError(
            f"the key {key!r} is encrypted, and there is no password",
            origin=_origin(settings, setting),
            remedy="set key_password_file, or decrypt it: openssl pkey -in FILE -out FILE",
        )


def _refuse(
    settings: Settings, error: TlsError, certificate: str, key: str, *, has_password: bool
) -> UsageError:
    """Return the error of what OpenSSL has refused."""
    key_setting = "keyfile" if settings.keyfile else "certfile"
    password = ", or the password does not fit" if has_password else ""
    setting, problem, remedy = {
        "certificate": (
            "certfile",
            f"the certificate {certificate!r} cannot be used: {error.reason}",
            "make it anew, with a key of at least 2048 bits (RSA) or on the curve P-256",
        ),
        "chain": (
            "certfile",
            f"certificate {error.reason} in {certificate!r} did not issue the one before it",
            "put the server's own certificate first, then the one that issued it, and so on",
        ),
        "key": (
            key_setting,
            f"the key {key!r} cannot be read{password}: {error.reason}",
            "check the file with openssl pkey -in FILE -noout",
        ),
        "match": (
            key_setting,
            f"the key {key!r} does not belong to the certificate {certificate!r}",
            "name the key with which the certificate was requested",
        ),
        "ciphers": (
            "ciphers",
            f"{settings.ciphers!r} names no cipher that OpenSSL has: {error.reason}",
            "see openssl ciphers -v",
        ),
        "ciphersuites": (
            "ciphersuites",
            f"{settings.ciphersuites!r} is no list of cipher suites: {error.reason}",
            "see openssl ciphers -v -tls1_3",
        ),
        "curves": (
            "curves",
            f"{settings.curves!r} is no list of groups that OpenSSL has",
            "write it like X25519:P-256",
        ),
    }[error.part]
    return UsageError(problem, origin=_origin(settings, setting), remedy=remedy)


def _check_lifetime(settings: Settings, certificate: str, age_s: float, left_s: float) -> None:
    """Reject a certificate that no client accepts now. Warn of one that is about to expire."""
    if age_s < 0 or left_s <= 0:
        days = int(abs(age_s if age_s < 0 else left_s) // DAY_S)
        when = f"becomes valid in {days} days" if age_s < 0 else f"expired {days} days ago"
        raise UsageError(
            f"the certificate {certificate!r} {when}",
            origin=_origin(settings, "certfile"),
            remedy="renew it, or check the clock of this machine",
        )
    if left_s < WARN_DAYS * DAY_S:
        logger().warning("the certificate %r expires in %d days: renew it", certificate, int(left_s // DAY_S))
