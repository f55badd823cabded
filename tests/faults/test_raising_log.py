"""An application whose logging raises: no client gets another answer, and no thread of the server ends."""

from pathlib import Path

import pytest

from tests.client import Connection, CutError, build, fetch
from tests.faults.serving import MODELS, Serving

APP = """
import logging, time

class Raising(logging.Handler):
    def filter(self, record):
        raise ERROR
    def emit(self, record):
        raise ERROR
    def format(self, record):
        raise ERROR

PLACES = {
    "filter": lambda logger, raising: logger.addFilter(raising),
    "root handler": lambda logger, raising: (logging.root.addHandler(raising), setattr(logger, "propagate", True)),
    "handler": lambda logger, raising: logger.addHandler(raising),
    "formatter": lambda logger, raising: [each.setFormatter(raising) for each in logger.handlers],
}
ERRORS = {"ValueError": ValueError("in the log"), "SystemExit": SystemExit(3), "KeyboardInterrupt": KeyboardInterrupt()}
ERROR = ERRORS[NAME]
logging.basicConfig()
PLACES[PLACE](logging.getLogger("halfsync"), Raising())

class FailingClose(list):
    def close(self):
        raise ZeroDivisionError("in close")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise ZeroDivisionError("in the application")
    if path == "/stuck":
        time.sleep(0.6)
    length = {"/more": "3", "/less": "7"}.get(path, "5")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", length)])
    if path == "/cut":
        return (b"hel" if part else 1 // part for part in (1, 0))
    return FailingClose([b"hello"]) if path == "/close" else [b"hello"]

class Handler:
    def received(self, data):
        if data == b"fail":
            raise ZeroDivisionError("in the handler")
        return data
    def closed(self):
        raise ZeroDivisionError("in closed")

def streams():
    return Handler()
"""

PLACES = ("filter", "handler", "root handler", "formatter")
RAISED = ("ValueError", "SystemExit", "KeyboardInterrupt")


def application(place: str, error: str) -> str:
    """Return an application whose logging raises this there."""
    return f"PLACE, NAME = {place!r}, {error!r}\n{APP}"


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("error", RAISED)
def test_clients_get_the_same_responses(
    tmp_path: Path, model: tuple[str, str], place: str, error: str
) -> None:
    options = (*model, "--threads", "1", "--request-id-field", "none")
    with Serving(tmp_path, application(place, error), *options) as server:
        for _ in range(3):
            with Connection(server.address) as client:
                for path, status, body in (
                    ("/fails", 500, b"500 Internal Server Error\n"),
                    ("/more", 200, b"hel"),
                    ("/close", 200, b"hello"),
                    ("/", 200, b"hello"),
                ):
                    client.send(build(path))
                    response = client.response()
                    assert (response.status, response.body) == (status, body)
            for path in ("/less", "/cut"):
                with pytest.raises(CutError) as cut:
                    fetch(server.address, path)
                assert cut.value.received in (b"hello", b"hel")
        server.wait_line("ZeroDivisionError: in the application")
        if place != "formatter":  # in the place of which there is another
            server.wait_line(
                f"halfsync: the application failed on GET /fails (the application's logging has raised {error})"
            )


@pytest.mark.parametrize("error", RAISED)
def test_stuck_threads_are_replaced_one_after_the_other(tmp_path: Path, error: str) -> None:
    options = ("--threads", "1", "--request-timeout", "100ms", "--max-stuck", "1000")
    with Serving(tmp_path, application("filter", error), *options) as server:
        for _ in range(4):
            assert fetch(server.address, "/stuck").status == 504
            assert fetch(server.address).body == b"hello"
        server.wait_lines("took longer than request_timeout", 4)


def test_streams_are_served_on(tmp_path: Path, model: tuple[str, str]) -> None:
    text = (
        application("filter", "SystemExit")
        .replace("def streams()", "def app()")
        .replace("def app(environ", "def _(environ")
    )
    with Serving(tmp_path, text, *model, "--threads", "1", "--stream") as server:
        for _ in range(3):
            with Connection(server.address) as client:
                client.send(b"echo")
                assert client.some(4) == b"echo"
                client.send(b"fail")
                assert client.cut() == b""
        server.wait_lines("ZeroDivisionError: in the handler", 3)
        server.wait_lines("ZeroDivisionError: in closed", 3)
