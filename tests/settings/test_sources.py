"""Where a setting comes from, which source wins, and how a mistake in each is reported."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from halfsync.errors import UsageError
from halfsync.settings import SETTINGS, Setting, Settings, resolve
from halfsync.settings.sources import BYTES_MOST


def settle(directory: Path, environ: dict[str, str] | None = None, **flags: object) -> Settings:
    return resolve(flags, environ=environ or {}, directory=directory)


def write(directory: Path, text: str, name: str = "halfsync.toml") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    assert settle(tmp_path).threads == 4
    write(tmp_path, "threads = 5")
    assert settle(tmp_path).threads == 5
    environ = {"HALFSYNC_THREADS": "6"}
    assert settle(tmp_path, environ).threads == 6
    assert settle(tmp_path, environ, threads="7").threads == 7


def test_each_origin_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "threads = 5")
    settings = settle(tmp_path, {"HALFSYNC_BACKLOG": "6", "PORT": "7000"}, max_body="1m")
    assert settings.origins["threads"] == str(path)
    assert settings.origins["backlog"] == "$HALFSYNC_BACKLOG"
    assert settings.origins["bind"] == "$PORT"
    assert settings.origins["max_body"] == "--max-body"
    assert settings.origins["poller"] == "default"
    assert (settings.config, settings.origins["config"]) == (str(path), "found")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_has_its_variable(tmp_path: Path, setting: Setting) -> None:
    name = setting.name
    with pytest.raises(UsageError) as caught:
        settle(tmp_path, {f"HALFSYNC_{name.upper()}": "\0"})
    assert caught.value.origin == f"$HALFSYNC_{name.upper()}"


def test_toml_values_may_be_native_or_textual(tmp_path: Path) -> None:
    write(
        tmp_path,
        'bind = ["127.0.0.1:1", "unix:/x"]\nkeep_alive = 2.5\nmax_body = "1k"\nfactory = true\nbacklog = 9\n',
    )
    settings = settle(tmp_path)
    assert settings.bind == ("127.0.0.1:1", "unix:/x")
    assert (settings.keep_alive, settings.max_body, settings.factory) == (2.5, 1024, True)
    assert settings.backlog == 9


def test_the_table_of_pyproject_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "[tool.halfsync]\nthreads = 9\n[tool.other]\nx = 1\n", "pyproject.toml")
    settings = settle(tmp_path)
    assert (settings.threads, settings.config) == (9, str(path))


def test_halfsync_toml_comes_before_pyproject(tmp_path: Path) -> None:
    write(tmp_path, "[tool.halfsync]\nthreads = 9\n", "pyproject.toml")
    write(tmp_path, "backlog = 8")
    assert (settle(tmp_path).threads, settle(tmp_path).backlog) == (4, 8)


@pytest.mark.parametrize(
    "text", ["this is not TOML", "[project]\nname = 'halfsync-demo'\n", "tool = 1 # halfsync"]
)
def test_a_pyproject_without_our_table_is_no_error(tmp_path: Path, text: str) -> None:
    write(tmp_path, text, "pyproject.toml")
    assert settle(tmp_path).config is None


def test_a_named_file_is_read_and_the_directory_is_not(tmp_path: Path) -> None:
    write(tmp_path, "threads = 5")
    named = write(tmp_path, "backlog = 7", "other.toml")
    settings = settle(tmp_path, config=str(named))
    assert (settings.threads, settings.backlog, settings.origins["config"]) == (4, 7, "--config")
    settings = settle(tmp_path, {"HALFSYNC_CONFIG": str(named)})
    assert (settings.backlog, settings.origins["config"]) == (7, "$HALFSYNC_CONFIG")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("halfsync.toml", "thread = 1", "unknown setting 'thread'; did you mean 'threads'?"),
        ("halfsync.toml", "max-body = 1", "did you mean 'max_body'?"),
        ("halfsync.toml", 'config = "x"', "unknown setting 'config'"),
        ("halfsync.toml", "threads = ", "not valid TOML"),
        ("halfsync.toml", "threads = 'x'", "'x' is not a whole number"),
        ("halfsync.toml", "[tool.halfsync]\nthreads = 1", "unknown setting 'tool'"),
        ("pyproject.toml", "[tool.halfsync]\nthread = 1", "did you mean 'threads'?"),
        ("pyproject.toml", "[tool]\nhalfsync = 1", "tool.halfsync is not a table"),
        ("pyproject.toml", "[project]", "has no table [tool.halfsync]"),
    ],
)
def test_mistakes_in_a_file_name_the_file(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = write(tmp_path, text, name)
    with pytest.raises(UsageError) as caught:
        settle(tmp_path, config=str(path))
    assert says in str(caught.value)
    assert str(path) in caught.value.origin


def test_a_file_that_cannot_be_read_is_an_error_only_if_it_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--config: cannot read .*gone.toml: no such file"):
        settle(tmp_path, config=str(tmp_path / "gone.toml"))
    (tmp_path / "halfsync.toml").mkdir()
    with pytest.raises(UsageError, match=r"cannot read .*halfsync.toml: is a directory"):
        settle(tmp_path)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # a path of a socket is short


@pytest.mark.parametrize("name", ["halfsync.toml", "pyproject.toml"])
@pytest.mark.parametrize(
    "make",
    [
        make_pipe,
        make_socket,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("/dev/full"),
        lambda path: path.symlink_to("/dev/tty"),
    ],
    ids=["pipe", "socket", "zero", "full", "tty"],
)
def test_what_is_no_regular_file_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], name: str
) -> None:
    """A read could wait for ever, or never end. What is found, and not named, is not read at the start either."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / name)
    with pytest.raises(UsageError, match=f"{name}: .*{name} is not a regular file"):
        resolve({}, environ={}, directory=tmp_path)
    with pytest.raises(UsageError, match=f"--config: .*{name} is not a regular file"):
        resolve({"config": str(tmp_path / name)}, environ={}, directory=tmp_path, again=True)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/null"])
