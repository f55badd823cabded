"""Connections: how long they last, what may be sent on them at once, and bodies at every edge."""

import hashlib
import random
import socket
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, Response, build, build_chunked, fetch
from tests.conftest import Serve
from tests.wsgi import TEXT, Environ, Gate, hello, pattern, until

import halfsync
from halfsync.native import checks

SEED = 20240229
KIB, MIB = 1 << 10, 1 << 20
INLINE_BYTES = 4096  # of input that a connection holds without allocating
BODY_MEMORY = 65_536  # the default: longer bodies go to disk
COUNTERS = {
    *(
        "open",
        "accepted",
        "adopted",
        "handed_off",
        "made_room",
        "evicted",
        "disconnected",
        "close_notices",
        "turns",
    ),
    *("requests", "files", "running", "finished", "queued", "dropped", "timed_out", "stuck", "spooled"),
    *("refused", "shed", "limited"),
}
EDGES = sorted({edge + by for edge in (0, INLINE_BYTES, BODY_MEMORY) for by in (-1, 0, 1) if edge + by >= 0})


def digest(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with the path, and the length and the digest of the body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [*TEXT])
    return [f"{environ['PATH_INFO']} {len(body)} {hashlib.md5(body).hexdigest()}".encode()]


def digest_of(path: str, body: bytes) -> bytes:
    return f"{path} {len(body)} {hashlib.md5(body).hexdigest()}".encode()


def final_response(connection: Connection, method: str = "GET") -> Response:
    """Read a response, and before it the interim one by which a client that sends no more may be probed."""
    response = connection.response(method)
    return response if response.status >= 200 else connection.response(method)


# --- how long a connection lasts ------------------------------------------------------------------


def test_a_connection_is_used_again(serve: Serve) -> None:
    with serve(digest) as server, Connection(server.address) as connection:
        for number in range(50):
            connection.send(build(f"/{number}"))
            assert connection.response().body == digest_of(f"/{number}", b"")
        assert server.statistics()["accepted"] == 1


@pytest.mark.parametrize(
    ("version", "field", "stays"),
    [
        ("HTTP/1.1", None, True),
        ("HTTP/1.1", "close", False),
        ("HTTP/1.0", None, False),
        ("HTTP/1.0", "keep-alive", True),
    ],
)
def test_a_connection_stays_as_long_as_its_client_says(
    serve: Serve, version: str, field: str | None, stays: bool
) -> None:
    request = build(version=version, fields=[("Connection", field)] if field else [])
    with serve(hello) as server, Connection(server.address) as connection:
        connection.send(request)
        assert connection.response().body == b"hello, you"
        if stays:
            connection.send(request)
            assert connection.response().body == b"hello, you"
        else:
            connection.closed()


@pytest.mark.parametrize("path", ["/app", "/fails", "/static/file", "/static/none"])
def test_every_response_says_the_same_of_its_connection(serve: Serve, tmp_path: Path, path: str) -> None:
    """Whatever answers: the application, the server for it, or a static file (RFC 9112 9.3, C.2.2)."""
    (tmp_path / "file").write_bytes(b"content")
    static = (
        {"/static": tmp_path} if path.startswith("/static") else {}
    )  # which the log of an error may outlive

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/fails":
            raise ZeroDivisionError
        return hello(environ, start_response)

    with (
        serve(app, static=static, keep_alive=12) as server,
        Connection(server.address) as connection,
    ):
        for version in ("HTTP/1.1", "HTTP/1.0"):
            connection.send(build(path, version=version, fields=[("Connection", "keep-alive")]))
            response = connection.response()
            assert (response.one("Connection"), response.one("Keep-Alive")) == ("keep-alive", "timeout=12")
        connection.send(build(path, fields=[("Connection", "close")]))
        response = connection.response()
        assert (response.one("Connection"), response.one("Keep-Alive")) == ("close", None)
        connection.closed()


