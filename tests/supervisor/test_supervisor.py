"""A supervisor and its processes, as `halfsync serve --workers` starts them."""

import os
import re
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving, children, stop
from tests.wsgi import until

APP = """
import os, time
CODE = "first"
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/die":
        os._exit(7)
    if path == "/slow":
        os.write(2, b"begun\\n")
    while path == "/slow" and not os.path.exists("go"):
        time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{CODE} {os.getppid() if PROCESS else os.getpid()}".encode()]
PROCESS = PROCESS_MODEL
"""


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def application(model: tuple[str, ...]) -> str:
    """Return an application that names its serving process: in `process` that is the parent of the child."""
    return APP.replace("PROCESS_MODEL", str("process" in model))


def serve(tmp_path: Path, model: tuple[str, ...], *options: str) -> Serving:
    return Serving(tmp_path, application(model), *model, *options)


def answer(address: tuple[str, int], target: str = "/") -> tuple[str, int]:
    """Return the code's name, and the pid of the process that answered."""
    response = fetch(address, target)
    assert response.status == 200
    code, pid = response.body.decode().split()
    return code, int(pid)


def test_all_processes_serve_and_sigterm_ends_them(tmp_path: Path, model: tuple[str, ...]) -> None:
    with serve(tmp_path, model, "--workers", "3") as serving, ExitStack() as stack:
        until(lambda: len(children(serving.process.pid)) == 3)
        assert "3 processes" in serving.wait_line("serves")
        seen: set[int] = set()
        while len(seen) < 3:  # each takes its share
            connection = stack.enter_context(Connection(serving.address, timeout_s=30))
            connection.send(build("/"))
            seen.add(int(connection.response().body.split()[1]))
        assert seen == children(serving.process.pid)
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not [pid for pid in seen if Path(f"/proc/{pid}").exists()]
        assert "halfsync stopped" in serving.lines[-1]


def test_sighup_brings_new_code_to_all(tmp_path: Path, model: tuple[str, ...]) -> None:
    with serve(tmp_path, model, "--workers", "2") as serving:
        serving.wait_line("all 2 processes serve")
        before = children(serving.process.pid)
        (tmp_path / "served.py").write_text(application(model).replace("first", "second"))
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        until(lambda: len(children(serving.process.pid)) == 2)
        assert not before & children(serving.process.pid)
        assert {answer(serving.address)[0] for _ in range(10)} == {"second"}


def test_reload_is_not_complete_while_an_old_process_may_accept(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    with serve(tmp_path, model, "--workers", "1") as serving:
        serving.wait_line("1 process serves")
        (old,) = children(serving.process.pid)
        (tmp_path / "served.py").write_text(application(model).replace("first", "second"))
        stop(old)
        serving.signal(signal.SIGHUP)
        assert answer(serving.address)[0] == "second"
        assert not [line for line in serving.lines if "the reload is complete" in line]
        os.kill(old, signal.SIGCONT)
        serving.wait_line("the reload is complete")
        assert answer(serving.address)[0] == "second"


def test_reload_is_complete_before_the_old_process_has_ended(tmp_path: Path) -> None:
    text = (
        application(())
        + """
def linger(worker):
    while not os.path.exists("go"):
        time.sleep(0.005)
"""
    )
    with Serving(tmp_path, text, "--workers", "1", "--worker-exit", "served:linger") as serving:
        serving.wait_line("1 process serves")
        (old,) = children(serving.process.pid)
        (tmp_path / "served.py").write_text(text.replace("first", "second"))
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        assert old in children(serving.process.pid) and answer(serving.address)[0] == "second"
        (tmp_path / "go").touch()
        until(lambda: old not in children(serving.process.pid))


def test_reload_of_broken_code_changes_nothing(tmp_path: Path) -> None:
    with serve(tmp_path, (), "--workers", "2") as serving:
        serving.wait_line("all 2 processes serve")
        before = children(serving.process.pid)
        (tmp_path / "served.py").write_text("raise RuntimeError('half written')")
        serving.signal(signal.SIGHUP)
        assert "ended with exit code 3" in serving.wait_line("the reload failed")
        assert [line for line in serving.lines if "half written" in line]
        assert children(serving.process.pid) == before
        assert answer(serving.address)[0] == "first"
        (tmp_path / "served.py").write_text(application(()).replace("first", "third"))
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        assert answer(serving.address)[0] == "third"


def test_reload_reads_the_settings_again(tmp_path: Path) -> None:
    (tmp_path / "halfsync.toml").write_text("workers = 1\n")
    with serve(tmp_path, ()) as serving:
        assert "(1 process," in serving.wait_line("serves")
        (tmp_path / "halfsync.toml").write_text("workers = 3\n")
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        until(lambda: len(children(serving.process.pid)) == 3)
        (tmp_path / "halfsync.toml").write_text("workres = 3\n")
        serving.signal(signal.SIGHUP)
        assert "workres" in serving.wait_line("the reload failed")
        assert answer(serving.address)[0] == "first"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTRAP])