def test_a_device_is_no_file_of_settings(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match=f"--config: {device} is not a regular file"):
        settle(tmp_path, config=device)


def test_a_pipe_that_is_named_is_read_at_the_start(tmp_path: Path) -> None:
    """It is what a shell gives for `<(command)`, which may take its time."""
    reading, writing = os.pipe()

    def write_late() -> None:
        os.write(writing, b"threads = ")
        written.wait(0.1)
        os.write(writing, b"9")
        os.close(writing)

    written = threading.Event()
    thread = threading.Thread(target=write_late)
    thread.start()
    try:
        assert settle(tmp_path, config=f"/dev/fd/{reading}").threads == 9
    finally:
        thread.join()
        os.close(reading)


def test_a_pipe_without_a_writer_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe is a pipe without a writer"):
        settle(tmp_path, config=str(tmp_path / "pipe"))


def test_a_file_of_settings_has_a_greatest_size(tmp_path: Path) -> None:
    path = write(tmp_path, "threads = 9\n".ljust(BYTES_MOST, "#"))
    assert settle(tmp_path).threads == 9
    path.write_text("threads = 9\n".ljust(BYTES_MOST + 1, "#"))
    with pytest.raises(UsageError, match="has more than 1048576 bytes"):
        settle(tmp_path)


def test_bytes_that_are_not_utf8_are_reported(tmp_path: Path) -> None:
    (tmp_path / "halfsync.toml").write_bytes(b'chdir = "\xff"')
    with pytest.raises(UsageError, match="not valid TOML"):
        settle(tmp_path)


def test_an_unknown_variable_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        settle(tmp_path, {"HALFSYNC_THREDS": "1"})
    assert str(caught.value) == (
        "$HALFSYNC_THREDS: unknown setting in the environment; did you mean 'HALFSYNC_THREADS'?"
    )


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    environ = {"HALFSYNC_THREADS": "", "PORT": "", "WEB_CONCURRENCY": ""}
    assert settle(tmp_path, environ) == Settings.from_options()


