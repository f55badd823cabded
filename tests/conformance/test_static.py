"""Static files on every model: found, answered and sent without the application."""

import errno
import json
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, Response, build, build_chunked, fetch
from tests.conftest import Serve
from tests.wsgi import Environ, hello, pattern, until, wait

import halfsync
from halfsync.errors import UsageError
from halfsync.static import mounts

MIB = 1 << 20
SMALL, LARGE = 1000, 3 * MIB
MODIFIED_S = 1_700_000_000
OF_THE_PAST = formatdate(MODIFIED_S - 1, usegmt=True)
THEN = formatdate(MODIFIED_S, usegmt=True)
TEXT = "text/plain; charset=utf-8"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """Return a directory with a few files, all modified at the same known second."""
    root = tmp_path / "public"
    (root / "sub").mkdir(parents=True)
    for name, content in {
        "small.txt": pattern(SMALL),
        "large.bin": pattern(LARGE),
        "empty.css": b"",
        "style.css": b"body {}",
        "style.css.gz": b"gzipped",
        "style.css.br": b"brotlied",
        "only.js": b"let x",
        "only.js.gz": b"gzipped x",
        "sub/index.html": b"<p>index",
        "sub/page.html": b"<p>page",
        ".secret": b"secret",
        "no-extension": b"?",
    }.items():
        (root / name).write_bytes(content)
        os.utime(root / name, ns=(MODIFIED_S * 10**9, MODIFIED_S * 10**9))
    return root


@pytest.fixture(params=["openat2", "walk"])
def opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the server open files in the one way and in the other, as on an old kernel."""
    if request.param == "walk":
        monkeypatch.setattr(mounts, "has_openat2", lambda: False)
    return str(request.param)


def never(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Fail a test that reaches the application."""
    raise AssertionError(f"the application was called for {environ['PATH_INFO']}")


@pytest.fixture
def client(serve: Serve, public: Path) -> Iterator[Connection]:
    """Return a connection to a server that serves the directory under /static, and nothing else."""
    with serve(never, static={"/static": public}) as server, Connection(server.address) as connection:
        yield connection


def ask(client: Connection, path: str, *fields: tuple[str, str], method: str = "GET") -> Response:
    """Send a request for a file on a connection that stays, and return the response."""
    client.send(build(f"/static/{path}", method=method, fields=fields))
    return client.response(method)


def test_small_file(client: Connection) -> None:
    response = ask(client, "small.txt")
    assert (response.status, response.body) == (200, pattern(SMALL))
    assert response.one("Content-Type") == TEXT
    assert response.one("X-Content-Type-Options") == "nosniff"
    assert response.one("Last-Modified") == THEN
    assert response.one("Accept-Ranges") == "bytes"
    assert response.one("Content-Length") == str(SMALL)
    assert response.one("Server") == "halfsync"
    assert response.one("Date") is not None
    assert re.fullmatch(r'"[0-9a-f]+-[0-9a-f]+"', response.one("ETag") or "")
    assert response.one("Cache-Control") is None
    assert (response.one("Connection"), response.one("Keep-Alive")) == ("keep-alive", "timeout=75")


def test_large_file_and_then_another(client: Connection) -> None:
    for _ in range(3):
        assert ask(client, "large.bin").body == pattern(LARGE)
        assert ask(client, "small.txt").body == pattern(SMALL)


@pytest.mark.parametrize("size", [1, 4096, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 65_536, 300_000])
def test_every_size(client: Connection, public: Path, size: int) -> None:
    (public / "file").write_bytes(pattern(size))
    assert ask(client, "file").body == pattern(size)


def test_empty_file(client: Connection) -> None:
    response = ask(client, "empty.css")
    assert (response.status, response.body, response.one("Content-Length")) == (200, b"", "0")


@pytest.mark.parametrize("path", ["small.txt", "large.bin", "none", "sub"])
def test_head_is_get_without_its_body(client: Connection, path: str) -> None:
    got, headed = ask(client, path), ask(client, path, method="HEAD")
    assert headed.body == b""
    own = ("Date", "X-Request-Id")
    others = [[field for field in each.fields if field[0] not in own] for each in (got, headed)]
    assert others[0] == others[1]
    assert (got.status, ask(client, "small.txt").body) == (headed.status, pattern(SMALL))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.CSS", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.tar.gz", "application/gzip"),
        ("a", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        ("a.extension-longer-than-any", "application/octet-stream"),
        ("b.html/a", "application/octet-stream"),
    ],
)
def test_content_types(client: Connection, public: Path, name: str, kind: str) -> None:
    (public / name).parent.mkdir(exist_ok=True)
    (public / name).write_bytes(b"x")
    response = ask(client, name)
    assert (response.status, response.one("Content-Type")) == (200, kind)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "HEAP"])
