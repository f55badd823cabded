"""Take the pictures of the page in docs/: `PYTHONPATH=build/checks/site python -m tests.admin.picture`.

The page of a server with a little load is open for more than a minute before they are taken.
"""

import random
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.browser import Browser, find_chromium
from tests.client import Connection, build
from tests.faults.serving import Serving, free_port

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = (("light", 1280, 1130, False), ("dark", 1280, 1130, True), ("phone", 390, 1000, False))
SHOWN_S = 60.0
DRAWN_S = 2.0
CLIENTS, IDLE = 14, 90

APP = """
import random, time

SECONDS = {"/": 0.01, "/cart": 0.03, "/search": 0.12, "/checkout": 0.4, "/report": 6.0}

def render(path):
    time.sleep(SECONDS.get(path, 0.05) * random.uniform(0.5, 1.6))

def app(environ, start_response):
    render(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
TARGETS = ["/"] * 40 + ["/cart"] * 25 + ["/search"] * 14 + ["/checkout"] * 4 + ["/report"]


def visit(address: tuple[str, int], over: threading.Event, number: int) -> None:
    """Be a client, or a crowd of them: what is asked for comes in waves."""
    chance = random.Random(number)
    client = ("X-Forwarded-For", f"203.0.113.{number + 10}")
    while not over.is_set():
        with suppress(OSError, AssertionError), Connection(address, timeout_s=30) as connection:
            for _ in range(chance.randrange(5, 60)):
                connection.send(build(chance.choice(TARGETS), fields=[client]))
                connection.response()
                over.wait(chance.expovariate(1 / (0.09 + 0.08 * ((time.monotonic() + 7 * number) % 40 < 25))))
            if chance.random() < 0.2:
                connection.send(b"GET /cart HTTP/1.1\r\nHost: shop\r\nContent-Length: 1,0\r\n\r\n")
                connection.response()


def main() -> int:
    """Take the pictures, and return the exit code."""
    program = find_chromium()
    if program is None:
        print("picture: no Chromium found", file=sys.stderr)
        return 1
    port, over = free_port(), threading.Event()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        options = ("--workers", "2", "--threads", "4", "--admin-bind", f"127.0.0.1:{port}")
        serving = stack.enter_context(Serving(Path(directory), APP, *options))
        clients = [
            threading.Thread(target=visit, args=(serving.address, over, number)) for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        for client in clients:
            stack.callback(client.join)
        stack.callback(over.set)
        for _ in range(IDLE):
            idle = stack.enter_context(socket.create_connection(serving.address))
            idle.sendall(build("/"))
        with Browser(program, Path(directory) / "profile") as browser:
            browser.dress(width=1280, height=1130)
            browser.open(f"http://127.0.0.1:{port}/")
            time.sleep(SHOWN_S)
            for name, width, height, dark in PICTURES:
                browser.dress(width=width, height=height, dark=dark)
                time.sleep(DRAWN_S)
                browser.screenshot(DOCS / f"status-{name}.png")
            print(browser.console() or "nothing in the console")
    return 0


if __name__ == "__main__":
    sys.exit(main())
