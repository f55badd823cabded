"""Flask, Django and Falcon on halfsync, with three real clients, checked byte for byte."""

import hashlib
import importlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import urllib3
from tests.apps import shared
from tests.client import Connection, build
from tests.conformance.conftest import MODELS
from tests.conftest import Serve
from tests.sharing import foreign_environment
from tests.wsgi import pattern

TIMEOUT_S = 15.0
NO_TLS = False  # nothing is asked by TLS, and reading all authorities would take longer than most tests
SIZES = (0, 1, 65_536, 65_537, 3_000_000)
CHUNK_BYTES = 10_007

FRAMEWORKS = {
    "flask": ("tests.apps.flask_app", "app"),
    "django": ("tests.apps.django_app.wsgi", "application"),
    "falcon": ("tests.apps.falcon_app", "app"),
}
CURL = shutil.which("curl")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got: header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's value; the answer must be a 200."""
        assert self.status == 200, self
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Question:
    """What a client is to ask. At most one of `body` and `file` is given; `chunked` is for a body."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] | None = None
    body: bytes | None = None
    chunked: bool = False
    file: tuple[str, bytes] | None = None

    def pieces(self) -> list[bytes]:
        """Return the body in pieces, to be sent as chunks."""
        body = self.body or b""
        return [body[start : start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES)]


Client = Callable[[Question, Path], Answer]


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run curl, without the settings of whoever runs the tests."""
    assert CURL is not None
    return subprocess.run(
        [CURL, "--disable", "--silent", "--show-error", "--max-time", str(TIMEOUT_S), *arguments],
        capture_output=True,
        check=True,
        timeout=2 * TIMEOUT_S,
        env=foreign_environment(),
    )


def by_curl(question: Question, folder: Path) -> Answer:
    head, body = folder / "head", folder / "body"
    body.write_bytes(b"")  # curl makes no file for an empty body
    arguments = ["--dump-header", str(head), "--output", str(body)]
    arguments += ["--head"] if question.method == "HEAD" else ["--request", question.method]
    for name, value in (question.headers or {}).items():
        arguments += ["--header", f"{name}: {value}"]
    if question.body is not None:
        (folder / "sent").write_bytes(question.body)
        arguments += ["--data-binary", f"@{folder / 'sent'}"]
        if question.chunked:
            arguments += ["--header", "Transfer-Encoding: chunked"]
    if question.file is not None:
        (folder / "file").write_bytes(question.file[1])
        arguments += ["--form", f"file=@{folder / 'file'};filename={question.file[0]}"]
    curl(*arguments, question.url)
    # A 100 (Continue) has a head of its own before the one that counts.
    status_line, *lines = (
        head.read_bytes().decode("latin-1").rstrip("\r\n").split("\r\n\r\n")[-1].split("\r\n")
    )
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    content = b"" if question.method == "HEAD" else body.read_bytes()
    return Answer(int(status_line.split(" ")[1]), headers, content)


def by_urllib3(question: Question, folder: Path) -> Answer:
    with urllib3.PoolManager(timeout=TIMEOUT_S, retries=False) as pool:
        response = pool.request(
            question.method,
            question.url,
            headers=question.headers,
            body=iter(question.pieces()) if question.chunked else question.body,
            fields={"file": question.file} if question.file else None,
            chunked=question.chunked,
        )
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, response.data)


def by_httpx(question: Question, folder: Path) -> Answer:
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_TLS) as client:
        response = client.request(
            question.method,
            question.url,
            headers=question.headers,
            content=iter(question.pieces()) if question.chunked else question.body,
            files={"file": question.file} if question.file else None,
        )
        return Answer(response.status_code, dict(response.headers), response.content)


needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")
CLIENTS: dict[str, Client] = {"curl": by_curl, "urllib3": by_urllib3, "httpx": by_httpx}
# Clients differ in the bytes that they send, and all models read those with one parser: one meets every client.
asking = pytest.mark.parametrize(
    ("model", "ask"),
    [
        pytest.param("proactor", "curl", marks=needs_curl),
        ("proactor", "httpx"),
        *((name, "urllib3") for name in MODELS),
    ],
    indirect=True,
)


@pytest.fixture(params=FRAMEWORKS)
def app(request: pytest.FixtureRequest) -> Any:
    """Return the application of each framework in turn, and have the file made that each of them sends."""
    shared.file_path()
    module, name = FRAMEWORKS[request.param]
    return getattr(importlib.import_module(module), name)


@pytest.fixture
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Question], Answer]:
    """Return a function that asks by the client that a test which is `asking` was given."""
    client = CLIENTS[request.param]
    return lambda question: client(question, tmp_path)


Ask = Callable[[Question], Answer]


def base(address: tuple[str, int]) -> str:
    return f"http://{address[0]}:{address[1]}"


def measured(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@asking
def test_hello_and_head(serve: Serve, app: Any, ask: Ask) -> None:
    with serve(app) as server:
        answer = ask(Question(f"{base(server.address)}/hello"))
        assert (answer.status, answer.body) == (200, shared.HELLO)
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["content-length"] == str(len(shared.HELLO))
        head = ask(Question(f"{base(server.address)}/hello", "HEAD"))
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(shared.HELLO))


@asking
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_method_path_query_and_fields_reach_the_application(
    serve: Serve, app: Any, ask: Ask, method: str
) -> None:
    url_path = "/echo/caf%C3%A9/%E2%82%AC%20%2525"
    with serve(app) as server:
        headers = {"X-One": "1", "X-Two": "a, b", "Content-Type": "application/x-test"}
        question = Question(f"{base(server.address)}{url_path}?q=%C3%A9&r=a+b", method, headers, b"body")
        told = ask(question).json()
        assert told["method"] == method
        # Each framework decodes this from PATH_INFO, so it is right only if that was the bytes as latin-1.
        assert told["path"] == "/echo/café/€ %25"
        assert told["query"] == "q=%C3%A9&r=a+b"
        assert told["content_type"] == "application/x-test"
        assert (told["fields"]["X_ONE"], told["fields"]["X_TWO"]) == ("1", "a, b")
        assert told["fields"]["HOST"] == base(server.address).removeprefix("http://")
        assert (told["size"], told["sha256"]) == tuple(measured(b"body").values())


@asking
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_bodies_arrive_byte_for_byte(serve: Serve, app: Any, ask: Ask, size: int, chunked: bool) -> None:
    data = pattern(size)
    headers = {"Content-Type": "application/octet-stream"}
    with serve(app) as server:
        question = Question(f"{base(server.address)}/echo/", "POST", headers, data, chunked)
        told = ask(question).json()
        assert (told["size"], told["sha256"]) == tuple(measured(data).values())


@asking
@pytest.mark.parametrize("size", SIZES)
def test_uploaded_files_arrive_byte_for_byte(serve: Serve, app: Any, ask: Ask, size: int) -> None:
    data = pattern(size, seed=3)
    with serve(app) as server:
        question = Question(f"{base(server.address)}/upload", "POST", file=("some file.bin", data))
        assert ask(question).json() == {"name": "some file.bin"} | measured(data)


@asking
def test_form_is_read(serve: Serve, app: Any, ask: Ask) -> None:
    fields = {"name": "Gr\xfc\xdfe", "text": "a=b&c\r\n\u20ac"}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    with serve(app) as server:
        question = Question(f"{base(server.address)}/form", "POST", headers, urlencode(fields).encode())
        assert ask(question).json() == fields


@asking
def test_stream_arrives_whole(serve: Serve, app: Any, ask: Ask) -> None:
    with serve(app) as server:
        answer = ask(Question(f"{base(server.address)}/stream"))
        assert (answer.status, answer.body) == (200, b"".join(shared.stream()))
        assert "content-length" not in answer.headers