def test_other_methods_are_not_allowed(client: Connection, method: str) -> None:
    client.send(build("/static/small.txt", method=method, body=b"ignored" if method == "POST" else None))
    response = client.response(method)
    assert (response.status, response.one("Allow")) == (405, "GET, HEAD")
    assert ask(client, "small.txt").status == 200


def test_a_body_with_get_is_dropped(client: Connection) -> None:
    client.send(build("/static/small.txt", body=b"GET / HTTP/1.1\r\n\r\n" * 9000))
    assert client.response().body == pattern(SMALL)
    client.send(build_chunked([b"GET", b" /"], target="/static/small.txt", method="GET"))
    assert client.response().body == pattern(SMALL)
    assert ask(client, "style.css").body == b"body {}"


def test_pipelined_requests_are_answered_in_order(serve: Serve, public: Path) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    names = ["small.txt", "large.bin", "style.css", "none", "empty.css"]
    with serve(app, static={"/static": public}) as server, Connection(server.address) as client:
        wire = b"".join(build(f"/static/{name}") + build(f"/app/{name}") for name in names)
        sender = threading.Thread(target=client.send, args=(wire * 3,))
        sender.start()
        for _ in range(3):
            for name in names:
                response = client.response()
                path = public / name
                assert response.status == (200 if path.exists() else 404)
                assert response.body == (path.read_bytes() if path.exists() else b"404 Not Found\n")
                assert client.response().body == f"/app/{name}".encode()
        sender.join()


def test_many_pipelined_requests(client: Connection) -> None:
    one = b"GET /static/style.css HTTP/1.1\r\nHost: a\r\n\r\n"
    sender = threading.Thread(target=client.send, args=(one * 3000,))
    sender.start()
    for _ in range(3000):
        assert client.response().body == b"body {}"
    sender.join()


def test_the_connection_closes_if_the_request_asks_for_it(serve: Serve, public: Path) -> None:
    with serve(never, static={"/static": public}) as server:
        for path, size in (("small.txt", SMALL), ("large.bin", LARGE)):
            for version, fields in (("HTTP/1.1", [("Connection", "close")]), ("HTTP/1.0", [])):
                with Connection(server.address) as client:
                    client.send(build(f"/static/{path}", version=version, fields=fields))
                    response = client.response()
                    assert (response.body, response.one("Connection")) == (pattern(size), "close")
                    assert response.one("Keep-Alive") is None
                    client.closed()
            with Connection(server.address) as client:
                for _ in range(2):
                    client.send(
                        build(f"/static/{path}", version="HTTP/1.0", fields=[("Connection", "keep-alive")])
                    )
                    response = client.response()
                    assert (response.body, response.one("Connection")) == (pattern(size), "keep-alive")
                    assert response.one("Keep-Alive") == "timeout=75"


# Ranges: RFC 9110 14.


@pytest.mark.parametrize("name", ["small.txt", "large.bin"])
@pytest.mark.parametrize(
    ("text", "first", "last"),
    [("0-0", 0, 1), ("10-19", 10, 20), ("990-", 990, None), ("-7", -7, None), ("500-99999999", 500, None)],
)
def test_a_range(client: Connection, name: str, text: str, first: int, last: int | None) -> None:
    whole = pattern(SMALL if name == "small.txt" else LARGE)
    response = ask(client, name, ("Range", f"bytes={text}"))
    start, stop, _ = slice(first, last).indices(len(whole))
    assert (response.status, response.body) == (206, whole[first:last])
    assert response.one("Content-Range") == f"bytes {start}-{stop - 1}/{len(whole)}"
    assert response.one("ETag") == ask(client, name).one("ETag")


def test_a_range_beyond_the_end(client: Connection) -> None:
    response = ask(client, "small.txt", ("Range", f"bytes={SMALL}-"))
    assert (response.status, response.one("Content-Range")) == (416, f"bytes */{SMALL}")