@pytest.mark.parametrize("method", ["HELP", "HEAP", "HEADS", "HEA", "head"])
def test_a_method_that_looks_like_head_has_a_body(serve: Serve, method: str) -> None:
    with serve(hello, max_body=10) as server, Connection(server.address) as connection:
        connection.send(build(method=method))
        assert connection.response(method).body == b"hello, you"
        connection.send(build(method=method, body=bytes(11)))
        assert connection.response(method).body == b"413 Content Too Large\n"


def test_without_keep_alive_every_connection_ends_after_its_response(serve: Serve) -> None:
    with serve(hello, keep_alive=0) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.response().one("Connection") == "close"
        connection.closed()


def test_requests_are_counted(serve: Serve) -> None:
    with serve(hello) as server, Connection(server.address) as client:
        for answered in range(1, 301):
            client.send(build("/"))
            assert client.response().status == 200
            assert server.statistics()["requests"] == answered  # whoever has the response finds it counted


def test_every_model_counts_the_same(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with serve(hello, static={"/static": tmp_path}) as server, Connection(server.address) as client:
        assert set(server.statistics()) == COUNTERS
        for path in ("/", "/static/file", "/"):
            client.send(build(path))
            assert client.response().status == 200
        client.send(b"what?\r\n\r\n")
        assert client.response().status == 400
        until(lambda: server.statistics()["finished"] == 3)
        counts = server.statistics()
        assert {name for name, count in counts.items() if count} - {"open", "turns"} == {
            *("accepted", "requests", "files", "finished", "refused"),
        }
        assert (counts["accepted"], counts["requests"], counts["files"], counts["refused"]) == (1, 3, 1, 1)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_client_that_sends_no_more_is_still_answered(serve: Serve, version: str) -> None:
    with serve(digest) as server, Connection(server.address) as connection:
        connection.send(build("/half", method="POST", body=b"abc", version=version))
        connection.socket.shutdown(socket.SHUT_WR)
        assert final_response(connection).body == digest_of("/half", b"abc")
        assert connection.rest() == b""


@pytest.mark.only_on("proactor", "pool", reason="nothing waits in a queue")
@pytest.mark.without_tls("pool", reason="a connection without a thread has not shaken hands")
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_client_that_sends_no_more_is_answered_even_from_the_queue(serve: Serve, version: str) -> None:
    gate = Gate()
    with serve(gate, threads=1) as server, Connection(server.address) as first:
        first.send(build("/first"))
        gate.wait_entered(1)
        with Connection(server.address) as second:
            second.send(build("/second", version=version))
            second.socket.shutdown(socket.SHUT_WR)
            until(lambda: server.statistics()["queued"] == 1)
            gate.opened.set()
            assert final_response(second).body == b"/second"
            assert second.rest() == b""


@pytest.mark.only_on(
    "proactor", reason="a blocking model does not look at a connection before it has a thread"
)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_client_that_sends_no_more_is_probed_while_its_request_is_queued(
    serve: Serve, version: str
) -> None:
    gate = Gate()
    with serve(gate, threads=1) as server, Connection(server.address) as first:
        first.send(build("/first"))
        gate.wait_entered(1)
        with Connection(server.address) as second:
            second.send(build("/second", version=version))
            second.socket.shutdown(socket.SHUT_WR)
            until(lambda: server.statistics()["queued"] == 1)
            if version == "HTTP/1.1":
                assert second.response().status == 100
            gate.opened.set()
            assert second.response().body == b"/second"
            assert second.rest() == b""


def test_a_response_is_sent_whole_to_a_client_that_sends_no_more(serve: Serve) -> None:
    body = pattern(8 * MIB)

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [body]

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build())
        connection.socket.shutdown(socket.SHUT_WR)
        assert final_response(connection).body == body
        assert connection.rest() == b""


