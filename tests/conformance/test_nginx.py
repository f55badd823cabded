"""Behind a real nginx, as docs/proxies.md sets it up: by X-Forwarded-*, and by the PROXY protocol."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.client import Connection, build, fetch
from tests.conformance.test_wsgi_request import tell, told_by
from tests.conftest import Serve
from tests.wsgi import until

PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
NGINX = shutil.which("nginx", path=SBIN)
HAPROXY = shutil.which("haproxy", path=SBIN)
EXIT_TIMEOUT_S = 15.0
BACKEND = "127.0.0.1:8000"

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def snippets(language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return found


def stream_module() -> Path | None:
    """Return the path of nginx's dynamic stream module, or None."""
    assert NGINX
    said = subprocess.run([NGINX, "-V"], capture_output=True, text=True, check=True).stderr
    folder = re.search(r"--modules-path=(\S+)", said)
    module = Path(folder[1]) / "ngx_stream_module.so" if folder else None
    return module if module is not None and module.exists() else None


@contextmanager
def nginx(
    folder: Path, context: str, snippet: str, backend: str, load: str = ""
) -> Iterator[tuple[str, int]]:
    """Run nginx with a snippet in a context (http or stream); give the address that it listens on."""
    assert NGINX
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address: tuple[str, int] = free.getsockname()
    text = snippet.replace("listen 80;", f"listen 127.0.0.1:{address[1]};").replace(BACKEND, backend)
    assert text.count(backend) == 1
    own = ""
    if context == "http":
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        own = "access_log off; " + " ".join(f"{name}_temp_path {folder}/{name};" for name in names)
    config = folder / "nginx.conf"
    config.write_text(
        f"{load}\ndaemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{ worker_connections 64; }}\n{context} {{\n{own}\n{text}\n}}\n"
    )
    process = subprocess.Popen([NGINX, "-c", str(config), "-e", str(folder / "error.log")])

    def listens() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(address) == 0

    try:
        until(listens)
        yield address
    finally:
        process.terminate()
        process.wait(EXIT_TIMEOUT_S)


@needs_nginx
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_nginx_names_the_client_by_fields(serve: Serve, tmp_path: Path, kind: str) -> None:
    bind = f"unix:{tmp_path}/x.sock" if kind == "unix" else "127.0.0.1:0"
    with serve(tell, bind=bind) as server:
        backend = bind if kind == "unix" else "{}:{}".format(*server.address)
        with nginx(tmp_path, "http", snippets("nginx")[0], backend) as address:
            forged = [
                ("X-Forwarded-For", "6.6.6.6"),
                ("Forwarded", "for=6.6.6.6"),
                ("X-Forwarded-Proto", "https"),
            ]
            told = told_by(fetch(address, "/a", fields=forged))
    # nginx adds the peer that it sees, which here is a trusted one: the walk goes on to what the client said.
    assert told["HTTP_X_FORWARDED_FOR"] == "6.6.6.6, 127.0.0.1"
    assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("6.6.6.6", "")
    assert (told["wsgi.url_scheme"], told["HTTP_HOST"]) == ("http", "test.example")
    assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("test.example", str(address[1]))
    assert "HTTP_FORWARDED" not in told


@needs_nginx
def test_a_client_of_nginx_cannot_take_another_address(serve: Serve, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/x.sock"
    with (
        serve(tell, bind=bind, forwarded_allow_ips="unix"),
        nginx(tmp_path, "http", snippets("nginx")[0], bind) as address,
    ):
        for said in ("6.6.6.6", '"', "unknown", "6.6.6.6, 127.0.0.1"):
            told = told_by(fetch(address, fields=[("X-Forwarded-For", said)]))
            assert told["REMOTE_ADDR"] == "127.0.0.1"


@needs_nginx
def test_nginx_names_the_client_by_the_proxy_protocol(serve: Serve, tmp_path: Path) -> None:
    module = stream_module()
    if module is None:
        pytest.skip("nginx's stream module (Debian: libnginx-mod-stream) is not installed")
    load = f"load_module {module};"
    with serve(tell, proxy_protocol=True, forwarded_allow_ips="none") as server:
        backend = "{}:{}".format(*server.address)
        with (
            nginx(tmp_path, "stream", snippets("nginx")[1], backend, load) as address,
            Connection(address) as connection,
        ):
            for _ in range(2):
                connection.send(build(fields=[("X-Forwarded-For", "6.6.6.6")]))
                told = told_by(connection.response())
                host, port = connection.socket.getsockname()
                assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (host, str(port))


@pytest.mark.only_on("proactor", reason="no server takes part")
@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
@pytest.mark.parametrize("which", [0, 1])
def test_haproxy_takes_the_snippets(model: object, tmp_path: Path, which: int) -> None:
    config = tmp_path / "haproxy.cfg"
    timeouts = "defaults\n    timeout connect 5s\n    timeout client 5s\n    timeout server 5s\n\n"
    config.write_text(timeouts + snippets("haproxy")[which])
    assert HAPROXY
    checked = subprocess.run([HAPROXY, "-c", "-f", str(config)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
