"""The pictures of the guestbook: files with names of our own, known by their first bytes."""

import re
import secrets
from pathlib import Path
from typing import IO

PICTURE_BYTES = 5 * 1024 * 1024
SIGNATURE_BYTES = 16
NAME = re.compile(r"[0-9a-f]{32}\.(?:png|jpg|gif|webp)", re.ASCII)


class PictureError(ValueError):
    """A file that the guestbook does not keep; the message is for the visitor."""


def kind_of(head: bytes) -> str | None:
    """Return the file extension for the first bytes of a picture, or None if it is no picture that we show.

    SVG is not among them: it can carry scripts.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return None


class PictureShelf:
    """The folder the pictures are kept in. Any thread may call any method."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, upload: IO[bytes]) -> str:
        """Save a picture and return the name to fetch it by. Raises PictureError if it cannot be saved."""
        content = upload.read(PICTURE_BYTES + 1)
        if len(content) > PICTURE_BYTES:
            raise PictureError(f"A picture may have at most {PICTURE_BYTES // 1024**2} MB.")
        kind = kind_of(content[:SIGNATURE_BYTES])
        if kind is None:
            raise PictureError("This file is not a PNG, JPEG, GIF or WebP picture.")
        self.folder.mkdir(parents=True, exist_ok=True)
        # What the visitor called the file is never used: not for its path, and not for its type.
        name = f"{secrets.token_hex(16)}.{kind}"
        with (self.folder / name).open("xb") as file:
            file.write(content)
        return name

    def remove(self, name: str) -> None:
        """Remove a picture whose note could not be written."""
        (self.folder / name).unlink(missing_ok=True)

    def path(self, name: str) -> Path | None:
        """Return the path of a picture, or None for every name that `add` cannot have given."""
        if NAME.fullmatch(name) is None:
            return None
        path = self.folder / name
        return path if path.is_file() else None