@pytest.mark.parametrize("order", ["drain", "hand_off"])
def test_a_last_response_is_sent_whole_though_the_server_ends(serve: Serve, order: str) -> None:
    """To close while the client sends would reset the connection, and the end of the response would be lost."""
    body = pattern(100_000)

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [body]

    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that it lies with the server
    with serve(app) as server:
        small.connect(server.address)
        with Connection(small) as connection:
            connection.send(build(fields=[("Connection", "close")]))
            until(lambda: server.statistics()["finished"] == 1)
            getattr(server, order)()
            connection.send(b"more")
            assert connection.response().body == body
            assert connection.rest() == b""
        assert server.wait(15)


# --- pipelining -----------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    bodies = [pattern(size, size) for size in (0, 1, 5000, 0, 70_000, 3, 200_000, 0)] * 6
    wire = b"".join(
        build(f"/{number}", method="POST", body=body)
        if number % 2
        else build_chunked([body[:1000], body[1000:]], target=f"/{number}")
        for number, body in enumerate(bodies)
    )
    with serve(digest) as server, Connection(server.address) as connection:
        connection.send(wire)
        for number, body in enumerate(bodies):
            assert connection.response().body == digest_of(f"/{number}", body)
        connection.send(build("/last"))
        assert connection.response().body == digest_of("/last", b"")


def test_a_thousand_requests_in_one_packet_are_answered_in_order(serve: Serve) -> None:
    with serve(digest) as server, Connection(server.address) as connection:
        connection.send(b"".join(build(f"/{number}") for number in range(1000)))
        for number in range(1000):
            assert connection.response().body == digest_of(f"/{number}", b"")


def test_what_is_pipelined_behind_a_chunked_body_survives_being_cut_anywhere(serve: Serve) -> None:
    chance = random.Random(SEED)
    wire = (
        build_chunked([b"abc", b"defghij"], target="/one")
        + build("/two", method="POST", body=b"xy")
        + build("/3")
    )
    with serve(digest) as server:
        for cut in range(1, len(wire)):
            with Connection(server.address) as connection:
                connection.send(wire[:cut])
                if chance.random() < 0.2:  # let the server see the first piece on its own
                    until(lambda: server.statistics()["open"] > 0)
                connection.send(wire[cut:])
                assert connection.response().body == digest_of("/one", b"abcdefghij"), cut
                assert connection.response().body == digest_of("/two", b"xy"), cut
                assert connection.response().body == digest_of("/3", b""), cut


@pytest.mark.parametrize("before", [1, 3, 40])
def test_a_malformed_request_ends_what_was_pipelined_around_it(serve: Serve, before: int) -> None:
    gate = Gate()
    gate.opened.set()
    wire = b"".join(build(f"/{number}") for number in range(before)) + b"GET / HTTP/1.1\nHost: a\r\n\r\n"
    with serve(gate) as server, Connection(server.address) as connection:
        connection.send(wire + build("/after"))
        for number in range(before):
            assert connection.response().body == f"/{number}".encode()
        assert connection.response().status == 400
        assert connection.rest() == b""
    assert "/after" not in gate.runs


def test_nothing_behind_a_request_that_closes_is_run(serve: Serve) -> None:
    gate = Gate()
    gate.opened.set()
    with serve(gate) as server, Connection(server.address) as connection:
        connection.send(build("/one", fields=[("Connection", "close")]) + build("/two"))
        assert connection.response().body == b"/one"
        assert connection.rest() == b""
    assert gate.runs == ["/one"]