@pytest.mark.parametrize(
    "fields", [["bytes=0-1,5-6"], ["bytes=x"], ["lines=1-2"], ["bytes=0-1", "bytes=2-3"]]
)
def test_several_ranges_and_malformed_ones_are_the_whole(client: Connection, fields: list[str]) -> None:
    response = ask(client, "small.txt", *(("Range", field) for field in fields))
    assert (response.status, response.body) == (200, pattern(SMALL))


def test_head_has_no_ranges(client: Connection) -> None:
    response = ask(client, "small.txt", ("Range", "bytes=0-1"), method="HEAD")
    assert (response.status, response.one("Content-Length")) == (200, str(SMALL))


def test_if_range(client: Connection) -> None:
    tag = ask(client, "small.txt").one("ETag") or ""
    for validator, status in (
        (tag, 206),
        (THEN, 200),
        (f"W/{tag}", 200),
        ('"other"', 200),
        (OF_THE_PAST, 200),
        (formatdate(MODIFIED_S + 1, usegmt=True), 200),
        ("*", 200),
        ("garbage", 200),
    ):
        response = ask(client, "small.txt", ("Range", "bytes=0-4"), ("If-Range", validator))
        assert (validator, response.status) == (validator, status)
        assert response.body == (pattern(SMALL)[:5] if status == 206 else pattern(SMALL))
    assert ask(client, "small.txt", ("If-Range", tag)).status == 200


def test_if_range_believes_no_date(client: Connection, public: Path) -> None:
    """RFC 9110 13.1.5: a date must be a strong validator (8.8.2.2), and nothing proves that it is one; a tag is."""
    path = public / "changing.txt"
    for second in (0, 1, MODIFIED_S, int(time.time()) - 1, int(time.time()) + 3600):
        for ns in (0, 1, 10**9 - 1):  # 0: as programs set it that make archives and images
            path.write_bytes(b"of before " * 100)
            os.utime(path, ns=(second * 10**9 + ns, second * 10**9 + ns))
            date = ask(client, "changing.txt").one("Last-Modified") or ""
            new = path.with_name("new")
            new.write_bytes(pattern(SMALL))
            os.utime(new, ns=(second * 10**9 + ns, second * 10**9 + ns))
            new.replace(path)
            response = ask(client, "changing.txt", ("Range", "bytes=4-"), ("If-Range", date))
            assert (response.status, response.body) == (200, pattern(SMALL))
            tag = response.one("ETag") or ""
            assert ask(client, "changing.txt", ("Range", "bytes=4-"), ("If-Range", tag)).status == 206


# Conditions: RFC 9110 13.


def test_not_modified_by_its_tag(client: Connection) -> None:
    tag = ask(client, "small.txt").one("ETag") or ""
    for text in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = ask(client, "small.txt", ("If-None-Match", text))
        assert (response.status, response.body, response.one("ETag")) == (304, b"", tag)
        assert response.one("Date") is not None
        for absent in ("Content-Type", "Content-Length", "Last-Modified", "Content-Range"):
            assert response.one(absent) is None
    assert ask(client, "small.txt", ("If-None-Match", '"x"'), ("If-None-Match", tag)).status == 304
    assert ask(client, "small.txt", ("If-None-Match", tag), ("Range", "bytes=0-1")).status == 304
    assert ask(client, "small.txt", ("If-None-Match", tag), method="HEAD").status == 304
    assert ask(client, "small.txt", ("If-None-Match", '"x"')).status == 200
    # With a tag, dates mean nothing.
    assert ask(client, "small.txt", ("If-None-Match", '"x"'), ("If-Modified-Since", THEN)).status == 200


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (THEN, 304),
        (time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(MODIFIED_S)), 304),
        (time.asctime(time.gmtime(MODIFIED_S)), 304),
        (formatdate(MODIFIED_S + 1, usegmt=True), 304),
        (OF_THE_PAST, 200),
        ("Thu, 01 Jan 1903 00:00:00 GMT", 200),
        ("yesterday", 200),
        ("0", 200),
    ],
)
def test_not_modified_by_its_date(client: Connection, text: str, status: int) -> None:
    assert ask(client, "small.txt", ("If-Modified-Since", text)).status == status


