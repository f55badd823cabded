"""Things to try a server with: a slow answer, a stream and a large file."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from flask import Blueprint, Response, abort, current_app, render_template, request, send_file

LARGE_FILE_BYTES = 100 * 1000 * 1000
STREAM_LINES = 20
STREAM_PAUSE_S = 0.3
SLOW_LIMIT_S = 10.0  # a public example must not let one visitor hold a thread for long

experiments = Blueprint("experiments", __name__)


@experiments.get("/slow")
def slow() -> Response:
    """Answer after `seconds`: the sleep stands for a slow query. This thread is busy, the others are not."""
    seconds = request.args.get("seconds", 2.0, type=float)
    if not 0 <= seconds <= SLOW_LIMIT_S:  # also false for NaN
        abort(400, f"seconds is a number from 0 to {SLOW_LIMIT_S:g}.")
    time.sleep(seconds)
    said = f"After {seconds:g} s" if seconds else "At once"
    body = render_template("frame.html", said=said, thread=threading.current_thread().name)
    return Response(body, headers={"Cache-Control": "no-store"})


@experiments.get("/stream")
def stream() -> Response:
    """Answer with a page whose lines arrive as they are made."""
    head, tail = render_template("stream.html").split("<!-- lines -->")
    # A proxy in front would otherwise collect the lines and pass them on together.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(stream_lines(head, tail), headers=headers)


def stream_lines(head: str, tail: str) -> Iterator[str]:
    """Yield a page line by line; a browser shows each line when it comes."""
    yield head
    started = time.monotonic()
    for number in range(1, STREAM_LINES + 1):
        elapsed = time.monotonic() - started
        yield f"<li><span>Line {number} of {STREAM_LINES}</span> <span>{elapsed:.1f} s</span></li>\n"
        if number < STREAM_LINES:
            time.sleep(STREAM_PAUSE_S)
    yield tail


@experiments.get("/download")
def download() -> Response:
    """Answer with the large file; send_file hands it to the server's wsgi.file_wrapper."""
    path = large_file(current_app.config["DATA"])
    return send_file(path, "application/octet-stream", as_attachment=True, download_name="large.bin")


def large_file(data: Path) -> Path:
    """Return the file to download, made when it is first asked for.

    It is sparse: its size is real, but only the first line takes room on the disk. Two threads may both make
    it; the last rename wins, and either file is whole.
    """
    path = data / "large.bin"
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        with unfinished.open("wb") as file:
            file.write(b"This file is mostly nothing, sent quickly.\n")
            file.truncate(LARGE_FILE_BYTES)
        unfinished.replace(path)
    return path
