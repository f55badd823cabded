"""A headless Chromium for tests, driven by the DevTools protocol over a pair of pipes.

Pipes need no port, no WebSocket and no driver program, and the browser ends by itself when they close. The
protocol is JSON messages, each ended by a NUL byte: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import struct
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.sharing import foreign_environment

MESSAGE_TIMEOUT_S = 30.0
EXIT_TIMEOUT_S = 10.0
FIRST_FREE_FD = 10  # above the descriptors 3 and 4, on which the browser reads and writes
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

Message = dict[str, Any]


def find_chromium() -> str | None:
    """Return the path of a Chromium, or None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One browser with one page. Used by one thread, as a context manager; every wait is bounded."""

    def __init__(self, program: str, profile: Path) -> None:
        self._program = program
        self._profile = profile
        self._received = b""
        self._number = 0
        self._session = ""
        self._events: list[Message] = []

    def __enter__(self) -> Self:
        to_browser, self._write_fd = _pipe()
        self._read_fd, from_browser = _pipe()
        self._pid = os.posix_spawn(
            self._program,
            [self._program, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            # The fresh profile is the home too: nothing is read from, or left in, the one of the user.
            foreign_environment() | {"HOME": str(self._profile)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, to_browser, 3),
                (os.POSIX_SPAWN_DUP2, from_browser, 4),
            ],
            setpgroup=0,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
            attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
                self._call(f"{domain}.enable")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        """Close the pipes, which asks the browser to exit; kill it and its children when it does not."""
        os.close(self._write_fd)
        try:
            # Its end of the other pipe closes when it exits, so waiting for that needs no polling.
            deadline = time.monotonic() + EXIT_TIMEOUT_S
            while select.select([self._read_fd], [], [], max(0, deadline - time.monotonic()))[0]:
                if not os.read(self._read_fd, 65_536):
                    break
        finally:
            os.close(self._read_fd)
            os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _call(self, method: str, params: Message | None = None) -> Message:
        """Send a command and return its result; events that come before it are kept for `wait_for`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params or {}}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write_fd, data) :]
        while True:
            answer = self._receive(method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: Message = answer["result"]
                return result
            self._events.append(answer)

    def _receive(self, reason: str) -> Message:
        deadline = time.monotonic() + MESSAGE_TIMEOUT_S
        while b"\0" not in self._received:
            if not select.select([self._read_fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"the browser said nothing for {MESSAGE_TIMEOUT_S:g} s after {reason}")
            data = os.read(self._read_fd, 1 << 20)
            if not data:
                raise ConnectionError(f"the browser left during {reason}")
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        decoded: Message = json.loads(message)
        return decoded

    def wait_for(self, event: str) -> Message:
        """Return the parameters of the next `event` that was not waited for yet."""
        while True:
            for index, message in enumerate(self._events):
                if message.get("method") == event:
                    # Those before it are not taken: another wait may ask for them.
                    params: Message = self._events.pop(index)["params"]
                    return params
            self._events.append(self._receive(event))

    def complaints(self) -> list[str]:
        """Return what the page has logged as errors, or thrown, since this was last asked."""
        self.evaluate("0")  # whatever was sent before this answer has now been received
        found, rest = [], []
        for message in self._events:
            params = message.get("params", {})
            if message["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            elif message["method"] == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            else:
                rest.append(message)
        self._events = rest
        return found

    def console(self) -> list[str]:
        """Return all that the page, or the browser about it, has written to its console so far, of any level."""
        self.evaluate("0")  # as above
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [str(message["params"]) for message in self._events if message.get("method") in kinds]

    def requests(self) -> list[str]:
        """Return the URLs that the page has asked for so far."""
        sent = (m for m in self._events if m["method"] == "Network.requestWillBeSent")
        return [str(message["params"]["request"]["url"]) for message in sent]

    def dress(self, *, width: int, height: int, dark: bool = False, scripts: bool = True) -> None:
        """Set the size of the window, the colour scheme, and whether scripts run."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        # Without motion a screenshot is the same whenever it is taken.
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme, still]})
        self._call("Emulation.setScriptExecutionDisabled", {"value": not scripts})

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.forget_loads()
        result = self._call("Page.navigate", {"url": url})
        if "errorText" in result:
            raise ConnectionError(f"{url}: {result['errorText']}")
        self.wait_for("Page.loadEventFired")

    def forget_loads(self) -> None:
        """Drop the loads seen so far, so that the next `wait_for` sees that of what is done next."""
        self._events = [m for m in self._events if m.get("method") != "Page.loadEventFired"]

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page; a promise is waited for."""
        result = self._call(
            "Runtime.evaluate",
            {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True},
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def type(self, selector: str, text: str) -> None:
        """Put the focus on an element and type text into it."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self._call("Input.insertText", {"text": text})

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an <input type=file>, as its dialogue would."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        self._call("DOM.setFileInputFiles", {"nodeId": node, "files": [str(path)]})

    def press(self, selector: str) -> None:
        """Press Enter on an element: as good as a click, and no picture that still loads can move it away."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self._call("Input.dispatchKeyEvent", {"type": "keyDown", "text": "\r", **key})
        self._call("Input.dispatchKeyEvent", {"type": "keyUp", **key})

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def screenshot(self, path: Path) -> None:
        """Save what the window shows as a PNG."""
        data = self._call("Page.captureScreenshot", {"format": "png"})["data"]
        path.write_bytes(base64.b64decode(data))


def _pipe() -> tuple[int, int]:
    """Return the read end and the write end of a pipe, with numbers that collide with nothing."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


def read_png(path: Path) -> tuple[int, int, int]:
    """Return width, height and the number of distinct rows of a PNG; a blank picture has a handful of those.

    The rows are compared as they are filtered in the file: in a blank picture they are all alike, whatever
    the filter, except for the first.
    """
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n"), "not a PNG"
    position, packed = 8, b""
    width = height = 0
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", content)
        elif kind == b"IDAT":
            packed += content
        position += 12 + length
    rows = zlib.decompress(packed)
    size = len(rows) // height
    return width, height, len({rows[start : start + size] for start in range(0, len(rows), size)})
