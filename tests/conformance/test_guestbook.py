"""The guestbook without a browser: what it refuses, its large file, and many visitors at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests.client import Connection, build, fetch
from tests.conftest import Serve

LARGE_FILE_BYTES = 100_000_000
TIMEOUT_S = 15.0


def post(server: Any, fields: dict[str, Any], **headers: str) -> urllib3.BaseHTTPResponse:
    url = "http://{}:{}/".format(*server.address)
    with urllib3.PoolManager() as pool:  # the module's own pool would keep the connection for later tests
        return pool.request("POST", url, fields=fields, headers=headers, redirect=False, timeout=TIMEOUT_S)


def test_note_is_written_once_and_the_visitor_redirected(serve: Serve, guestbook: Any) -> None:
    with serve(guestbook) as server:
        assert b"Nobody has written yet" in fetch(server.address).body
        answer = post(server, {"name": "Ada", "text": "one\r\ntwo"})
        assert (answer.status, answer.headers["Location"]) == (303, "/#note-1")
        page = fetch(server.address).body
        assert b"one\ntwo" in page
        assert b"1 so far" in page


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"name": "", "text": "a"}, 422, b"your name"),
        ({"name": " \u202e\0 ", "text": "a"}, 422, b"your name"),
        ({"name": "a" * 41, "text": "a"}, 422, b"at most 40"),
        ({"name": "a"}, 422, b"write something"),
        ({"name": "a", "text": "b" * 601}, 422, b"at most 600"),
        ({"name": "a", "text": "b", "picture": ("a.png", b"<svg>")}, 422, b"not a PNG"),
        ({"name": "a", "text": "b", "picture": ("a.png", b"")}, 422, b"not a PNG"),
        (
            {"name": "a", "text": "b", "picture": ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(6_000_000))},
            413,
            b"5 MB",
        ),
    ],
)
def test_a_note_that_cannot_be_written_is_an_error_page(
    serve: Serve, guestbook: Any, tmp_path: Path, fields: dict[str, Any], status: int, said: bytes
) -> None:
    with serve(guestbook) as server:
        answer = post(server, fields)
        assert answer.status == status
        assert said in answer.data
        assert b"0 so far" in fetch(server.address).body
    assert not list(tmp_path.glob("data/pictures/*")), "nothing of it is kept"


def test_form_of_another_site_is_refused(serve: Serve, guestbook: Any) -> None:
    with serve(guestbook) as server:
        fields = {"name": "a", "text": "b"}
        assert post(server, fields, **{"Sec-Fetch-Site": "cross-site"}).status == 403
        assert post(server, fields, **{"Sec-Fetch-Site": "same-origin"}).status == 303


@pytest.mark.parametrize(
    "name",
    [
        "../guestbook.sqlite3",
        "..%2fguestbook.sqlite3",
        "%2e%2e/guestbook.sqlite3",
        "/etc/passwd",
        "a.png",
        "%00.png",
    ],
)
def test_nothing_but_pictures_is_given_out(serve: Serve, guestbook: Any, name: str) -> None:
    with serve(guestbook) as server:
        post(server, {"name": "a", "text": "b"})
        assert fetch(server.address, f"/pictures/{name}").status in (308, 400, 404)


def test_large_file_is_whole_and_takes_no_room(serve: Serve, guestbook: Any, tmp_path: Path) -> None:
    with serve(guestbook) as server, Connection(server.address) as connection:
        connection.send(build("/download"))
        response = connection.response()
        assert response.one("Content-Length") == str(LARGE_FILE_BYTES)
        assert "attachment" in (response.one("Content-Disposition") or "")
        first, _, rest = response.body.partition(b"\n")
        assert first.startswith(b"This file")
        assert rest.count(0) == len(rest)
        connection.send(build("/download", fields=[("Range", "bytes=5-8")]))
        part = connection.response()
        assert (part.status, part.body) == (206, first[5:9])
    assert (tmp_path / "data" / "large.bin").stat().st_blocks * 512 < 1_000_000


def test_first_visitors_may_all_come_at_once(serve: Serve, guestbook: Any) -> None:
    with serve(guestbook) as server, ThreadPoolExecutor(8) as visitors:
        answers = visitors.map(lambda n: post(server, {"name": f"v{n}", "text": "hello"}).status, range(24))
        assert set(answers) == {303}
        page = fetch(server.address).body
        assert b"24 so far" in page
        assert b"Older notes" in page
        assert b"Newest notes" in fetch(server.address, "/?before=10").body
