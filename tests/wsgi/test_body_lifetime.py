"""`wsgi.input` if an application uses it as it should not."""

import threading
from wsgiref.types import StartResponse

import pytest

from tests.client import Connection, build
from tests.conftest import Serve
from tests.wsgi import Environ, pattern

UPLOADS = 10


@pytest.mark.parametrize("size", [1000, 4 << 20], ids=["memory", "disk"])
@pytest.mark.parametrize("by_line", [False, True], ids=["read", "readline"])
def test_body_may_be_read_by_a_thread_that_outlives_the_turn(serve: Serve, size: int, by_line: bool) -> None:
    body = pattern(size)
    threads: list[threading.Thread] = []
    wrong: list[bytes] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        source = environ["wsgi.input"]

        def read_on() -> None:
            received = b"".join(iter(source.readline if by_line else lambda: source.read(65_536), b""))
            if not body.startswith(received):
                wrong.append(received)

        threads.append(threading.Thread(target=read_on))
        threads[-1].start()
        start_response("200 OK", [])
        return [b"done"]

    with serve(app) as server, Connection(server.address) as client:
        for _ in range(UPLOADS):
            client.send(build(method="POST", body=body))
            assert client.response().body == b"done"
    for thread in threads:
        thread.join()
    assert wrong == []
