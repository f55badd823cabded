"""The directories that a server serves, opened once at its start, and the content types of their files."""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING

from halfsync.errors import UsageError, reason_of
from halfsync.host.rights import opening
from halfsync.runtime.originals import os
from halfsync.static.files import has_openat2
from halfsync.static.static_files import StaticFiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from halfsync.host.identity import Identity
    from halfsync.settings import Settings

# Types that older tables of Python lack, or have under an obsolete name (RFC 9239).
OWN_TYPES = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".zst": "application/zstd",
}
# The types of files that are compressed themselves, and stay so at the client: by the name of their coding.
COMPRESSED = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}
CONTENT_CODINGS = ("br", "compress", "gzip")  # those of them that clients decode (RFC 9110 8.4.1)
# Types besides text that are worth compressing. Only files of such types are searched for compressed variants.
COMPRESSIBLE = (
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/wasm",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/svg+xml",
    "image/vnd.microsoft.icon",
    "image/x-icon",
)
OTHERS = "application/octet-stream"


def open_directories(settings: Settings, identity: Identity | None = None) -> tuple[tuple[bytes, int], ...]:
    """Return the prefix and the open descriptor of every directory that the settings name. Raises UsageError.

    identity: the user and group that this process will have.
    """
    opened: list[tuple[bytes, int]] = []
    try:
        for prefix, directory in settings.static:
            descriptor = _open(prefix, directory, settings, identity)
            opened.append((prefix.encode("utf-8", "surrogateescape"), descriptor))
    except BaseException:
        _close(opened)
        raise
    return tuple(opened)


def serve_directories(directories: Iterable[tuple[bytes, int]], settings: Settings) -> StaticFiles:
    """Return the StaticFiles of open directories, of which it has copies. Raises OSError if descriptors are short."""
    copies: list[tuple[bytes, int]] = []
    try:
        for prefix, fd in directories:
            copies.append((prefix, os.dup(fd)))
        return StaticFiles(
            copies,
            content_types(),
            symlinks=settings.static_symlinks,
            walks=not has_openat2(),
            server_header=settings.server_header,
            keep_alive_s=settings.keep_alive,
            max_age_s=int(settings.static_max_age),
            server_timing=settings.server_timing,
            id_field=settings.request_id_field.encode() if settings.request_id_field else None,
        )
    except BaseException:
        _close(copies)
        raise


def _close(opened: Iterable[tuple[bytes, int]]) -> None:
    for _, fd in opened:
        os.close(fd)


def _open(prefix: str, directory: str, settings: Settings, identity: Identity | None) -> int:
    try:
        with opening(directory, identity) as place:
            fd = os.open(place, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"{directory!r} cannot be served under {prefix or '/'}: {reason_of(error)}",
            origin=settings.origins.get("static", ""),
            remedy=_remedy(error, identity),
        ) from None
    return fd


def _remedy(error: OSError, identity: Identity | None) -> str:
    if isinstance(error, PermissionError) and identity is not None and identity.changes:
        return f"give {identity} the right to search each directory of this path"
    return "name an existing directory, as PREFIX=DIR"


def content_types() -> dict[bytes, tuple[bytes, bool]]:
    """Return the field lines of each extension, and whether such files compress. b"" is for all other extensions.

    The types are those of Python's `mimetypes`, which also reads the system's table and has what the application has
    added. A compressed file has the type of its compression, except if its extension is another name for the compressed
    form of a type that clients show (svgz for svg.gz): then it has that type, in a content coding. A tgz stays an
    archive.
    """
    if not mimetypes.inited:
        mimetypes.init()
    known = {"": OTHERS, **mimetypes.types_map, **OWN_TYPES}
    for extension, coding in mimetypes.encodings_map.items():
        known[extension] = COMPRESSED.get(coding, OTHERS)
    coded = {}
    for alias, suffixes in mimetypes.suffix_map.items():
        shown, inner = mimetypes.guess_type(f"file{suffixes}")
        if shown and inner in CONTENT_CODINGS and compresses(shown):
            known[alias] = shown
            coded[alias] = f"Content-Encoding: {inner}\r\n".encode()
        elif inner:
            known[alias] = COMPRESSED.get(inner, OTHERS)
    return {
        extension.lower().removeprefix(".").encode(): (
            _line(kind) + coded.get(extension, b""),
            compresses(kind) and extension not in coded,
        )
        for extension, kind in known.items()
        if extension.isascii() and kind.isascii() and kind.isprintable()
    }


def compresses(kind: str) -> bool:
    """Tell whether files of a type become much smaller when they are compressed."""
    return kind.startswith("text/") or kind.endswith(("+xml", "+json")) or kind in COMPRESSIBLE


def _line(kind: str) -> bytes:
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return f"Content-Type: {kind}{charset}\r\n".encode()