def test_failed_preconditions(client: Connection) -> None:
    tag = ask(client, "small.txt").one("ETag") or ""
    for fields, status in (
        ([("If-Match", '"x"')], 412),
        ([("If-Match", f"W/{tag}")], 412),
        ([("If-Match", f'"x",{tag}')], 200),
        ([("If-Match", "*")], 200),
        ([("If-Match", tag), ("If-Unmodified-Since", OF_THE_PAST)], 200),
        ([("If-Unmodified-Since", OF_THE_PAST)], 412),
        ([("If-Unmodified-Since", "Thu, 01 Jan 1903 00:00:00 GMT")], 412),
        ([("If-Unmodified-Since", THEN)], 200),
        ([("If-Unmodified-Since", "garbage")], 200),
        ([("If-Match", '"x"'), ("If-None-Match", tag)], 412),
        ([("If-Match", tag), ("If-None-Match", tag)], 304),
    ):
        assert (fields, ask(client, "small.txt", *fields).status) == (fields, status)


def test_a_changed_file_has_another_tag(client: Connection, public: Path) -> None:
    before = ask(client, "small.txt").one("ETag") or ""
    os.utime(public / "small.txt", ns=(MODIFIED_S * 10**9, MODIFIED_S * 10**9 + 1))
    response = ask(client, "small.txt", ("If-None-Match", before))
    assert response.status == 200
    assert response.one("ETag") != before


def test_a_file_of_the_future_was_modified_by_now(client: Connection, public: Path) -> None:
    os.utime(public / "small.txt", (2**33, 2**33))
    response = ask(client, "small.txt")
    assert response.one("Last-Modified") == response.one("Date")


def test_max_age(serve: Serve, public: Path) -> None:
    with serve(never, static={"/static": public}, static_max_age="2h") as server:
        response = fetch(server.address, "/static/small.txt")
        assert response.one("Cache-Control") == "max-age=7200"
        again = fetch(
            server.address, "/static/small.txt", fields=[("If-None-Match", response.one("ETag") or "")]
        )
        assert (again.status, again.one("Cache-Control")) == (304, "max-age=7200")
        assert fetch(server.address, "/static/none").one("Cache-Control") is None


# Compressed variants.


@pytest.mark.parametrize(
    ("accepted", "name", "coding", "body"),
    [
        ("gzip, deflate, br", "style.css", "br", b"brotlied"),
        ("gzip", "style.css", "gzip", b"gzipped"),
        ("br;q=0.1, gzip", "style.css", "gzip", b"gzipped"),
        ("br;q=0, gzip;q=0", "style.css", None, b"body {}"),
        ("identity", "style.css", None, b"body {}"),
        ("*", "style.css", "br", b"brotlied"),
        ("br, gzip", "only.js", "gzip", b"gzipped x"),
        ("br", "only.js", None, b"let x"),
        ("br, gzip", "empty.css", None, b""),
    ],
)
def test_compressed_variants(
    client: Connection, accepted: str, name: str, coding: str | None, body: bytes
) -> None:
    plain = ask(client, name)
    response = ask(client, name, ("Accept-Encoding", accepted))
    assert (response.status, response.body, response.one("Content-Encoding")) == (200, body, coding)
    assert response.one("Content-Type") == plain.one("Content-Type")
    assert plain.one("Content-Encoding") is None
    assert (response.one("ETag") == plain.one("ETag")) is (coding is None)
    assert plain.one("Vary") == response.one("Vary") == "Accept-Encoding"
    tag = response.one("ETag") or ""
    again = ask(client, name, ("Accept-Encoding", accepted), ("If-None-Match", tag))
    assert (again.status, again.one("Vary")) == (304, "Accept-Encoding")


def test_no_variants_of_incompressible_types_are_looked_for(client: Connection, public: Path) -> None:
    (public / "large.bin.gz").write_bytes(b"never")
    response = ask(client, "large.bin", ("Accept-Encoding", "gzip"))
    assert (response.body, response.one("Vary")) == (pattern(LARGE), None)


def test_a_variant_asked_for_by_name_is_a_file_like_any_other(client: Connection) -> None:
    response = ask(client, "style.css.gz", ("Accept-Encoding", "gzip"))
    assert (response.body, response.one("Content-Encoding")) == (b"gzipped", None)
    assert response.one("Content-Type") == "application/gzip"


