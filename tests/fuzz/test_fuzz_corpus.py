"""The inputs that fuzzing kept, and those that it found something with, through the same property on this build."""

from pathlib import Path

import pytest

from tests.fuzz import property as fuzzed
from tests.http import differences

KEPT = sorted(path for path in (Path(__file__).parent / "corpus").iterdir() if path.is_file())
FOUND = sorted(path for path in (Path(__file__).parent / "found").iterdir() if path.suffix != ".md")


def named(path: Path) -> str:
    """Name a test after its input."""
    return path.name[:12]


@pytest.mark.parametrize("path", KEPT, ids=named)
def test_kept(path: Path) -> None:
    fuzzed.check(path.read_bytes())


@pytest.mark.parametrize("path", FOUND, ids=named)
def test_found(path: Path) -> None:
    fuzzed.check(path.read_bytes())


def test_the_kept_inputs_exist_and_are_few() -> None:
    assert 100 <= len(KEPT) < 500
    assert sum(path.stat().st_size for path in KEPT) < 1 << 20


def test_the_kept_inputs_reach_what_the_options_are_for() -> None:
    """Requests complete under each option, so that none of them only ever sees refusals."""
    reached = 0
    for path in KEPT:
        given = fuzzed.Input.decode(path.read_bytes())
        _, (requests, _) = fuzzed.read_with_parsers(given, given.whole_wire)
        if requests:
            reached |= given.options
    assert reached & 63 == 63


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xff", b"\3\2ab", b"\3\2abc"])
def test_any_bytes_are_an_input(data: bytes) -> None:
    given = fuzzed.Input.decode(data)
    assert fuzzed.Input.decode(given.encode()) == given
    fuzzed.check(data)


def test_pieces() -> None:
    assert fuzzed.Input(0, b"", b"").ends(3) == [1, 2, 3]
    assert fuzzed.Input(0, b"\0\x80", b"").ends(100) == [1, 65, 66, 100]
    assert fuzzed.piece_bytes(127) == 128
    assert fuzzed.piece_bytes(255) == 8192


def test_a_difference_from_an_oracle_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its permission taken away, the one thing that we accept and h11 refuses is an error."""
    data = fuzzed.Input(0, b"\xff", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").encode()
    fuzzed.check(data)
    monkeypatch.setattr(differences, "H11_REFUSES", [])
    with pytest.raises(AssertionError):
        fuzzed.check(data)


def test_a_difference_between_cuts_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange that is shown a byte less whenever it is shown pieces is an error."""
    drive = fuzzed.drive
    monkeypatch.setattr(
        fuzzed,
        "drive",
        lambda exchange, wire, ends, anywhere: drive(
            exchange, wire, ends if len(ends) == 1 else ends[:-1], anywhere
        ),
    )
    with pytest.raises(AssertionError, match="the cuts change"):
        fuzzed.check(fuzzed.Input(0, b"", b"GET / HTTP/1.0\r\n\r\n").encode())
