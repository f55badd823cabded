"""A server that is killed in the middle of uploads and slow responses leaves no file behind."""

import errno
import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client import Connection, build, slow_reader
from tests.faults.interposing import STEPS_MOST, Faults
from tests.faults.serving import MODELS, Serving
from tests.faults.watching import file_bytes
from tests.sharing import open_files
from tests.wsgi import until

MIB = 1 << 20
UPLOAD = bytes(4 * MIB)
LARGE = 20 * MIB  # of a response: more than sockets and memory hold
CLIENTS = 3  # of each kind

APP = f"""
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"x" * 100_000 for _ in range({LARGE} // 100_000))
"""


@pytest.mark.parametrize(
    "nameless",
    [True, pytest.param(False, marks=pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc"))],
)
@pytest.mark.parametrize("name", MODELS)
def test_no_file_is_left(tmp_path: Path, name: str, nameless: bool) -> None:
    """nameless: whether the file system makes files without names, or they must be unlinked."""
    folder = tmp_path / "spool"
    folder.mkdir()
    faults = None if nameless else Faults(tmp_path)
    if faults:
        faults.arm("open", [errno.EOPNOTSUPP] * STEPS_MOST)
    more = faults.environment if faults else None
    options = (*MODELS[name], "--temp-dir", str(folder), "--threads", str(2 * CLIENTS))
    with (
        Serving(tmp_path, APP, *options, more=more) as serving,
        ExitStack() as stack,
    ):
        pid = serving.process.pid
        clients = []
        for _ in range(CLIENTS):
            upload = stack.enter_context(Connection(serving.address))
            upload.send(build(method="POST", body=UPLOAD)[: -len(UPLOAD) // 2])
            slow = stack.enter_context(slow_reader(serving.address))
            slow.send(build())  # and not a byte is read
            clients += [upload, slow]
        wanted, files = CLIENTS * (len(UPLOAD) // 2 - 1), CLIENTS
        if name.startswith("proactor"):  # elsewhere no response is kept
            wanted, files = wanted + CLIENTS * MIB, files + CLIENTS
        until(lambda: open_files(folder) >= files and file_bytes(pid, folder) >= wanted)
        assert list(folder.iterdir()) == []
        assert faults is None or faults.taken("open") == files
        os.killpg(pid, signal.SIGKILL)
        assert serving.process.wait() == -signal.SIGKILL
        until(lambda: open_files(folder) == 0)
        for client in clients:
            client.cut()
        assert list(folder.iterdir()) == []
