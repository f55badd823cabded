"""The page in a real browser, under load: its numbers move, nothing is in its console, and it needs nothing else."""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from halfsync.admin.page import load_page
from tests.browser import Browser, read_png
from tests.client import fetch
from tests.faults.serving import Serving, free_port
from tests.wsgi import until

SIZES = [(1440, 900), (390, 844)]
DISTINCT_ROWS = 100  # a page with text has hundreds, a blank one a handful

APP = """
import os, time

def somewhere_deep():
    while not os.path.exists("go"):
        time.sleep(0.005)

def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/wait"):
        somewhere_deep()
    time.sleep(0.02)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[Serving, str]]:
    """Return a server with a little load, of two processes, and where its page is."""
    port = free_port()
    over = threading.Event()
    (tmp_path / "halfsync.toml").write_text('lanes.cart.paths = ["/cart"]\n')
    with Serving(tmp_path, APP, "--workers", "2", "--admin-bind", f"127.0.0.1:{port}") as serving:

        def load(target: str) -> None:
            while not over.is_set():
                with suppress(OSError, AssertionError):
                    fetch(serving.address, target)

        threads = [threading.Thread(target=load, args=("/cart",)) for _ in range(3)]
        # What a client may send that looks like a part of a page.
        threads.append(threading.Thread(target=load, args=("/wait/<script>alert(1)</script>",)))
        for thread in threads:
            thread.start()
        yield serving, f"http://127.0.0.1:{port}/"
        (tmp_path / "go").touch()
        over.set()
        for thread in threads:
            thread.join()


def text_of(browser: Browser, selector: str) -> str:
    found: str = browser.evaluate(f"document.querySelector({selector!r}).innerText")
    return found


def test_its_numbers_move_and_its_console_is_empty(
    browser: Browser, page: tuple[Serving, str], tmp_path: Path
) -> None:
    serving, url = page
    browser.dress(width=1440, height=900)
    browser.open(url)
    until(lambda: text_of(browser, "#state") == "ready")
    until(lambda: "served:app" in text_of(browser, "#name"))

    def requests() -> int:
        return sum(int(one.replace(",", "")) for one in rows(browser, "#processes td:last-child"))

    for value in (requests, lambda: text_of(browser, "#workers"), lambda: text_of(browser, "#about")):
        moves(value)
    until(lambda: "/wait/" in text_of(browser, "#workers"))
    until(lambda: "per second" in text_of(browser, "#sparks"))
    assert rows(browser, "#lanes-panel th") == [
        "name",
        "waiting",
        "oldest",
        "running",
        "taken",
        "shed",
        "expired",
    ]
    assert rows(browser, "#lanes td:first-child") == ["default", "cart"]
    moves(lambda: rows(browser, "#lanes td:nth-child(5)")[1])
    assert len(rows(browser, "#processes tr")) == 2
    assert browser.evaluate("document.querySelector('#none').hidden") is False
    with suppress(AssertionError):
        fetch(serving.address, "/", fields=[("Content-Length", "x")])
    until(lambda: "Content-Length" in text_of(browser, "#refusals"))
    assert browser.console() == []
    assert {one.removeprefix(url) for one in browser.requests() if not one.startswith("data:")} == {
        "",
        "events",
    }


def rows(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.evaluate(
        f"[...document.querySelectorAll({selector!r})].map((one) => one.innerText)"
    )
    return found


def moves(value: Callable[[], object]) -> None:
    """Wait until a value is another one than now, twice."""
    for _ in range(2):
        before = value()
        until(lambda before=before: value() != before)  # type: ignore[misc]


def test_a_click_on_a_worker_shows_its_stack(browser: Browser, page: tuple[Serving, str]) -> None:
    _, url = page
    browser.dress(width=1440, height=900)
    browser.open(url)
    until(lambda: "/wait/" in text_of(browser, "#workers"))
    browser.evaluate(
        "[...document.querySelectorAll('#workers button')].find((one) => one.innerText.includes('/wait/')).click()"
    )
    until(lambda: "in somewhere_deep" in text_of(browser, "#detail-stack"))
    assert text_of(browser, "#detail-title") == "GET /wait/<script>alert(1)</script>"
    assert re.fullmatch("request id [0-9a-f]{32}", text_of(browser, "#detail-ids"))
    assert browser.console() == []


def test_it_says_so_when_the_server_is_gone_and_goes_on_with_the_next(
    browser: Browser, page: tuple[Serving, str]
) -> None:
    serving, url = page
    browser.dress(width=1440, height=900)
    browser.open(url)
    until(lambda: text_of(browser, "#state") == "ready")
    serving.signal(signal.SIGHUP)
    serving.wait_line("reload")
    until(lambda: "2" in rows(browser, "#processes td:nth-child(3)"))
    until(lambda: text_of(browser, "#state") == "ready")
    serving.process.kill()
    until(lambda: text_of(browser, "#state") == "no answer")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=["desktop", "phone"])
def test_it_fits_each_window(
    browser: Browser, page: tuple[Serving, str], tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    _, url = page
    width, height = size
    browser.dress(width=width, height=height, dark=dark)
    browser.open(url)
    until(lambda: "/wait/" in text_of(browser, "#workers"))
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.screenshot(tmp_path / "page.png")
    assert read_png(tmp_path / "page.png")[:2] == size
    assert read_png(tmp_path / "page.png")[2] > DISTINCT_ROWS
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(one) for one in ground[4:-1].split(",")) < 3 * 64) is dark


def test_its_policy_lets_only_its_own_code_run(page: tuple[Serving, str]) -> None:
    _, url = page
    host, port = url.split("/")[2].split(":")
    answer = fetch((host, int(port)), "/")
    document, policy = load_page()
    assert answer.body == document
    assert answer.one("Content-Type") == "text/html; charset=utf-8"
    assert answer.one("Content-Security-Policy") == policy.decode()
    assert "default-src 'none'" in policy.decode() and "unsafe" not in policy.decode()
    assert answer.one("X-Content-Type-Options") == "nosniff"
    assert b"http://" not in document.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in document