def test_process_that_is_killed_is_replaced(tmp_path: Path, number: signal.Signals) -> None:
    with serve(tmp_path, (), "--workers", "2") as serving:
        serving.wait_line("all 2 processes serve")
        victim = min(children(serving.process.pid))
        os.kill(victim, number)
        serving.wait_line(f"process {victim} was killed by signal {number.value}")
        until(lambda: len(children(serving.process.pid) - {victim}) == 2)
        assert answer(serving.address)[0] == "first"


def test_process_that_ends_itself_is_replaced(tmp_path: Path) -> None:
    with serve(tmp_path, (), "--workers", "1") as serving:
        with pytest.raises((ConnectionError, AssertionError)):
            fetch(serving.address, "/die")
        serving.wait_line("ended with exit code 7")
        assert answer(serving.address)[0] == "first"


@pytest.mark.parametrize(
    ("text", "code"),
    [("raise RuntimeError('no database')", 3), ("app = 7", 3), ("import os; os._exit(0)", 3)],
)
def test_application_that_cannot_be_loaded_ends_it(tmp_path: Path, text: str, code: int) -> None:
    serving = Serving(tmp_path, text, "--workers", "4")
    try:
        assert serving.exit_code() == code
        assert "cannot serve" in serving.lines[-1]
        assert sum("Traceback" in line for line in serving.lines) == (
            "raise" in text
        )  # one has tried, no more
    finally:
        serving.__exit__(None, None, None)


def test_hanging_import_ends_it(tmp_path: Path) -> None:
    serving = Serving(tmp_path, "import time; time.sleep(1000)", "--workers", "2", "--boot-timeout", "1s")
    try:
        assert serving.exit_code() == 3
        assert "was not ready within 1 s" in serving.lines[-1]
    finally:
        serving.__exit__(None, None, None)


def test_processes_end_when_their_supervisor_is_killed(tmp_path: Path, model: tuple[str, ...]) -> None:
    with serve(tmp_path, model, "--workers", "2") as serving, ExitStack() as stack:
        until(lambda: len(children(serving.process.pid)) == 2)
        orphans = children(serving.process.pid)
        connection = stack.enter_context(Connection(serving.address, timeout_s=30))
        connection.send(build("/slow"))
        serving.wait_line("begun")
        serving.signal(signal.SIGKILL)
        serving.wait_lines("the supervisor has died", 2)
        (tmp_path / "go").touch()
        assert connection.response().status == 200
        until(lambda: not [pid for pid in orphans if alive(pid)])