COMPRESSED = {
    "image.svgz": ("image/svg+xml", "gzip"),
    "IMAGE.SVGZ": ("image/svg+xml", "gzip"),
    "image.svg.gz": ("application/gzip", None),
    "page.html.gz": ("application/gzip", None),
    "page.html.br": ("application/x-brotli", None),
    "archive.gz": ("application/gzip", None),
    "archive.tar.gz": ("application/gzip", None),
    "archive.tgz": ("application/gzip", None),
    "archive.taz": ("application/gzip", None),
    "archive.tbz2": ("application/x-bzip2", None),
    "archive.tar.bz2": ("application/x-bzip2", None),
    "archive.txz": ("application/x-xz", None),
    "archive.tar.xz": ("application/x-xz", None),
    "archive.Z": ("application/x-compress", None),
    "archive.zst": ("application/zstd", None),
    "archive.zip": ("application/zip", None),
}


@pytest.mark.parametrize("accepted", ["", "gzip, br", "identity;q=1, *;q=0"])
def test_files_that_are_compressed(client: Connection, public: Path, accepted: str) -> None:
    """What is shown is sent in a content coding; what is kept is what its compression is."""
    for name, (kind, coding) in COMPRESSED.items():
        (public / name).write_bytes(b"compressed")
        (public / f"{name}.gz").write_bytes(b"twice")
        response = ask(client, name, *([("Accept-Encoding", accepted)] if accepted else []))
        assert (name, response.one("Content-Type"), response.one("Content-Encoding")) == (name, kind, coding)
        assert (response.body, response.one("Vary")) == (b"compressed", None)
        part = ask(client, name, ("Range", "bytes=2-3"))
        assert (part.status, part.body, part.one("Content-Encoding")) == (206, b"mp", coding)


# Where a path leads.


def test_index_of_a_directory(client: Connection) -> None:
    response = ask(client, "sub/")
    assert (response.status, response.body) == (200, b"<p>index")
    assert response.one("Content-Type") == "text/html; charset=utf-8"
    assert ask(client, "").status == 404  # it has none


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/static", "/static/"),
        ("/static?", "/static/"),
        ("/static/sub", "/static/sub/"),
        ("/static/sub?a=b&c=//d", "/static/sub/?a=b&c=//d"),
        ("/static/s%75b", "/static/s%75b/"),
        ("http://test.example/static/sub?x", "/static/sub/?x"),
    ],
)
def test_a_directory_without_its_slash(client: Connection, target: str, location: str) -> None:
    client.send(build(target))
    response = client.response()
    assert (response.status, response.one("Location")) == (301, location)


def test_a_redirect_leads_to_no_other_host(serve: Serve, public: Path) -> None:
    (public / "evil.example").mkdir()
    with serve(never, static={"/": public}) as server:
        for target in ("//evil.example", "/%2fevil.example", "/\\evil.example", "/%5cevil.example", "///sub"):
            assert fetch(server.address, target).status == 404
        assert fetch(server.address, "/evil.example").one("Location") == "/evil.example/"


def test_a_redirect_that_is_too_long(serve: Serve, public: Path) -> None:
    with serve(never, static={"/": public}, max_request_line="200k", max_head="200k") as server:
        assert fetch(server.address, "/sub?" + "x" * 30_000).status == 301
        response = fetch(server.address, "/sub?" + "x" * 100_000)
        assert (response.status, response.one("Location")) == (414, None)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("none", 404),
        ("small.txt/", 404),
        ("small.txt/x", 404),
        ("sub/none", 404),
        (".secret", 404),
        ("../public/small.txt", 404),
        ("%2e%2e/public/small.txt", 404),
        ("sub/../small.txt", 404),
        ("sub%2fpage.html", 404),
        ("sub%5cpage.html", 404),
        ("/small.txt", 404),
        ("./small.txt", 404),
        ("small.txt%00", 400),
        ("small.txt%", 400),
        ("%zz", 400),
        ("x" * 300, 404),
        ("x/" * 2500, 404),
    ],
)
def test_refused_paths(client: Connection, path: str, status: int, opening: str) -> None:
    response = ask(client, path)
    assert (response.status, response.one("Content-Type")) == (status, TEXT)
    assert response.body.startswith(b"%d " % status)
    assert ask(client, "small.txt").status == 200


