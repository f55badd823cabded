"""The notes of the guestbook: rows in an SQLite file that is made when it is first needed."""

import os
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

NAME_CHARACTERS = 40
TEXT_CHARACTERS = 600
NOTES_PER_PAGE = 12
AVATAR_COLOURS = 6
BUSY_TIMEOUT_S = 5.0  # a writer waits this long for another one; writes here take milliseconds

SCHEMA = """
CREATE TABLE note (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    picture TEXT,
    written_at TEXT NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Note:
    """One entry of the book. `picture` is a name that pictures.py gave, `written_at` is in UTC."""

    id: int
    name: str
    text: str
    picture: str | None
    written_at: datetime

    @property
    def initial(self) -> str:
        """Return the letter shown in the circle beside the note."""
        return self.name[0].upper()

    @property
    def colour(self) -> int:
        """Return a colour number that stays the same for a name, in every process."""
        return crc32(self.name.casefold().encode()) % AVATAR_COLOURS


class NoteBook:
    """The file the notes are kept in. Any thread may call any method.

    Each call opens a connection of its own: that costs little, and saves every question about which thread
    may use which connection.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            self._create()
        # The second context commits, or rolls back when an exception passes.
        with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)) as database, database:
            yield database

    def _create(self) -> None:
        """Make the file under another name and link it into place, so that no process ever sees half of it.

        Several threads and processes may do so at once; the first link wins. (Making it in place would fail
        now and then: SQLite does not wait for the lock when it changes the journal mode.)
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        with closing(sqlite3.connect(unfinished)) as database:
            # With a write-ahead log, readers do not wait for the writer, nor the writer for them.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(SCHEMA)
        with suppress(FileExistsError):
            os.link(unfinished, self.path)
        unfinished.unlink()

    def add(self, name: str, text: str, picture: str | None) -> int:
        """Write a note and return its id."""
        with self._connect() as database:
            row = database.execute(
                "INSERT INTO note (name, text, picture, written_at) VALUES (?, ?, ?, ?) RETURNING id",
                (name, text, picture, datetime.now(UTC).isoformat(timespec="seconds")),
            ).fetchone()
            return int(row[0])

    def newest(self, before: int | None = None) -> list[Note]:
        """Return a page of notes, newest first, with ids below `before`; one more tells of a next page."""
        with self._connect() as database:
            rows = database.execute(
                "SELECT id, name, text, picture, written_at FROM note"
                " WHERE ? IS NULL OR id < ? ORDER BY id DESC LIMIT ?",
                (before, before, NOTES_PER_PAGE + 1),
            ).fetchall()
        return [
            Note(number, name, text, picture, datetime.fromisoformat(written_at))
            for number, name, text, picture, written_at in rows
        ]

    def count(self) -> int:
        """Return how many notes there are."""
        with self._connect() as database:
            return int(database.execute("SELECT count(*) FROM note").fetchone()[0])


def clean(value: str, *, lines: bool) -> str:
    """Return what a visitor typed without control characters and outer space; `lines` keeps line breaks.

    Format characters go as well: an unbalanced right-to-left override would turn the rest of the page around.
    The two joiners stay, since scripts and emoji are spelled with them.
    """
    value = unicodedata.normalize("NFC", value.replace("\r\n", "\n"))
    kept = "\n\u200c\u200d" if lines else "\u200c\u200d"
    return "".join(c for c in value if c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs")).strip()


def faults(name: str, text: str) -> dict[str, str]:
    """Return what is wrong with a note, by field; an empty dict when it can be written."""
    found = {}
    if not name:
        found["name"] = "Please tell us your name."
    elif len(name) > NAME_CHARACTERS:
        found["name"] = f"A name has at most {NAME_CHARACTERS} characters; this one has {len(name)}."
    if not text:
        found["text"] = "Please write something."
    elif len(text) > TEXT_CHARACTERS:
        found["text"] = f"A note has at most {TEXT_CHARACTERS} characters; this one has {len(text)}."
    return found