def alive(pid: int) -> bool:
    try:
        return not re.search(r"State:\s+Z", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return False


def test_ttin_and_ttou_change_the_number(tmp_path: Path) -> None:
    with serve(tmp_path, (), "--workers", "1") as serving:
        serving.signal(signal.SIGTTIN)
        until(lambda: len(children(serving.process.pid)) == 2)
        serving.wait_line("2 serving processes are wanted")
        until(lambda: len({answer(serving.address)[1] for _ in range(5)}) >= 1)
        serving.signal(signal.SIGTTOU)
        serving.wait_line("1 serving process is wanted")
        until(lambda: len(children(serving.process.pid)) == 1)
        assert answer(serving.address)[0] == "first"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--max-requests", "20", "--max-requests-jitter", "5"), "(max_requests)"),
        (("--max-lifetime", "300ms"), "(max_lifetime)"),
        (("--max-rss", "1m"), "(max_rss)"),
    ],
)
def test_processes_are_replaced_when_they_have_had_enough(
    tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    with serve(tmp_path, (), "--workers", "2", *options) as serving:
        until(lambda: len(children(serving.process.pid)) == 2)
        first = children(serving.process.pid)
        while not first.isdisjoint(children(serving.process.pid)):
            assert answer(serving.address)[0] == "first"
        serving.wait_line(line)


def test_a_process_that_a_drain_ends_is_not_replaced(tmp_path: Path, model: tuple[str, ...]) -> None:
    with serve(tmp_path, model, "--workers", "2", "--drain-delay", "300ms") as serving:
        serving.wait_line("all 2 processes serve")
        serving.signal(signal.SIGTERM)
        serving.wait_line("keeps serving for 0.3 s and then drains")
        own = children(serving.process.pid)
        for pid in own:
            os.kill(pid, signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not [line for line in serving.lines if "replacing it" in line], serving.lines


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
@pytest.mark.parametrize("options", [(), ("--workers", "1"), ("--threads", "auto")])
def test_lines_at_start_and_end_are_of_the_log(tmp_path: Path, level: str, options: tuple[str, ...]) -> None:
    """They have time and process, and follow its level."""
    (tmp_path / "served.py").write_text(application(()))
    with socket.socket(socket.AF_UNIX) as client:
        serving = Serving(tmp_path, application(()), "--log-level", level, *options, bind="unix:s")
        try:
            until(lambda: client.connect_ex(str(tmp_path / "s")) == 0, 30)
            client.sendall(build("/"))
            with Connection(client) as connection:
                assert connection.response().status == 200
            serving.signal(signal.SIGTERM)
            assert serving.exit_code() == 0
        finally:
            serving.__exit__(None, None, None)
    shown = level in ("debug", "info")
    form = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[\d+\] INFO halfsync: ")
    assert all(map(form.match, serving.lines)), serving.lines
    for part in (
        "serves served:app on",
        "drains",
        "halfsync stopped",
        *(["auto: "] if "auto" in options else []),
    ):
        assert bool([line for line in serving.lines if part in line]) is shown, serving.lines


def test_new_connections_are_refused_while_it_drains(tmp_path: Path, model: tuple[str, ...]) -> None:
    with (
        serve(tmp_path, model, "--workers", "2", "--graceful-timeout", "60s") as serving,
        ExitStack() as stack,
    ):
        serving.wait_line("all 2 processes serve")
        connection = stack.enter_context(Connection(serving.address, timeout_s=30))
        connection.send(build("/slow"))
        serving.signal(signal.SIGTERM)
        serving.wait_line("drains")

        def refuses() -> bool:
            try:
                socket.create_connection(serving.address, timeout=30).close()
            except ConnectionRefusedError:
                return True
            return False

        until(refuses)
        (tmp_path / "go").touch()
        assert connection.response().status == 200
        assert serving.exit_code() == 0
        assert "1 request was still finished, none cut off" in serving.lines[-1]


def test_second_sigterm_ends_now(tmp_path: Path) -> None:
    with serve(tmp_path, (), "--workers", "1", "--graceful-timeout", "60s") as serving, ExitStack() as stack:
        connection = stack.enter_context(Connection(serving.address, timeout_s=30))
        connection.send(build("/slow"))
        serving.wait_line("begun")
        serving.signal(signal.SIGTERM)
        serving.wait_line("drains")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert "1 cut off" in serving.lines[-1]


def test_a_process_that_gets_sigterm_while_it_ends_does_so_in_order(tmp_path: Path) -> None:
    text = (
        application(())
        + """
class Last:
    def __del__(self, write=os.write, exists=os.path.exists, sleep=time.sleep):
        write(2, b"the interpreter ends\\n")
        while not exists("go"):
            sleep(0.005)
last = Last()
"""
    )
    with Serving(tmp_path, text, "--workers", "1") as serving:
        serving.wait_line("1 process serves")
        (old,) = children(serving.process.pid)
        os.kill(old, signal.SIGTERM)
        serving.wait_line("the interpreter ends")
        os.kill(old, signal.SIGTERM)
        (tmp_path / "go").touch()
        until(lambda: old not in children(serving.process.pid))
        assert not [line for line in serving.lines if "ERROR" in line], serving.lines


HOOKS = """
import os
def tell(what):
    return lambda worker: os.write(2, f"hook {what} {worker.number} {worker.pid == os.getpid()}\\n".encode())
forked, ready, ended = tell("forked"), tell("ready"), tell("ended")
def fails(worker): raise RuntimeError("no connection for the hook")
"""


def test_hooks_are_called_in_each_process(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(HOOKS)
    named = ("--post-fork", "hooks:forked", "--worker-ready", "hooks:ready", "--worker-exit", "hooks:ended")
    with serve(tmp_path, (), "--workers", "2", *named) as serving:
        serving.wait_lines("hook ready", 2)
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
    hooks = [line for line in serving.lines if line.startswith("hook")]
    assert sorted(hooks) == sorted(
        f"hook {what} {number} True" for what in ("forked", "ready", "ended") for number in (1, 2)
    )


def test_number_of_a_hook_stays_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(HOOKS)
    with serve(tmp_path, (), "--workers", "2", "--worker-ready", "hooks:ready") as serving:
        for number in (1, 2, 3):
            serving.wait_lines("hook ready", 2 * number)
            serving.wait_lines("2 processes serve", number)
            hooks = [line for line in serving.lines if line.startswith("hook")][-2:]
            assert sorted(hooks) == ["hook ready 1 True", "hook ready 2 True"], serving.lines
            serving.signal(signal.SIGHUP)


def test_post_fork_that_fails_keeps_it_from_serving(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(HOOKS)
    serving = Serving(tmp_path, application(()), "--workers", "2", "--post-fork", "hooks:fails")
    try:
        assert serving.exit_code() == 3
        assert [line for line in serving.lines if "no connection for the hook" in line]
        assert "cannot serve" in serving.lines[-1]
    finally:
        serving.__exit__(None, None, None)


def test_preload_loads_once_and_logs_what_is_shared(tmp_path: Path, model: tuple[str, ...]) -> None:
    text = application(model) + (
        "import socket, threading\n"
        "os.write(2, b'loaded\\n')\n"
        "threading.Thread(target=time.sleep, args=(1000,), name='ticker', daemon=True).start()\n"
        "pair = socket.socketpair()\n"
    )
    with Serving(tmp_path, text, *model, "--workers", "3", "--preload") as serving:
        serving.wait_line("all 3 processes serve")
        assert answer(serving.address)[0] == "first"
        assert serving.lines.count("loaded") == 1
        assert "'ticker'" in serving.wait_line("the thread")
        assert "pair of unix sockets" in serving.wait_line("is open")
        serving.signal(signal.SIGHUP)
        serving.wait_line("a restart loads it again")
        serving.wait_line("the reload is complete")
        assert serving.lines.count("loaded") == 1
        assert answer(serving.address)[0] == "first"


def test_service_manager_is_notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        told: list[str] = []

        def wait(part: str) -> None:
            while not told or part not in told[-1]:
                told.append(manager.recv(4096).decode())

        with serve(tmp_path, (), "--workers", "2", "--pidfile", "pid") as serving:
            wait("READY=1\nSTATUS=2 processes serve")
            assert (tmp_path / "pid").read_text() == f"{serving.process.pid}\n"
            wait("WATCHDOG=1")
            serving.signal(signal.SIGHUP)
            wait("RELOADING=1")
            wait("READY=1")
            (tmp_path / "served.py").write_text("broken")
            serving.signal(signal.SIGHUP)
            wait("RELOADING=1")
            wait("READY=1\nSTATUS=the reload failed")
            serving.signal(signal.SIGTERM)
            wait("STOPPING=1")
            assert serving.exit_code() == 0
            assert not (tmp_path / "pid").exists()


@pytest.mark.parametrize("options", [("--threads", "auto"), ("--workers", "auto")])
def test_auto_is_logged_at_the_start(tmp_path: Path, options: tuple[str, ...]) -> None:
    with serve(tmp_path, (), *options) as serving:
        assert "halfsync auto: " in serving.lines[0] and "affinity" in serving.lines[0]
        assert answer(serving.address)[0] == "first"
        if "--workers" in options:
            serving.wait_line("processes serve")
        assert sum("halfsync auto: " in line for line in serving.lines) == 1


WARM = """
import os
asked = 0
def app(environ, start_response):
    global asked
    asked += 1
    path = environ["PATH_INFO"]
    os.write(2, f"asked for {path} {asked}\\n".encode())
    start_response("503 Not yet" if path == "/broken" else "200 OK", [("Content-Type", "text/plain")])
    return [b"first 1"]
"""


def test_new_process_is_asked_before_it_serves(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Serving(tmp_path, WARM, *model, "--workers", "2", "--warmup", "/warm?up=1") as serving:
        serving.wait_line("all 2 processes serve")
        assert serving.lines.count("asked for /warm 1") == 2
        assert answer(serving.address)[0] == "first"


def test_warmup_that_is_answered_with_an_error_keeps_it_from_serving(tmp_path: Path) -> None:
    serving = Serving(tmp_path, WARM, "--workers", "2", "--warmup", "/broken")
    try:
        assert serving.exit_code() == 3
        assert [line for line in serving.lines if "the request for /broken was answered 503" in line]
    finally:
        serving.__exit__(None, None, None)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "supervised"])
def test_sigusr1_opens_the_access_log_again(
    tmp_path: Path, model: tuple[str, ...], workers: tuple[str, ...]
) -> None:
    log = tmp_path / "access.log"
    with serve(tmp_path, model, *workers, "--access-log", str(log)) as serving:
        assert answer(serving.address, "/before")[0] == "first"
        until(lambda: "/before" in log.read_text())
        log.rename(tmp_path / "access.log.1")
        serving.signal(signal.SIGUSR1)
        until(log.exists)
        until(lambda: answer(serving.address, "/after") and "/after" in log.read_text())
        assert "/before" in (tmp_path / "access.log.1").read_text()
