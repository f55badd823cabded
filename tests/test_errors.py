"""The line that each error makes of its data."""

import errno
import os
import pickle
import socket
from pathlib import Path

import pytest

import halfsync
from halfsync.errors import BindError, HalfsyncError, LoadError, StartError, UsageError, reason_of


def test_the_line_says_where_what_and_what_to_do() -> None:
    error = UsageError("'x' is not a number", origin="--threads", remedy="give one")
    assert str(error) == "--threads: 'x' is not a number; give one"


def test_parts_that_are_missing_leave_no_punctuation() -> None:
    assert str(UsageError("wrong")) == "wrong"
    assert str(UsageError("wrong", remedy="go")) == "wrong; go"
    assert str(UsageError("wrong", origin="here")) == "here: wrong"


def test_the_line_is_one_line() -> None:
    assert str(LoadError("first\nsecond", origin="a:b")) == "a:b: first second"


@pytest.mark.parametrize(("kind", "code"), [(UsageError, 2), (LoadError, 3), (BindError, 4)])
def test_exit_codes_are_those_that_are_documented(kind: type[StartError], code: int) -> None:
    assert kind.exit_code == code
    assert issubclass(kind, HalfsyncError)


def test_errors_keep_their_data_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BindError("in use", origin="bind :80", remedy="stop it", errno=98)))
    assert (error.problem, error.origin, error.remedy, error.errno) == ("in use", "bind :80", "stop it", 98)
    assert str(error) == "bind :80: in use; stop it"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a"), "no such file or directory"),
        (OSError(errno.ENXIO, "Nobody reads from this pipe"), "nobody reads from this pipe"),
        (OSError("descriptors are short"), "descriptors are short"),
        (OSError(4711, os.strerror(4711)), "unknown error 4711"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name or service not known"),
    ],
)
def test_the_reason_of_a_failed_call(error: OSError, reason: str) -> None:
    assert reason_of(error) == reason


def test_no_line_has_a_reason_in_the_language_of_the_locale() -> None:
    sources = Path(halfsync.__file__).parent.rglob("*.py")
    assert {path.name for path in sources if "error.strerror" in path.read_text()} == {"errors.py"}