@asking
def test_file_is_downloaded(serve: Serve, app: Any, ask: Ask) -> None:
    with serve(app) as server:
        answer = ask(Question(f"{base(server.address)}/file"))
        assert (answer.status, answer.body) == (200, shared.file_content())
        assert answer.headers["content-length"] == str(shared.FILE_BYTES)
        head = ask(Question(f"{base(server.address)}/file", "HEAD"))
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(shared.FILE_BYTES)


@asking
def test_exception_becomes_the_frameworks_500(serve: Serve, app: Any, ask: Ask) -> None:
    with serve(app) as server:
        assert ask(Question(f"{base(server.address)}/raise")).status == 500
        assert ask(Question(f"{base(server.address)}/hello")).status == 200


def test_lines_arrive_as_they_are_made(serve: Serve, app: Any) -> None:
    shared.live_gate.clear()
    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build("/live"))
        assert connection.head().status == 200
        assert connection.chunk() == b"first\n"
        shared.live_gate.set()
        assert connection.chunk() == b"second\n"
        assert connection.chunk() == b""


def test_connections_are_kept_and_used_again(serve: Serve, app: Any) -> None:
    statuses = {"/hello": 200, "/stream": 200, "/file": 200, "/raise": 500}
    with serve(app) as server:
        host, port = server.address
        with urllib3.HTTPConnectionPool(host, port, maxsize=1, block=True, timeout=TIMEOUT_S) as pool:
            for size in (0, 100_000, 5):
                for path, status in statuses.items():
                    assert pool.request("GET", path).status == status
                response = pool.request("POST", "/echo/", body=pattern(size))
                assert json.loads(response.data)["size"] == size
            assert pool.num_connections == 1


@needs_curl
def test_curl_uses_one_connection_for_two_requests(serve: Serve, app: Any) -> None:
    with serve(app) as server:
        url = f"{base(server.address)}/hello"
        done = curl("--write-out", "%{num_connects}\n", url, url)
        assert done.stdout == shared.HELLO + b"1\n" + shared.HELLO + b"0\n"


@needs_curl
def test_curl_gets_100_continue(serve: Serve, app: Any, tmp_path: Path) -> None:
    data = pattern(200_000)
    (tmp_path / "sent").write_bytes(data)
    with serve(app) as server:
        done = curl(
            "--verbose",
            "--header",
            "Expect: 100-continue",
            # Without the 100, curl would wait for this long, and --max-time end it first.
            "--expect100-timeout",
            "600",
            "--data-binary",
            f"@{tmp_path / 'sent'}",
            f"{base(server.address)}/echo/",
        )
        assert b"< HTTP/1.1 100 Continue" in done.stderr
        assert json.loads(done.stdout)["sha256"] == measured(data)["sha256"]


def test_many_requests_at_once_are_not_mixed_up(serve: Serve, app: Any) -> None:
    with serve(app, threads=4) as server, urllib3.PoolManager(maxsize=8, timeout=TIMEOUT_S) as pool:

        def one(number: int) -> bool:
            data = pattern(number * 997 % 150_000, seed=number)
            url = f"{base(server.address)}/echo/{number}"
            told = json.loads(pool.request("POST", url, body=data).data)
            return bool(told["path"] == f"/echo/{number}" and told["sha256"] == measured(data)["sha256"])

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(one, range(120)))


def test_django_keeps_a_session(serve: Serve) -> None:
    module, name = FRAMEWORKS["django"]
    app = getattr(importlib.import_module(module), name)
    with serve(app) as server, httpx.Client(base_url=base(server.address), trust_env=False) as client:
        for visits in (1, 2, 3):
            assert client.get("/session").json() == {"visits": visits}
    with serve(app) as server:
        assert httpx.get(f"{base(server.address)}/session", trust_env=False).json() == {"visits": 1}
