"""The guestbook in a real browser: read and written to, in both colour schemes, and without scripts."""

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests.browser import Browser, read_png
from tests.conftest import PROACTORS, Serve

SIZES = [(1280, 900), (390, 844)]
DISTINCT_ROWS = 100  # a page with text has hundreds, a blank one a handful
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def model() -> dict[str, Any]:
    """Return one model: what a browser adds does not depend on it."""
    return PROACTORS["epoll"]


def base(server: Any) -> str:
    return "http://{}:{}".format(*server.address)


def picture(width: int, height: int) -> bytes:
    """Return a PNG of one colour."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x0b\x6f\x6c" * width) * height
    return PNG_SIGNATURE + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


def sign(browser: Browser, name: str, text: str, file: Path | None = None) -> None:
    """Fill the form in, send it, and wait for the page that comes back."""
    browser.type("#name", name)
    browser.type("#text", text)
    if file is not None:
        browser.choose_file("#picture", file)
    browser.forget_loads()
    browser.press("button.primary")
    browser.wait_for("Page.loadEventFired")


def test_page_is_shown_in_both_schemes_and_sizes(
    serve: Serve, guestbook: Any, browser: Browser, tmp_path: Path
) -> None:
    grounds = {}
    with serve(guestbook) as server:
        for width, height in SIZES:
            for dark in (False, True):
                browser.dress(width=width, height=height, dark=dark)
                browser.open(base(server))
                path = tmp_path / f"guestbook-{width}x{height}-{'dark' if dark else 'light'}.png"
                browser.screenshot(path)
                shot_width, shot_height, rows = read_png(path)
                assert (shot_width, shot_height) == (width, height)
                assert rows > DISTINCT_ROWS, f"{path} looks blank"
                assert browser.evaluate("document.documentElement.scrollWidth") <= width, (
                    "it scrolls sideways"
                )
                grounds[dark] = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert browser.evaluate("document.querySelector('h1').textContent") == "Guestbook"
        assert grounds[True] != grounds[False]
        assert browser.complaints() == []
        foreign = [url for url in browser.requests() if not url.startswith((base(server), "about:"))]
        assert foreign == [], "the page loads nothing from elsewhere"


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_note_with_a_picture_is_written_through_the_form(
    serve: Serve, guestbook: Any, browser: Browser, tmp_path: Path, scripts: bool
) -> None:
    file = tmp_path / "picture with spaces.png"
    file.write_bytes(picture(320, 200))
    evil = "<script>document.title = 'broken'</script> & \"quotes\" \u20ac"
    with serve(guestbook) as server:
        browser.dress(width=1280, height=900, scripts=scripts)
        browser.open(base(server))
        sign(browser, "Ada <b>Lovelace</b>", evil, file)
        # 303: the page that is shown now was got, not posted.
        assert browser.evaluate("location.hash") == "#note-1"
        assert browser.evaluate("performance.getEntriesByType('navigation')[0].redirectCount") == 1
        heading, text = "document.querySelector('.note h3')", "document.querySelector('.note .text')"
        assert browser.evaluate(f"{heading}.textContent") == "Ada <b>Lovelace</b>"
        assert browser.evaluate(f"{text}.textContent") == evil
        assert browser.evaluate("document.title") == "Guestbook"
        shown = browser.evaluate(
            "(async i => { await i.decode(); return [i.naturalWidth, i.naturalHeight]; })"
            "(document.querySelector('.note .picture img'))"
        )
        assert shown == [320, 200]
        source = browser.evaluate("document.querySelector('.note .picture img').src")
        with urllib3.PoolManager() as pool:  # the module's own pool would keep the connection for later tests
            response = pool.request("GET", source)
        assert response.data == file.read_bytes()
        assert response.headers["Content-Type"] == "image/png"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        browser.screenshot(tmp_path / "note.png")
        assert read_png(tmp_path / "note.png")[2] > DISTINCT_ROWS
        assert browser.complaints() == []


def test_faults_are_shown_and_what_was_typed_is_kept(
    serve: Serve, guestbook: Any, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "page.png"
    file.write_bytes(b"<html>no picture at all")
    with serve(guestbook) as server:
        browser.dress(width=1280, height=900)
        browser.open(base(server))
        sign(browser, "Ada", "  kept  ", file)
        assert browser.evaluate("document.querySelector('[role=alert]') !== null")
        described = (
            "document.getElementById(document.querySelector('#picture').getAttribute('aria-describedby'))"
        )
        assert "not a PNG" in browser.evaluate(f"{described}.textContent")
        assert browser.evaluate("document.querySelector('#name').value") == "Ada"
        assert browser.evaluate("document.querySelector('#text').value") == "  kept  "
        assert browser.evaluate("document.querySelectorAll('.note').length") == 0
        browser.screenshot(tmp_path / "faults.png")


def test_quick_answer_overtakes_the_slow_one(serve: Serve, guestbook: Any, browser: Browser) -> None:
    loaded = (
        "new Promise(done => {{ const f = document.getElementsByName('{0}-frame')[0];"
        " f.addEventListener('load', () => done(f.contentDocument.body.textContent.trim()), {{once: true}});"
        " document.querySelector('form[target={0}-frame] button').click(); }})"
    )
    with serve(guestbook) as server:
        browser.dress(width=1280, height=900)
        browser.open(base(server))
        order = browser.evaluate(
            "(async () => { const order = []; await Promise.all(["
            f"{loaded.format('slow')}.then(said => order.push(said)),"
            f"{loaded.format('quick')}.then(said => order.push(said))]); return order; }})()"
        )
        assert order[0].startswith("At once")
        assert order[1].startswith("After 2 s")


def test_stream_grows_in_the_page(serve: Serve, guestbook: Any, browser: Browser) -> None:
    with serve(guestbook) as server:
        browser.dress(width=1280, height=900)
        browser.open(base(server))
        # The first number of lines that is seen: far below twenty when they come as they are made.
        seen = browser.evaluate(
            "new Promise(done => { const f = document.getElementsByName('stream-frame')[0];"
            " document.querySelector('form[target=stream-frame] button').click();"
            " (function look() { const n = f.contentDocument?.querySelectorAll('.lines li').length ?? 0;"
            "   n ? done(n) : requestAnimationFrame(look); })(); })"
        )
        assert 1 <= seen < 10