def test_links(serve: Serve, public: Path, opening: str) -> None:
    (public / "out").symlink_to("../elsewhere")
    (public.parent / "elsewhere").write_bytes(b"elsewhere")
    (public / "way").symlink_to("sub")
    os.mkfifo(public / "fifo")
    with serve(never, static={"/static": public}) as server:
        for path in ("out", "way/page.html", "way", "way/", "fifo"):
            assert (path, fetch(server.address, f"/static/{path}").status) == (path, 404)
        assert fetch(server.address, "/static/sub/page.html").body == b"<p>page"
    with serve(never, static={"/static": public}, static_symlinks=True) as server:
        assert fetch(server.address, "/static/out").body == b"elsewhere"
        assert fetch(server.address, "/static/way/page.html").body == b"<p>page"
        assert fetch(server.address, "/static/fifo").status == 404
        assert fetch(server.address, "/static/way").one("Location") == "/static/way/"


def test_well_known_is_not_hidden(client: Connection, public: Path) -> None:
    (public / ".well-known").mkdir()
    (public / ".well-known" / "security.txt").write_bytes(b"Contact: x")
    assert ask(client, ".well-known/security.txt").body == b"Contact: x"
    (public / ".well-known" / ".x").write_bytes(b"hidden")
    assert ask(client, ".well-known/.x").status == 404


def test_the_longest_prefix_wins_and_others_are_the_applications(serve: Serve, public: Path) -> None:
    static = [f"/s={public}", f"/s/t/={public / 'sub'}"]
    with serve(hello, static=static) as server:
        assert fetch(server.address, "/s/t/page.html").body == b"<p>page"
        assert fetch(server.address, "/s/small.txt").body == pattern(SMALL)
        assert fetch(server.address, "/s/t").one("Location") == "/s/t/"
        for target in ("/", "/st", "/small.txt", "/S/small.txt", "/%zz", "/x/..", "//s/small.txt", "/?/s/"):
            assert fetch(server.address, target).body == b"hello, you"
        assert fetch(server.address, "/s/none").status == 404  # and not the application's
        assert fetch(server.address, "/%73/small.txt").body == pattern(SMALL)


def test_a_file_at_a_prefix_with_its_own_name(serve: Serve, public: Path) -> None:
    with serve(never, static={"/": public}) as server:
        assert fetch(server.address, "/small.txt").body == pattern(SMALL)
        assert fetch(server.address, "http://test.example").status == 404  # no index.html
        (public / "index.html").write_bytes(b"<p>home")
        assert fetch(server.address, "/").body == b"<p>home"
        assert fetch(server.address, "http://test.example").body == b"<p>home"


def test_a_renamed_directory_is_still_served(serve: Serve, public: Path) -> None:
    with serve(never, static={"/static": public}) as server:
        public.rename(public.parent / "moved")
        assert fetch(server.address, "/static/small.txt").status == 200


# Sending.


def test_a_file_that_becomes_shorter_resets_the_connection(serve: Serve, public: Path) -> None:
    large = public / "huge.bin"
    with large.open("wb") as file:
        file.truncate(64 * MIB)
    with serve(never, static={"/static": public}) as server, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        raw.settimeout(15)
        raw.connect(server.address)
        raw.sendall(build("/static/huge.bin"))
        received = len(raw.recv(1000))
        os.truncate(large, 1000)
        with pytest.raises(ConnectionResetError):
            while data := raw.recv(MIB):
                received += len(data)
            raise AssertionError(f"the end looks complete, after {received} bytes")


def test_a_client_that_takes_nothing_is_cut_off(serve: Serve, public: Path) -> None:
    with (public / "huge.bin").open("wb") as file:
        file.truncate(64 * MIB)
    with (
        serve(never, static={"/static": public}, write_timeout=1.0) as server,
        Connection(server.address) as client,
    ):
        client.send(build("/static/huge.bin"))
        until(lambda: server.statistics()["disconnected"] == 1)
        assert len(client.cut()) < 64 * MIB


def test_a_slow_client_gets_all_of_small_files_too(serve: Serve, public: Path) -> None:
    with serve(never, static={"/static": public}) as server, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(server.address)
        (public / "mid.txt").write_bytes(pattern(30_000))
        sender = threading.Thread(target=raw.sendall, args=(build("/static/mid.txt") * 200,))
        sender.start()
        with Connection(raw) as client:
            for _ in range(200):
                assert client.response().body == pattern(30_000)
        sender.join()