def test_port_binds_all_interfaces_unless_anything_else_binds(tmp_path: Path) -> None:
    environ = {"PORT": "5000"}
    assert settle(tmp_path, environ).bind == ("0.0.0.0:5000",)
    assert settle(tmp_path, environ, bind=(":1",)).bind == (":1",)
    assert settle(tmp_path, {**environ, "HALFSYNC_BIND": ":2"}).bind == (":2",)
    write(tmp_path, 'bind = ":3"')
    assert settle(tmp_path, environ).bind == (":3",)


def test_the_sockets_of_systemd_are_used_unless_anything_binds(tmp_path: Path) -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "PORT": "5000"}
    settings = settle(tmp_path, environ)
    assert (settings.bind, settings.origins["bind"]) == (("systemd",), "$LISTEN_FDS")
    assert settle(tmp_path, environ, bind=(":1",)).bind == (":1",)
    assert settle(tmp_path, {**environ, "HALFSYNC_BIND": ":2"}).bind == (":2",)
    assert settle(tmp_path, {**environ, "LISTEN_PID": "1"}).bind == ("0.0.0.0:5000",)
    assert settle(tmp_path, {**environ, "LISTEN_FDS": "0"}).bind == ("0.0.0.0:5000",)
    write(tmp_path, 'bind = ":3"')
    assert settle(tmp_path, environ).bind == (":3",)


def test_a_wrong_port_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^\$PORT: 'http' in '0\.0\.0\.0:http' is not a port"):
        settle(tmp_path, {"PORT": "http"})


def test_web_concurrency_is_the_number_of_workers(tmp_path: Path) -> None:
    assert settle(tmp_path, {"WEB_CONCURRENCY": "1"}).origins["workers"] == "$WEB_CONCURRENCY"
    assert settle(tmp_path, {"WEB_CONCURRENCY": "4"}).workers == 4
    assert settle(tmp_path, {"WEB_CONCURRENCY": "4", "HALFSYNC_WORKERS": "2"}).workers == 2
    assert settle(tmp_path).workers is None
    with pytest.raises(
        UsageError, match=r"^\$WEB_CONCURRENCY: 'many' is not a whole number from 1 to 1024 or auto"
    ):
        settle(tmp_path, {"WEB_CONCURRENCY": "many"})


def test_a_flag_corrects_a_wrong_variable(tmp_path: Path) -> None:
    assert (
        settle(tmp_path, {"WEB_CONCURRENCY": "x", "HALFSYNC_THREADS": "x"}, workers="1", threads="2").threads
        == 2
    )