@pytest.mark.only_on("proactor", "pool", reason="nothing waits in a queue")
@pytest.mark.without_tls("pool", reason="a connection without a thread has not shaken hands")
def test_what_is_pipelined_on_a_queued_connection_is_answered_during_a_drain(
    serve: Serve,
) -> None:
    gates = {"/first": Gate(), "/other": Gate()}

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        return gates.get(environ["PATH_INFO"], digest)(environ, start_response)

    targets = ["/a", "/b", "/c"]
    with (
        serve(app, threads=1) as server,
        Connection(server.address) as connection,
        Connection(server.address) as other,
    ):
        connection.send(b"".join(map(build, ["/first", *targets])))
        gates["/first"].wait_entered(1)
        other.send(build("/other"))
        until(lambda: server.statistics()["queued"] == 1)
        gates["/first"].opened.set()
        assert connection.response().body == b"/first"
        gates["/other"].wait_entered(1)
        until(lambda: server.statistics()["queued"] == 1)  # the rest of what was pipelined has lost its turn
        server.drain()
        gates["/other"].opened.set()
        assert other.response().body == b"/other"
        responses = connection.last_responses()
        assert [response.body for response in responses] == [
            digest_of(target, b"") for target in targets[: len(responses)]
        ]
        assert other.rest() == b""
        assert server.wait(15)


def test_two_large_responses_pipelined(serve: Serve) -> None:
    bodies = {f"/{number}": pattern(12 * MIB, number) for number in range(3)}

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [bodies[environ["PATH_INFO"]]]

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(b"".join(map(build, bodies)))
        for body in bodies.values():
            assert connection.response().body == body


def test_a_refusal_after_a_response_that_filled_the_socket_is_complete(serve: Serve, tmp_path: Path) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [pattern(int(environ["PATH_INFO"][1:]))]

    path = str(tmp_path / "socket")
    filled = 0
    # The socket takes a response whole up to some size, and nothing more behind those just below it. A unix
    # socket's room is fixed, so that steps as small as these meet such sizes.
    with serve(app, bind=f"unix:{path}") as server:
        for size in range(64 * KIB, 512 * KIB, 16 * KIB):
            refused = server.statistics()["refused"]
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            with Connection(sock) as connection:
                connection.send(build(f"/{size}") + b"GET / HTTP/1.1\nHost: a\r\n\r\n")
                # It is read once the refusal was made, or after a while: then it was too large.
                with suppress(AssertionError):
                    until(partial(has_refused, server, refused + 1), timeout_s=0.2)
                    filled += 1
                assert connection.response().body == pattern(size)
                assert connection.response().status == 400, size
                assert connection.rest() == b""
    assert filled > 1