def test_clients_that_disconnect_cost_nothing(serve: Serve, public: Path) -> None:
    with serve(never, static={"/static": public}) as server:
        for path in ("large.bin", "small.txt") * 10:
            with Connection(server.address) as client:
                client.send(build(f"/static/{path}") * 5)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert fetch(server.address, "/static/small.txt").status == 200


def test_a_client_that_ends_its_half_is_answered(serve: Serve, public: Path) -> None:
    with serve(never, static={"/static": public}) as server:
        for path, size in (("large.bin", LARGE), ("small.txt", SMALL)):
            with Connection(server.address) as client:
                client.send(build(f"/static/{path}") * 3)
                client.socket.shutdown(socket.SHUT_WR)
                for _ in range(3):
                    assert client.response().body == pattern(size)
                client.closed()


@pytest.mark.only_on("proactor", reason="elsewhere a busy thread's clients wait")
def test_files_are_served_while_every_worker_is_busy(serve: Serve, public: Path) -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        entered.release()
        wait(go_on)
        return hello(environ, start_response)

    with (
        serve(app, threads=1, queue_size=1, static={"/static": public}) as server,
        Connection(server.address) as one,
        Connection(server.address) as two,
    ):
        one.send(build())
        assert entered.acquire(timeout=15)
        two.send(build())
        until(lambda: server.statistics()["queued"] == 1)
        assert fetch(server.address, "/").status == 503
        assert fetch(server.address, "/static/small.txt").body == pattern(SMALL)
        assert fetch(server.address, "/static/large.bin").body == pattern(LARGE)
        go_on.set()
        assert one.response().body == two.response().body == b"hello, you"


@pytest.mark.only_on("proactor", "thread", "pool", reason="a limit on the test's own files is theirs, too")
def test_short_descriptors_are_503(serve: Serve, public: Path, opening: str) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serve(never, static={"/static": public}) as server, Connection(server.address) as client:
        assert ask(client, "sub/page.html").status == 200
        # Any descriptor from this one on is now refused: those below are all taken.
        limit = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 1
        taken = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
            while True:
                try:
                    taken.append(os.dup(0))
                except OSError as error:
                    assert error.errno == errno.EMFILE
                    break
            response = ask(client, "sub/page.html")
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert (response.status, response.one("Retry-After")) == (503, "1")
        assert ask(client, "sub/page.html").status == 200


def test_drain_finishes_a_file(serve: Serve, public: Path) -> None:
    (public / "big.bin").write_bytes(pattern(16 * MIB))
    with serve(never, static={"/static": public}) as server, Connection(server.address) as client:
        client.send(build("/static/big.bin"))
        client.head()
        server.drain()
        assert len(client._exactly(16 * MIB)) == 16 * MIB


def test_access_log(serve: Serve, public: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        serve(never, static={"/static": public}, access_log=str(log), log_format="json") as server,
        Connection(server.address) as client,
    ):
        tag = ask(client, "small.txt").one("ETag") or ""
        ask(client, "large.bin")
        ask(client, "small.txt", ("Range", "bytes=0-9"))
        ask(client, "small.txt", ("If-None-Match", tag))
        ask(client, "small.txt", method="HEAD")
        ask(client, "none")
        ask(client, "small.txt", method="POST")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["status"], line["bytes"]) for line in lines] == [
        (200, SMALL),
        (200, LARGE),
        (206, 10),
        (304, 0),
        (200, 0),
        (404, 14),
        (405, 23),
    ]
    assert lines[0]["request"] == "GET /static/small.txt HTTP/1.1"


def test_requests_are_counted(serve: Serve, public: Path) -> None:
    with serve(never, static={"/static": public}) as server, Connection(server.address) as client:
        for answered in range(1, 301):
            ask(client, "small.txt")
            assert server.statistics()["requests"] == answered  # whoever has the response finds it counted


# Settings.


@pytest.mark.parametrize("directory", ["missing", "public/small.txt"])
def test_a_missing_directory(public: Path, model: dict[str, Any], directory: str) -> None:
    path = str(public.parent / directory)
    with pytest.raises(UsageError) as caught:
        halfsync.Server(never, bind="127.0.0.1:0", static={"/ok": public, "/static": path}, **model)
    assert "cannot be served under /static" in str(caught.value)
    assert path in str(caught.value)


def test_a_stream_has_no_files(public: Path, model: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a stream has no requests for files"):
        halfsync.Server(never, bind="127.0.0.1:0", stream=True, static={"/": public}, **model)
