"""Paths: decoding, refusals, and that none leads out of its directory, with either way of opening."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("halfsync.testing.static", reason="only the checks build has faces of native pieces")

from halfsync.static.files import has_openat2
from halfsync.static.static_files import StaticFiles
from halfsync.testing.static import answer, find, open_path
from tests.static import files

WAYS = pytest.mark.parametrize("walks", [False, True], ids=["openat2", "walk"])
INSIDE = b"inside "  # what every file in the directory begins with


@pytest.fixture(autouse=True)
def kernel(request: pytest.FixtureRequest) -> None:
    """Skip what needs openat2 if the kernel does not have it."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("walks") is False and not has_openat2():
        pytest.skip("this kernel has no openat2")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory with files and links that lead out of it, in and on; a secret lies beside it."""
    root = tmp_path / "root"
    (root / "deep" / "er").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    for name in ("a", "b.txt", "deep/c", "deep/er/d", "deep/index.html"):
        (root / name).write_bytes(INSIDE + name.encode())
    (root / ".hidden").write_bytes(b"hidden")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to("..")
    (root / "absolute").symlink_to(tmp_path)
    (root / "deep" / "link").symlink_to("c")
    (root / "here").symlink_to("deep")
    (root / "self").symlink_to("self")
    (root / "shut").mkdir()
    for name in ("closed", "shut/a"):
        (root / name).write_bytes(INSIDE)
        (root / name).chmod(0)
    (root / "shut").chmod(0)
    yield root
    (root / "shut").chmod(0o700)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/s/a", (0, b"a")),
        (b"/s/%61", (0, b"a")),
        (b"/%73/a", (0, b"a")),
        (b"/s/a/b.c", (0, b"a/b.c")),
        (b"/s/", (0, b"index.html")),
        (b"/s/d/", (0, b"d/index.html")),
        (b"/s/%C3%BC", (0, "ü".encode())),
        (b"/s/a%20b", (0, b"a b")),
        (b"/s/%2561", (0, b"%61")),
        (b"/s/.well-known/x", (0, b".well-known/x")),
        (b"/s/a..b", (0, b"a..b")),
        (b"/s/a.", (0, b"a.")),
        (b"/s", (301, b"")),
        (b"/s/.", (404, b".")),
        (b"/s/..", (404, b"..")),
        (b"/s/a/../b", (404, b"a/../b")),
        (b"/s/%2e%2e/x", (404, b"../x")),
        (b"/s/.%2E/x", (404, b"../x")),
        (b"/s/...", (404, b"...")),
        (b"/s/.git/config", (404, b".git/config")),
        (b"/s/.well-knowns", (404, b".well-knowns")),
        (b"/s/%2fa", (404, b"/a")),
        (b"/s%2fa", (404, b"a")),
        (b"/s/a%5cb", (404, b"a\\b")),
        (b"/s/a\\b", (404, b"a\\b")),
        (b"/s//a", (404, b"/a")),
        (b"/s/a//", (404, b"a//index.html")),
        (b"/s/a%", (400, b"a%")),
        (b"/s/a%4", (400, b"a%4")),
        (b"/s/%zz", (400, b"%zz")),
        (b"/s/%00", (400, b"")),
        (b"/s/a%00b", (400, b"a")),
        (b"/sa", None),
        (b"/", None),
        (b"/a/s/a", None),
        (b"/S/a", None),
        (b"/%zz", None),
        (b"//s/a", None),
        (b"/x/../s/a", None),
    ],
)
def test_what_a_path_means(tree: Path, path: bytes, found: tuple[int, bytes] | None) -> None:
    with files({"/s": tree}) as opened:
        result = find(opened, path)
        assert (result if result is None else (result[0], result[1].split(b"\0")[0])) == found


def test_the_longest_prefix_wins_at_the_border_of_a_segment(tree: Path) -> None:
    for name, where in (("x", tree), ("y", tree / "deep")):
        (where / name).write_bytes(name.encode())
    with files({"": tree / "deep", "/s": tree, "/s/t": tree / "deep"}) as opened:
        for path, target in ((b"/s/x", "x"), (b"/s/t/y", "y"), (b"/y", "y")):
            fd = open_path(opened, path)
            assert os.read(fd, 9) == target.encode()
            os.close(fd)
        for path in (b"/s/ty", b"/st/x", b"/s/y"):
            with pytest.raises(OSError):
                open_path(opened, path)


def test_a_path_longer_than_any_name_is_not_found(tree: Path) -> None:
    with files({"/s": tree}) as opened:
        for length in (4090, 4096, 4097, 5000, 50_000):
            assert find(opened, b"/s/" + b"a" * length) is not None
            response = answer(opened, b"GET /s/%s HTTP/1.0\r\n\r\n" % (b"a" * length))
            assert response is not None
            assert response.startswith(b"HTTP/1.1 404 ")


@WAYS
def test_links_are_refused(tree: Path, walks: bool) -> None:
    with files({"/s": tree}, walks=walks) as opened:
        for path in ("out", "up/secret", "up/root/a", "absolute/secret", "deep/link", "here/c", "self"):
            with pytest.raises(OSError) as caught:
                open_path(opened, f"/s/{path}".encode())
            assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV), path


@WAYS
def test_links_are_followed_if_the_setting_is_on(tree: Path, walks: bool) -> None:
    with files({"/s": tree}, walks=walks, symlinks=True) as opened:
        for path, content in (
            ("out", b"secret"),
            ("up/secret", b"secret"),
            ("deep/link", b"inside deep/c"),
            ("here/c", b"inside deep/c"),
        ):
            fd = open_path(opened, f"/s/{path}".encode())
            assert os.read(fd, 99) == content
            os.close(fd)
        with pytest.raises(OSError):
            open_path(opened, b"/s/self")


@WAYS
def test_a_mount_may_itself_be_a_link(tree: Path, walks: bool) -> None:
    with files({"/s": tree / "here"}, walks=walks) as opened:
        fd = open_path(opened, b"/s/c")
        assert os.read(fd, 99) == b"inside deep/c"
        os.close(fd)


@WAYS
def test_anything_but_a_regular_file_is_404_and_blocks_nothing(tree: Path, walks: bool) -> None:
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as listener, files({"/s": tree}, walks=walks) as opened:
        listener.bind(str(tree / "socket"))
        for path in (b"fifo", b"socket", b"a/", b"a/b", b"none", b"deep/none", b"deep/er/"):
            response = answer(opened, b"GET /s/%s HTTP/1.0\r\n\r\n" % path)
            assert response is not None
            assert response.startswith(b"HTTP/1.1 404 "), path


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user who may read only what all may, if root runs the tests."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


@WAYS
def test_an_unreadable_file_is_404(tree: Path, walks: bool) -> None:
    with files({"/s": tree}, walks=walks) as opened, as_nobody():
        for path in (b"closed", b"shut/a"):
            with pytest.raises(PermissionError):
                open_path(opened, b"/s/" + path)
            response = answer(opened, b"GET /s/%s HTTP/1.0\r\n\r\n" % path)
            assert response is not None
            assert response.startswith(b"HTTP/1.1 404 ")


@WAYS
def test_no_descriptor_is_left_open(tree: Path, walks: bool) -> None:
    with files({"/s": tree}, walks=walks) as opened:
        before = sorted(entry.name for entry in Path("/proc/self/fd").iterdir())
        for path in (
            b"a",
            b"deep",
            b"deep/",
            b"deep/er/d",
            b"deep/er/none",
            b"out",
            b"here/c",
            b"",
            b"b.txt",
        ):
            for extra in (b"", b"Range: bytes=99-\r\n", b"If-None-Match: *\r\n", b"If-Match: x\r\n"):
                fields = b"Accept-Encoding: br, gzip\r\n" + extra
                answer(opened, b"GET /s/%s HTTP/1.0\r\n%s\r\n" % (path, fields))
                answer(opened, b"HEAD /s/%s HTTP/1.0\r\n%s\r\n" % (path, fields))
        assert sorted(entry.name for entry in Path("/proc/self/fd").iterdir()) == before


NAMES = b"a b.txt deep er c d out up absolute link here self root secret .hidden index.html proc etc passwd"
TRICKS = b".. . %00 %2f %5c \\ %2e %2e%2e % %c0%ae ..%2f %252e"
PIECES = st.sampled_from([b"", *NAMES.split(), *TRICKS.split()])
PATHS = st.lists(
    st.one_of(PIECES, st.binary(min_size=1, max_size=3).map(lambda some: quote_from_bytes(some).encode())),
    max_size=7,
).map(b"/".join)


def content_of(response: bytes | None) -> Iterator[bytes]:
    """Yield the content of a response, if it is one with status 200."""
    if response is not None and response.startswith(b"HTTP/1.1 200 "):
        yield response.partition(b"\r\n\r\n")[2]


@WAYS
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=600)
@given(path=PATHS, slashes=st.sampled_from([b"/", b"//", b"/./", b""]))
def test_no_path_leads_out(tree: Path, walks: bool, path: bytes, slashes: bytes) -> None:
    with files({"/s": tree}, walks=walks) as opened:
        for content in content_of(answer(opened, b"GET /s%s%s HTTP/1.0\r\n\r\n" % (slashes, path))):
            assert content.startswith(INSIDE)


def walk_and_ask(opened: StaticFiles, path: bytes) -> bytes | None:
    """Return the content with which a path is answered, None if it is refused."""
    return next(content_of(answer(opened, b"GET /s/%s HTTP/1.0\r\n\r\n" % path)), None)


@pytest.mark.skipif(not has_openat2(), reason="this kernel has no openat2")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS)
def test_both_ways_of_opening_find_the_same(tree: Path, path: bytes) -> None:
    with files({"/s": tree}) as one, files({"/s": tree}, walks=True) as other:
        assert walk_and_ask(one, path) == walk_and_ask(other, path)