def has_refused(server: halfsync.Server, number: int) -> bool:
    return server.statistics()["refused"] == number


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*EDGES, 3 * MIB])
def test_bodies_at_every_edge(serve: Serve, size: int) -> None:
    body = pattern(size)
    head = build("/a", method="POST", body=body)[: -len(body) or None]
    pieces = [head, *(body[at : at + 1 + size // 3] for at in range(0, size, 1 + size // 3))]
    with serve(digest) as server:
        for wire in ([b"".join(pieces)], pieces, [head + body[:1], body[1:]]):
            with Connection(server.address) as connection:
                for piece in wire:
                    connection.send(piece)
                assert connection.response().body == digest_of("/a", body)
                connection.send(build("/again"))
                assert connection.response().body == digest_of("/again", b"")


@pytest.mark.parametrize("by", [-1, 0, 1])
def test_a_head_and_a_body_that_just_fill_the_input_buffer(serve: Serve, by: int) -> None:
    head_length = len(build("/a", method="POST", body=bytes(4000))) - 4000
    body = pattern(INLINE_BYTES - head_length + by)
    with serve(digest) as server, Connection(server.address) as connection:
        for _ in range(3):
            connection.send(build("/a", method="POST", body=body) + build("/b"))
            assert connection.response().body == digest_of("/a", body)
            assert connection.response().body == digest_of("/b", b"")


@pytest.mark.parametrize("size", [*EDGES[1:], 3 * MIB])
def test_chunked_bodies_at_every_edge(serve: Serve, size: int) -> None:
    body = pattern(size)
    with serve(digest) as server, Connection(server.address) as connection:
        for piece in {1 + size // 2, size, 1000 if size < MIB else 50_000}:
            chunks = [body[at : at + piece] for at in range(0, size, piece)]
            connection.send(build_chunked(chunks, target="/c") + build("/after"))
            assert connection.response().body == digest_of("/c", body)
            assert connection.response().body == digest_of("/after", b"")


def test_expect_is_answered_once_and_only_when_the_body_is_waited_for(serve: Serve) -> None:
    expect = [("Expect", "100-continue")]
    whole = build("/e", method="POST", body=b"abcdef", fields=expect)
    with serve(digest) as server:
        with Connection(server.address) as connection:
            connection.send(whole[:-6])
            assert connection.response().status == 100
            for byte in b"abcdef":
                connection.send(bytes([byte]))
            assert connection.response().body == digest_of("/e", b"abcdef")
        with Connection(server.address) as connection:
            connection.send(whole)  # the body is there already: nothing to wait for
            assert connection.response().body == digest_of("/e", b"abcdef")
        with Connection(server.address) as connection:
            connection.send(
                build("/e", method="POST", body=b"abcdef", fields=expect, version="HTTP/1.0")[:-6]
            )
            connection.send(b"abcdef")  # RFC 9110 10.1.1: not to 1.0
            assert connection.response().body == digest_of("/e", b"abcdef")


def test_a_body_announced_too_long_is_refused_before_it_is_sent(serve: Serve) -> None:
    gate = Gate()
    with serve(gate, max_body=1000) as server:
        for field in ([], [("Expect", "100-continue")]):
            with Connection(server.address) as connection:
                connection.send(build(method="POST", body=bytes(1001), fields=field)[:-1001])
                assert connection.response().status == 413
                connection.closed()
    assert not gate.runs


@pytest.mark.parametrize("max_body", [1000, 100_000])
def test_a_chunked_body_is_refused_as_soon_as_it_is_too_long(serve: Serve, max_body: int) -> None:
    gate = Gate()
    gate.opened.set()
    with serve(gate, max_body=max_body) as server:
        with Connection(server.address) as connection:
            connection.send(build_chunked([bytes(max_body)]))
            assert connection.response().status == 200
        with Connection(server.address) as connection:
            connection.send(build_chunked([bytes(max_body), b"x"])[:-5])
            assert connection.response().status == 413
            # What is sent before the refusal is read is swallowed: no reset takes the response away.
            assert connection.rest() == b""
    assert len(gate.runs) == 1


def test_a_refusal_can_be_read_after_sending_all_of_a_refused_body(serve: Serve) -> None:
    body = bytes(3 * MIB)
    with serve(hello, max_body=1000) as server, Connection(server.address) as connection:
        connection.send(build(method="POST", body=body))
        assert connection.response().status == 413
        assert connection.rest() == b""
        assert fetch(server.address).status == 200


@pytest.mark.skipif(not checks.enabled(), reason="only the checks build counts exchanges")
@pytest.mark.not_on(
    "process", reason="native objects are counted in each process, and children do not report theirs"
)
def test_an_idle_connection_holds_no_buffer(serve: Serve) -> None:
    before = checks.counts()["exchange"]
    number = 50
    # With a thread for each, so that the model `pool` takes none from them.
    with serve(hello, threads=number) as server, ExitStack() as clients:
        for _ in range(number):
            client = clients.enter_context(Connection(server.address))
            client.send(build())
            client.response()
        until(lambda: checks.counts()["exchange"] == before)
        assert server.statistics()["open"] == number


def test_expect_behind_a_pipelined_request_is_asked_for_its_body(serve: Serve) -> None:
    expecting = build("/b", method="POST", body=b"abc", fields=[("Expect", "100-continue")])
    with serve(digest) as server, Connection(server.address) as connection:
        connection.send(build("/a") + expecting[:-3])
        assert connection.response().body == digest_of("/a", b"")
        assert connection.response().status == 100
        connection.send(b"abc")
        assert connection.response("POST").body == digest_of("/b", b"abc")
