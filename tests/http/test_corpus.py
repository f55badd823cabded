"""The wire cases, each cut in several ways: the parsers must always give the result that the case states."""

import os
from collections import Counter

import pytest

from tests import corpus
from tests.wire import Message, at_random, by_byte, read_message

CASES = corpus.load()
# Printed with every failure, so that it can be had again: HALFSYNC_TEST_SEED=... make test
SEED = int(os.environ.get("HALFSYNC_TEST_SEED", "20240229"))
ALL = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def told(message: Message, name: str) -> list[corpus.Property]:
    """What the parsers say about one of the properties; a list, for a header may come several times."""
    assert message.head is not None
    if name == "header":
        return list(message.head.headers)
    return [getattr(message if name in ("body", "leftover") else message.head, name)]


def check(case: corpus.Case, message: Message) -> None:
    if case.expect == "refuse":
        assert message.status == case.status, message
        assert message.reason
        return
    assert message.status is None, message
    assert message.complete == (case.expect == "accept"), message
    if case.expect == "accept":
        for name, value in case.properties:
            assert value in told(message, name), (name, value, message)
        headers = [value for name, value in case.properties if name == "header"]
        assert [header for header in told(message, "header") if header in headers] == headers, "their order"
        assert message.leftover == dict(case.properties).get("leftover", b"")


@ALL
def test_whole(case: corpus.Case) -> None:
    check(case, read_message([case.wire]))


@ALL
def test_by_byte(case: corpus.Case) -> None:
    assert read_message(by_byte(case.wire)) == read_message([case.wire])


@ALL
def test_in_random_pieces(case: corpus.Case) -> None:
    whole = read_message([case.wire])
    for seed in range(SEED, SEED + 20):
        assert read_message(at_random(case.wire, seed)) == whole, f"seed {seed}"


@ALL
def test_cut_in_two_at_every_byte_near_the_ends(case: corpus.Case) -> None:
    whole = read_message([case.wire])
    cuts = range(len(case.wire) + 1)
    for cut in [*cuts[:300], *cuts[-300:]]:
        assert read_message([case.wire[:cut], case.wire[cut:]]) == whole, f"cut {cut}"


def test_the_corpus_exists() -> None:
    kinds = Counter(case.expect for case in CASES)
    assert kinds["refuse"] >= 400
    assert kinds["accept"] >= 140
    assert {case.status for case in CASES} == {None, 400, 414, 417, 431, 501, 505}


def test_the_limits_that_the_corpus_names_have_cases_at_their_edges() -> None:
    assert {case.name for case in CASES} >= {
        f"limits/request-line-{corpus.REQUEST_LINE_BYTES}",
        f"limits/field-{corpus.FIELD_BYTES}",
        f"limits/fields-{corpus.FIELDS}",
        f"limits/head-{corpus.HEAD_BYTES}",
    }


def test_escapes() -> None:
    assert corpus.unescape(r"a\r\n\t\\\x00\xff\{3:b}\{2:\r\n}") == b"a\r\n\t\\\x00\xffbbb\r\n\r\n"


@pytest.mark.parametrize("text", [r"\q", "\\", r"\x0", r"\{3}", r"\xFF"])
def test_unknown_escapes_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="backslash"):
        corpus.unescape(text)


@pytest.mark.parametrize(
    "text",
    [
        "GET",
        "=== a\nwhy: nothing expected\n\nGET",
        "=== a\nexpect: 400\nexpect: 400\n\nGET",
        "=== a\nexpect: 200\n\nGET",
        "=== a\nexpect: accept\nmethods: GET\n\nGET",
        "=== a\nexpect: 400\nmethod: GET\n\nGET",
    ],
)
def test_files_that_are_wrong_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="file"):
        corpus.parse("file", text)
