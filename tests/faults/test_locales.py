"""The locale of an application: nothing that the server writes or reads depends on it."""

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving
from tests.sharing import foreign_environment

# Decimal commas; other digits, and names of months in other letters; and i whose upper case is not I.
LOCALES = ("de_DE", "ar_EG", "fa_IR", "tr_TR")
CATEGORIES = (
    "IDENTIFICATION", "CTYPE", "NUMERIC", "TIME", "MONETARY", "MESSAGES", "PAPER", "NAME", "ADDRESS", "TELEPHONE",
    "MEASUREMENT",
)  # fmt: skip
APP = """
import locale
locale.setlocale(locale.LC_ALL, %r + ".UTF-8")
def app(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise ZeroDivisionError
    start_response("200 OK", [("Content-Type", "text/plain")])
    return iter([b"x" * 26, b""])
"""
SETUPS = {
    **{name: (*options, "--access-log", "log") for name, options in MODELS.items()},
    "workers": ("--workers", "1", "--preload", "--access-log", "log"),
}
COMBINED = re.compile(
    r"127\.0\.0\.1 - - \[\d\d/(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/\d{4}(:\d\d){3} [+-]\d{4}\] "
    r'"(?:GET \S+ HTTP/1\.1|-)" \d{3} \d+ "-" "-" \d+\.\d{6} \d+\.\d{6}(?: [a-z_]+ "[ -~]+")?'
)
JSON_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}")
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[\d+\] (INFO|WARNING|ERROR) halfsync: [ -~]+")


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of compiled locales."""
    if shutil.which("localedef") is None:
        pytest.skip("localedef is needed to make a locale")
    directory = tmp_path_factory.mktemp("locales")
    for name in LOCALES:
        source = directory / name
        source.write_text(
            "comment_char %\nescape_char /\n"
            + "".join(f'LC_{one}\ncopy "{name}"\nEND LC_{one}\n' for one in CATEGORIES)
            + 'LC_COLLATE\ncopy "POSIX"\nEND LC_COLLATE\n'  # that of the locale takes long to compile
        )
        made = subprocess.run(
            ["localedef", "-c", "-i", source, "-f", "UTF-8", directory / f"{name}.UTF-8"],
            capture_output=True,
            check=False,
            env=foreign_environment(),
        )
        if made.returncode != 0:
            pytest.skip(f"no sources of the locale {name} are here")
    return directory


def see_date(text: str | None) -> None:
    """See that this is a date as HTTP has it."""
    assert text is not None
    assert format_datetime(parsedate_to_datetime(text), usegmt=True) == text


@pytest.mark.parametrize("form", ["combined", "json"])
@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("name", LOCALES)
def test_nothing_depends_on_the_locale(
    tmp_path: Path, locales: Path, name: str, setup: str, form: str
) -> None:
    (tmp_path / "file.txt").write_text("of the directory")
    (tmp_path / "halfsync.toml").write_text('keep_alive = "2.5s"\n')
    options = (
        *SETUPS[setup], "--log-format", form, "--static", "/I=.", "--max-connections-per-client", "1",
        "--pidfile", "pid", "--admin-bind", "unix:probes",
    )  # fmt: skip
    variables = {
        "LOCPATH": str(locales),
        "LC_ALL": f"{name}.UTF-8",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(variables["NOTIFY_SOCKET"])
        manager.settimeout(30)
        with Serving(tmp_path, APP % name, *options, more=variables) as serving:
            assert manager.recv(4096).startswith(b"READY=1\nSTATUS=")
            with Connection(serving.address) as kept:
                kept.send(build("/"))
                response = kept.response()
                assert (response.status, response.body, response.framing) == (200, b"x" * 26, "chunked")
                see_date(response.one("Date"))
                kept.send(build("/I/file.txt"))
                response = kept.response()
                assert (response.status, response.one("Content-Length")) == (200, "16")
                modified = response.one("Last-Modified")
                see_date(modified)
                assert modified
                # The letter whose case is another in Turkish.
                kept.send(build("/I/file.txt", fields=[("IF-MODIFIED-SINCE", modified), ("X-I", "I")]))
                assert kept.response().status == 304
                with Connection(serving.address) as another:
                    another.send(build("/"))
                    response = another.response()
                    assert (response.status, response.one("Retry-After")) == (503, "1")
                    see_date(response.one("Date"))
                kept.send(build("/fails"))
                assert kept.response().status == 500
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "probes"))
                client.sendall(build("/readyz"))
                with Connection(client) as probe:
                    response = probe.response()
                    assert response.status == 200
                    assert response.body.isascii()
            assert (tmp_path / "pid").read_text() == f"{serving.process.pid}\n"
            if setup == "workers":
                serving.wait_line("1 process serves")
                serving.signal(signal.SIGHUP)
                while not (told := manager.recv(4096)).startswith(b"RELOADING=1"):
                    pass
                assert re.search(rb"^MONOTONIC_USEC=[0-9]+$", told, re.MULTILINE)
                serving.wait_line("the reload is complete")
            serving.signal(signal.SIGTERM)
            assert serving.exit_code() == 0
    told_lines = [line for line in serving.lines if " halfsync: " in line]
    assert told_lines and all(map(LINE.fullmatch, told_lines)), serving.lines
    logged = (tmp_path / "log").read_text().splitlines()
    assert len(logged) == 5
    for line in logged:
        if form == "combined":
            assert COMBINED.fullmatch(line), line
        else:
            entry = json.loads(line)
            assert JSON_TIME.fullmatch(entry["time"])
            assert isinstance(entry["queue_s"], float) and isinstance(entry["total_s"], float)


GERMAN = """
import locale, os
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.strerror(2).encode()]
"""


@pytest.mark.parametrize("setup", ["proactor", "workers"])
def test_the_reason_of_a_failed_call_is_english(tmp_path: Path, locales: Path, setup: str) -> None:
    for name in ("logs", "pids"):
        (tmp_path / name).mkdir()
    variables = {"LOCPATH": str(locales), "LC_ALL": "de_DE.UTF-8"}
    options = ("--workers", "1", "--preload") if setup == "workers" else ()
    options = (*options, "--access-log", "logs/log", "--pidfile", "pids/pid")
    with Serving(tmp_path, GERMAN, *options, more=variables) as serving:
        if fetch(serving.address).body == os.strerror(errno.ENOENT).encode():
            pytest.skip("the system's texts are here in English only")
        if setup == "workers":
            shutil.rmtree(tmp_path / "pids")
            serving.signal(signal.SIGHUP)
            serving.wait_line("cannot be written: no such file or directory")
        shutil.rmtree(tmp_path / "logs")
        serving.signal(signal.SIGUSR1)
        serving.wait_line("the access log 'logs/log' cannot be reopened: no such file or directory")