def test_variables_of_a_kubernetes_service_named_halfsync_are_no_error(tmp_path: Path) -> None:
    service = {
        "HALFSYNC_SERVICE_HOST": "10.0.0.1",
        "HALFSYNC_SERVICE_PORT": "80",
        "HALFSYNC_SERVICE_PORT_HTTP": "80",
        "HALFSYNC_PORT": "tcp://10.0.0.1:80",
        "HALFSYNC_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert settle(tmp_path, service) == Settings.from_options()
    with pytest.raises(UsageError, match="HALFSYNC_PORT: unknown"):
        settle(tmp_path, {"HALFSYNC_PORT": "80"})


@pytest.mark.parametrize(
    "service", ["HALFSYNC", "HALFSYNC_WEB", "HALFSYNC_THREADS", "HALFSYNC_A_2_PORT", "HALFSYNC_PORT_80"]
)
def test_variables_of_kubernetes_services_whose_names_begin_with_halfsync(
    tmp_path: Path, service: str
) -> None:
    for protocol in ("TCP", "UDP", "SCTP"):
        url = f"{protocol.lower()}://10.0.0.1:8080"
        link = f"{service}_PORT_8080_{protocol}"
        variables = {
            f"{service}_SERVICE_HOST": "10.0.0.1",
            f"{service}_SERVICE_PORT": "8080",
            f"{service}_SERVICE_PORT_HTTP_METRICS": "8080",
            f"{service}_PORT": url,
            link: url,
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": "8080",
            f"{link}_ADDR": "10.0.0.1",
        }
        assert settle(tmp_path, variables) == Settings.from_options()
        for variable, value in variables.items():  # and each by itself: no order is promised
            assert settle(tmp_path, {variable: value}) == Settings.from_options()


@pytest.mark.parametrize(
    "variable",
    [
        "HALFSYNC_WEB_PORT", "HALFSYNC_PORT_80", "HALFSYNC_PORT_80_HTTP", "HALFSYNC_PORT_X_TCP", "HALFSYNC_SERVICE",
        "HALFSYNC_WEB_SERVICE_HOSTS", "HALFSYNC_PORT_80_TCP_NAME", "HALFSYNC_SERVICE_HOST_X",
    ],
)  # fmt: skip
def test_variables_that_only_resemble_those_of_kubernetes_are_errors(tmp_path: Path, variable: str) -> None:
    with pytest.raises(UsageError, match=f"{variable}: unknown"):
        settle(tmp_path, {variable: "80"})


def test_no_setting_has_a_variable_that_kubernetes_may_set(tmp_path: Path) -> None:
    for setting in SETTINGS:
        assert not setting.variable.endswith(
            ("_PORT", "_SERVICE_HOST", "_ADDR", "_PROTO", "_TCP", "_UDP", "_SCTP")
        )
        assert "_SERVICE_PORT" not in setting.variable


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gunicorn.conf.py", 'bind = "0.0.0.0:8000"\nworkers = 4\n', "this is Python"),
        ("empty.py", "", "this is Python"),
        ("settings.conf", "import os\nworkers = os.cpu_count() * 2 + 1\n", "this is Python"),
        (
            "settings",
            "def post_fork(server, worker):\n    pass\n",
            r"this is Python, .* \(.*at line 1, column 5\)",
        ),
        ("gunicorn.conf", 'bind = f"{host}:{port}"\n', "this is Python"),
        ("gunicorn.conf", 'bind = env("BIND")\n', "this is Python"),
        ("settings.ini", "[uwsgi]\nmodule = wsgi:app\n", "not valid TOML"),
        ("settings.yaml", "bind: :8000\n", "not valid TOML"),
        ("python:shop.conf", None, "name a TOML file"),
        ("file:shop/conf.toml", None, "name a TOML file"),
    ],
)
def test_a_file_in_the_form_of_another_server(
    tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    path = name if content is None else str(tmp_path / name)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=says):
        settle(tmp_path, {"HALFSYNC_CONFIG": path})


@pytest.mark.parametrize(
    "mistake",
    [
        "threads = 2\nthreads = 3", "factory = True", "workers = None", "proxy_protocol = yes", "threads = 2,",
        'bind = ["a:1" "b:2"]', "workers: 2", '{"workers": 2}', "pidfile = run/web.pid", "bind = localhost",
        "keep_alive = 2 * 30", "umask = 0o", "static = {}\nstatic = {}", "threads = [1, 2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["halfsync.toml", "pyproject.toml", "settings", "settings.conf"])
def test_a_mistake_in_toml_is_reported_with_its_place(tmp_path: Path, name: str, mistake: str) -> None:
    """Much of it could be read as Python."""
    write(tmp_path, f"[tool.halfsync]\n{mistake}\n", name)
    found = {} if name.endswith(".toml") else {"HALFSYNC_CONFIG": str(tmp_path / name)}
    with pytest.raises(
        UsageError, match=r"not valid TOML: .*\((at line [23], column [0-9]+|at end of document)\)"
    ):
        settle(tmp_path, found)


@pytest.mark.parametrize("mistake", ["import os", "threads = os.cpu_count()", "def post_fork(worker): pass"])
def test_a_file_named_toml_is_read_as_toml(tmp_path: Path, mistake: str) -> None:
    write(tmp_path, f"{mistake}\n")
    with pytest.raises(UsageError, match=r"not valid TOML: .*\(at line 1, column [0-9]+\)"):
        settle(tmp_path)
