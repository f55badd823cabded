"""Two programs during an upgrade: whichever ends, in whatever way, what they share belongs to the right one."""

import os
import re
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest

from halfsync.settings.setting import OPEN_SOCKETS
from tests.client import Connection, build, fetch
from tests.faults.load import APP as LOADED
from tests.faults.load import Load, was_closed
from tests.faults.serving import MODELS, Serving, children, stop
from tests.faults.test_fleet_faults import limited
from tests.faults.test_supervisor_faults import raising
from tests.listening.test_activation import BECOME
from tests.sharing import first_free_descriptor
from tests.supervisor.test_upgrade import pid_in
from tests.wsgi import until

# As it is loaded it waits for as long as there is a file "hang", or, from the second process on, a file "hang others".
# At "/long" it waits until there is a file "go".
APP = (
    LOADED.replace("def app(", "def loaded(")
    + """
import sys, time
def is_first():
    try:
        os.mkdir("first")
    except FileExistsError:
        return False
    return True
others = os.path.exists("hang others") and not is_first()
while os.path.exists("hang") or (others and os.path.exists("hang others")):
    time.sleep(0.005)
def app(environ, start_response):
    if environ["PATH_INFO"] == "/long":
        os.write(2, b"begun\\n")
        while not os.path.exists("go"):
            time.sleep(0.005)
    return loaded(environ, start_response)
"""
)
# It answers with the variables of a service manager that it sees.
SHOWING = """
import os
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr([name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))]).encode()]
"""
IDLE = 8
# In a pool idle connections end if others wait for their thread.
OPTIONS = ("--workers", "2", "--threads", "16", "--graceful-timeout", "60s")


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


class Watched:
    """A server of several processes, of which everything is printed at the end."""

    serving: Serving
    begins = "all 2 processes serve"  # the log says so once it serves

    def __enter__(self) -> Self:
        try:
            self.serving.__enter__()
            self.serving.wait_line(self.begins)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.serving.__exit__(None, None, None)
        print("\n".join(self.serving.lines))


class Upgrade(Watched):
    """A server that is upgraded, its files, and the two programs."""

    def __init__(self, tmp_path: Path, *options: str, application: str = APP) -> None:
        self.folder, self.pidfile, self.path = tmp_path, tmp_path / "pid", tmp_path / "socket"
        files = ("--pidfile", str(self.pidfile), "-b", f"unix:{self.path}")
        self.serving = Serving(tmp_path, application, *OPTIONS, *options, *files)
        self.old, self.new = self.serving.process.pid, 0

    def begin(self) -> None:
        """Start the new program, and wait until its first process loads the application."""
        before = sum("upgrading: process" in line for line in self.serving.lines)
        os.kill(self.current, signal.SIGUSR2)
        self.serving.wait_lines("upgrading: process", before + 1)
        line = [line for line in self.serving.lines if "upgrading: process" in line][-1]
        self.new = int(re.findall(r"process (\d+) starts", line)[0])
        until(lambda: children(self.new) or not alive(self.new))

    @property
    def current(self) -> int:
        return pid_in(self.pidfile)

    def hang(self, how: str = "hang") -> None:
        """Let new processes wait as they load the application: all, or all but one of the new program."""
        (self.folder / how).touch()

    def go_on(self) -> None:
        """Let new processes wait no longer."""
        for how in ("hang", "hang others"):
            (self.folder / how).unlink(missing_ok=True)

    def begin_with_one(self) -> None:
        """Start a new program of which one process serves, so that it does not say that it serves."""
        self.hang("hang others")
        self.begin()
        until(lambda: len(children(self.new)) == 2)

    def wait_passed(self) -> None:
        """Wait until the new program owns what there is."""
        until(lambda: pid_in(self.pidfile) == self.new)
        if not any("was killed" in line for line in self.serving.lines):
            self.serving.wait_line(
                f"process {self.new} has taken over: this program and its processes are shutting down"
            )

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(str(self.path))
        return made

    def ask_long(self, connections: Sequence[Connection]) -> None:
        """Send a request by each connection, and wait until it is in the application, which waits for `finish_long`."""
        begun = sum("begun" in line for line in self.serving.lines)
        for connection in connections:
            connection.send(build("/long"))
        self.serving.wait_lines("begun", begun + len(connections))

    def finish_long(self, connections: Sequence[Connection]) -> None:
        """Let the application answer, and see that each of these is answered."""
        (self.folder / "go").touch()
        for connection in connections:
            assert connection.response().body == b"small"

    def check(self, owner: int) -> None:
        """See that this program serves by both sockets, and has the pidfile."""
        assert pid_in(self.pidfile) == owner
        with Connection(self.connect()) as connection:
            connection.send(build("/small"))
            assert connection.response().body == b"small"
        assert fetch(self.serving.address, "/small").body == b"small"

    def check_reload(self, owner: int) -> None:
        """See that idle connections, and all requests, live through two reloads."""
        kept = [Connection(self.serving.address) for _ in range(IDLE)]
        for connection in kept:
            ask(connection)
        with Load(lambda: self.serving.address, keeping=3, closing=1) as load:
            for _ in range(2):
                done = sum("the reload is complete" in line for line in self.serving.lines)
                before = children(owner)
                os.kill(owner, signal.SIGHUP)
                self.serving.wait_lines("the reload is complete", done + 1)
                wait_gone(before)
                load.wait_answers(20)
                for connection in kept:
                    ask(connection)
        for connection in kept:
            connection.socket.close()
        assert not load.tally.failures, load.tally.reasons()

    def check_over(self, *pids: int) -> None:
        """Wait for the end of the service, which leaves nothing behind."""
        until(lambda: not any(alive(pid) for pid in (self.old, self.new, *pids)), 60)
        assert not self.path.exists()
        assert not self.pidfile.exists()
        assert not [line for line in self.serving.lines if "the server keeps running" in line], (
            self.serving.lines
        )


def ask(connection: Connection, target: str = "/small") -> None:
    connection.send(build(target))
    assert connection.response().body == b"small"


def wait_gone(pids: set[int]) -> None:
    until(lambda: not any(map(alive, pids)), 30)


def alive(pid: int) -> bool:
    with suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def test_an_application_that_cannot_be_loaded_costs_nothing(tmp_path: Path) -> None:
    with Upgrade(tmp_path) as upgrade:
        (tmp_path / "served.py").write_text("import no_such_module")
        upgrade.begin()
        assert "ended with 3" in upgrade.serving.wait_line("the upgrade failed")
        upgrade.check(upgrade.old)
        os.kill(upgrade.old, signal.SIGTERM)
        upgrade.check_over()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_new_program_that_ends_while_it_boots_costs_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with Upgrade(tmp_path) as upgrade:
        upgrade.hang()
        upgrade.begin()
        orphans = children(upgrade.new)
        assert pid_in(upgrade.pidfile) == upgrade.old
        os.kill(upgrade.new, number)
        upgrade.serving.wait_line("this one keeps serving")
        upgrade.check(upgrade.old)
        upgrade.go_on()
        wait_gone(orphans)
        upgrade.check_reload(upgrade.old)
        upgrade.begin()  # and another one is not kept from it
        upgrade.wait_passed()
        upgrade.check(upgrade.new)
        os.kill(upgrade.new, signal.SIGTERM)
        upgrade.check_over()


def test_a_new_program_that_hangs_costs_nothing(tmp_path: Path) -> None:
    with Upgrade(tmp_path, "--boot-timeout", "1s") as upgrade:
        upgrade.hang()
        upgrade.begin()
        upgrade.serving.wait_line("the upgrade failed")
        upgrade.check(upgrade.old)
        os.kill(upgrade.old, signal.SIGTERM)
        upgrade.check_over()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("group", [False, True], ids=["old", "group"])
def test_what_ends_the_old_program_before_the_passing_ends_both(
    tmp_path: Path, number: signal.Signals, group: bool
) -> None:
    with Upgrade(tmp_path) as upgrade, ExitStack() as stack:
        upgrade.hang()
        upgrade.begin()
        running = stack.enter_context(Connection(upgrade.serving.address))
        running.send(build("/long"))
        upgrade.serving.wait_line("begun")
        if group:
            os.killpg(upgrade.old, number)
        else:
            os.kill(upgrade.old, number)
        wait_gone({upgrade.new})
        if number == signal.SIGTERM:
            assert alive(upgrade.old), "it waits for what runs"
            (tmp_path / "go").touch()
            assert running.response().body == b"small"
        upgrade.check_over()


def test_after_sigterm_to_the_group_both_programs_answer_what_they_have(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    """The new program serves by one process, and has not said that it serves: its second one still loads."""
    with Upgrade(tmp_path, *model) as upgrade, ExitStack() as stack:
        upgrade.begin_with_one()
        running = [stack.enter_context(Connection(upgrade.serving.address)) for _ in range(16)]
        upgrade.ask_long(running)
        os.killpg(upgrade.old, signal.SIGTERM)
        upgrade.serving.wait_line("drains")
        upgrade.finish_long(running)
        upgrade.check_over()


def test_the_new_program_owns_everything_if_the_old_one_is_killed(tmp_path: Path) -> None:
    with Upgrade(tmp_path) as upgrade:
        upgrade.hang()
        upgrade.begin()
        orphans = children(upgrade.old) - {upgrade.new}
        os.kill(upgrade.old, signal.SIGKILL)
        upgrade.serving.process.wait()
        wait_gone(orphans)
        upgrade.wait_passed()  # while it boots
        upgrade.go_on()
        upgrade.serving.wait_lines("all 2 processes serve", 2)
        upgrade.check(upgrade.new)
        upgrade.check_reload(upgrade.new)
        os.kill(upgrade.new, signal.SIGTERM)
        upgrade.check_over()


def test_a_new_program_that_is_killed_after_the_passing_leaves_nothing_behind(tmp_path: Path) -> None:
    with Upgrade(tmp_path) as upgrade, Connection(upgrade.serving.address) as running:
        running.send(build("/long"))
        upgrade.serving.wait_line("begun")
        upgrade.begin()
        upgrade.wait_passed()
        orphans = children(upgrade.new)
        os.kill(upgrade.new, signal.SIGKILL)
        upgrade.serving.wait_line(f"process {upgrade.new}, which had taken over, has ended")
        until(lambda: not upgrade.path.exists())
        assert pid_in(upgrade.pidfile) != upgrade.old
        assert not [line for line in upgrade.serving.lines if "keeps serving" in line]
        (tmp_path / "go").touch()
        assert running.response().body == b"small"
        assert upgrade.serving.process.wait(30) == 0
        wait_gone(orphans)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_ends_the_new_program_after_the_passing_ends_the_service(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Upgrade(tmp_path) as upgrade, Connection(upgrade.serving.address) as running:
        running.send(build("/long"))
        upgrade.serving.wait_line("begun")
        upgrade.begin()
        upgrade.wait_passed()
        os.kill(upgrade.new, number)
        if number == signal.SIGTERM:
            until(lambda: not upgrade.path.exists())
            assert alive(upgrade.old) and alive(upgrade.new), "the service has a request yet"
            assert pid_in(upgrade.pidfile) == upgrade.new
            (tmp_path / "go").touch()
            assert running.response().body == b"small"
        upgrade.check_over()
        assert not [line for line in upgrade.serving.lines if "keeps serving" in line]


def test_a_first_sigterm_cuts_nothing_that_an_old_program_finishes(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    with Upgrade(tmp_path, *model) as upgrade, ExitStack() as stack:
        running = [stack.enter_context(Connection(upgrade.serving.address)) for _ in range(4)]
        upgrade.ask_long(running[:2])
        upgrade.begin()
        upgrade.wait_passed()
        os.kill(upgrade.old, signal.SIGTERM)  # which changes nothing
        upgrade.check(upgrade.new)
        upgrade.ask_long(running[2:])
        os.kill(upgrade.new, signal.SIGTERM)
        upgrade.serving.wait_line("drains")
        assert alive(upgrade.old)
        upgrade.finish_long(running)
        upgrade.check_over()


def test_a_sigterm_to_the_group_cuts_nothing_after_the_passing(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    with Upgrade(tmp_path, *model) as upgrade, ExitStack() as stack:
        running = [stack.enter_context(Connection(upgrade.serving.address)) for _ in range(4)]
        upgrade.ask_long(running[:2])
        upgrade.begin()
        upgrade.wait_passed()
        upgrade.ask_long(running[2:])
        os.killpg(upgrade.old, signal.SIGTERM)
        upgrade.serving.wait_line("drains")
        heard = "already shutting down"  # from the old one
        until(lambda: any(heard in line for line in upgrade.serving.lines) or any(map(was_closed, running)))
        assert not any(map(was_closed, running))
        upgrade.finish_long(running)
        upgrade.check_over()


def test_a_second_sigterm_to_an_old_program_ends_it_now(tmp_path: Path) -> None:
    with Upgrade(tmp_path) as upgrade, Connection(upgrade.serving.address) as running:
        running.send(build("/long"))
        upgrade.serving.wait_line("begun")
        upgrade.begin()
        upgrade.wait_passed()
        os.kill(upgrade.old, signal.SIGTERM)
        upgrade.serving.wait_line("a second SIGTERM ends it now")
        os.kill(upgrade.old, signal.SIGTERM)
        assert running.cut() == b""
        assert upgrade.serving.process.wait(30) == 0
        upgrade.check(upgrade.new)
        os.kill(upgrade.new, signal.SIGTERM)
        upgrade.check_over()


def test_the_process_between_may_end_at_any_time(tmp_path: Path) -> None:
    with Upgrade(tmp_path) as upgrade:
        own = children(upgrade.old)
        upgrade.hang()
        upgrade.begin()
        (between,) = children(upgrade.old) - own
        assert children(between) == {upgrade.new}
        os.kill(between, signal.SIGKILL)
        wait_gone({between})
        upgrade.check(upgrade.old)
        upgrade.go_on()
        upgrade.wait_passed()
        upgrade.check(upgrade.new)
        upgrade.hang()
        old = upgrade.new
        upgrade.begin()
        (between,) = children(old) - {pid for pid in children(old) if not children(pid)}
        os.kill(between, signal.SIGKILL)
        wait_gone({between})
        os.kill(upgrade.new, signal.SIGKILL)  # its exit code is not reported
        upgrade.serving.wait_line("the upgrade failed: the new program ended; this one keeps serving")
        upgrade.go_on()
        upgrade.check(old)
        os.kill(old, signal.SIGTERM)
        upgrade.check_over(old)


@contextmanager
def idle(upgrade: Upgrade) -> Iterator[list[Connection]]:
    """Have idle connections, which must all be there in the end."""
    kept = [Connection(upgrade.serving.address) for _ in range(IDLE)]
    for connection in kept:
        ask(connection)
    yield kept
    for connection in kept:
        ask(connection)
        connection.socket.close()


def let_it_fail(upgrade: Upgrade) -> None:
    (upgrade.folder / "served.py").write_text("import no_such_module")
    upgrade.begin()
    upgrade.serving.wait_line("the upgrade failed")
    (upgrade.folder / "served.py").write_text(APP)


def kill_it(upgrade: Upgrade) -> None:
    upgrade.hang()
    upgrade.begin()
    orphans = children(upgrade.new)
    os.kill(upgrade.new, signal.SIGKILL)
    upgrade.serving.wait_line("the upgrade failed")
    upgrade.go_on()
    wait_gone(orphans)


@pytest.mark.parametrize("end", [let_it_fail, kill_it])
def test_an_upgrade_that_fails_ruins_no_reload(
    tmp_path: Path, model: tuple[str, ...], end: Callable[[Upgrade], None]
) -> None:
    with Upgrade(tmp_path, *model) as upgrade, idle(upgrade):
        end(upgrade)
        upgrade.check_reload(upgrade.old)


def test_connections_of_a_new_program_go_back_if_it_is_called_off(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    """Its first process serves, and its second one does not yet: so it cannot own anything."""
    with Upgrade(tmp_path, *model) as upgrade, ExitStack() as stack:
        own = children(upgrade.old)
        upgrade.begin_with_one()
        for pid in own:
            stop(pid)  # so that the new one accepts
        made = [stack.enter_context(Connection(upgrade.serving.address)) for _ in range(IDLE)]
        for connection in made:
            ask(connection)
        for pid in own:
            os.kill(pid, signal.SIGCONT)
        os.kill(upgrade.new, signal.SIGTERM)
        upgrade.serving.wait_line("is cancelled: the new program ended with 0")
        for connection in made:
            ask(connection)
        upgrade.go_on()
        upgrade.check(upgrade.old)
        upgrade.check_reload(upgrade.old)
        for connection in made:
            ask(connection)


def test_upgrades_in_a_row_ruin_no_reload(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Upgrade(tmp_path, *model) as upgrade, idle(upgrade) as kept:
        for _ in range(3):
            upgrade.begin()
            upgrade.wait_passed()
            for connection in kept:
                ask(connection)
            upgrade.check_reload(upgrade.new)


def test_an_old_program_that_is_killed_after_the_passing_closes_no_idle_connection(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    with Upgrade(tmp_path, *model) as upgrade, idle(upgrade), ExitStack() as stack:
        running = stack.enter_context(Connection(upgrade.serving.address))
        running.send(build("/long"))
        upgrade.serving.wait_line("begun")
        upgrade.begin()
        upgrade.wait_passed()
        os.kill(upgrade.old, signal.SIGKILL)
        (tmp_path / "go").touch()
        assert running.response().body == b"small"
        upgrade.check(upgrade.new)
        upgrade.check_reload(upgrade.new)


@pytest.mark.parametrize("what", ["", "descriptors"])
def test_a_program_that_cannot_be_forked_costs_no_pidfile(tmp_path: Path, what: str) -> None:
    """what: the system has none of it left; "": it gives no process."""
    pidfile, armed = tmp_path / "pid", tmp_path / "raise"
    case = "halfsync.supervisor.upgrade:fork OSError"
    with raising(tmp_path, case, "--workers", "1", "--pidfile", str(pidfile)) as serving:
        serving.wait_line("1 process serves")
        before = pidfile.stat()
        pid = serving.process.pid
        with ExitStack() as stack:
            if what:
                stack.enter_context(limited(pid, resource.RLIMIT_NOFILE, first_free_descriptor(pid)))
            else:
                armed.touch()
            serving.signal(signal.SIGUSR2)
            serving.wait_line("the upgrade failed")
        assert pid_in(pidfile) == pid
        assert pidfile.stat().st_ctime_ns == before.st_ctime_ns  # not even for a moment
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not pidfile.exists()


def test_a_pidfile_of_another_name_follows(tmp_path: Path) -> None:
    settings, first, second = (tmp_path / name for name in ("halfsync.toml", "first", "second"))
    settings.write_text('workers = 1\npidfile = "first"\n')
    with Serving(tmp_path, APP) as serving:
        serving.wait_line("1 process serves")
        settings.write_text('workers = 1\npidfile = "second"\n')
        serving.signal(signal.SIGUSR2)
        assert serving.process.wait(30) == 0
        assert not first.exists()
        new = pid_in(second)
        assert fetch(serving.address, "/small").body == b"small"
        os.kill(new, signal.SIGTERM)
        wait_gone({new})
        assert not second.exists()


def test_settings_of_sockets_that_are_open_stay_as_they_are_and_are_named(tmp_path: Path) -> None:
    """As by a reload. One that has changed at a reload before is named as well, and none of a socket that is new."""
    settings = tmp_path / "halfsync.toml"
    text = 'workers = 1\npidfile = "pid"\nbind = ["127.0.0.1:0", "unix:s"]\n'
    settings.write_text(text)
    with Serving(tmp_path, APP, bind="") as serving:
        serving.wait_line("1 process serves")
        settings.write_text(text + 'unix_mode = "0600"\n')
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        settings.write_text(text + f'unix_mode = "0600"\nunix_owner = "{os.getuid()}"\nbacklog = 100\n')
        serving.signal(signal.SIGUSR2)
        assert serving.process.wait(30) == 0
        new = pid_in(tmp_path / "pid")
        for name, number in (("backlog", 1), ("unix_owner", 1), ("unix_mode", 2)):
            line = f"{name} has changed: {OPEN_SOCKETS}"
            assert sum(line in one for one in serving.lines) == number, serving.lines
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o666
        settings.write_text(
            text.replace("unix:s", "unix:t") + 'unix_mode = "0600"\n'
        )  # the backlog is as it was
        told = sum(OPEN_SOCKETS in line for line in serving.lines)
        os.kill(new, signal.SIGUSR2)
        wait_gone({new})
        assert sum(OPEN_SOCKETS in line for line in serving.lines) == told, serving.lines
        assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600
        new = pid_in(tmp_path / "pid")
        os.kill(new, signal.SIGTERM)
        wait_gone({new})


def test_a_umask_that_the_settings_name_no_longer_is_not_inherited(tmp_path: Path) -> None:
    settings, pidfile = tmp_path / "halfsync.toml", tmp_path / "pid"
    settings.write_text('workers = 1\npidfile = "pid"\numask = "0147"\n')
    with Serving(tmp_path, APP) as serving:
        serving.wait_line("1 process serves")
        assert umask_of(serving.process.pid) == "0147"
        settings.write_text('workers = 1\npidfile = "pid"\n')
        serving.signal(signal.SIGUSR2)
        assert serving.process.wait(30) == 0
        new = pid_in(pidfile)
        assert {umask_of(pid) for pid in (new, *children(new))} == {umask_of(os.getpid())}
        os.kill(new, signal.SIGTERM)
        wait_gone({new})


def umask_of(pid: int) -> str:
    """Return the umask of a process, in octal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return status.partition("Umask:")[2].split()[0]


def test_the_file_of_a_socket_that_the_new_program_does_without_is_removed_at_the_passing(
    tmp_path: Path,
) -> None:
    settings, kept, dropped = (tmp_path / name for name in ("halfsync.toml", "kept", "dropped"))
    text = 'workers = 1\npidfile = "pid"\nbind = ["127.0.0.1:0", "unix:kept", "unix:dropped"]\n'
    settings.write_text(text)
    with Serving(tmp_path, APP, bind="") as serving:
        serving.wait_line("1 process serves")
        settings.write_text(text.replace(', "unix:dropped"', ""))
        (tmp_path / "hang").touch()
        serving.signal(signal.SIGUSR2)
        new = int(re.findall(r"process (\d+) starts", serving.wait_line("upgrading: process"))[0])
        until(lambda: children(new))
        assert dropped.is_socket()
        (tmp_path / "hang").unlink()
        assert serving.process.wait(30) == 0
        assert kept.is_socket() and not dropped.exists()
        os.kill(new, signal.SIGTERM)
        wait_gone({new})
        assert not kept.exists()


# Processes of a new program wait as they are loaded while there is a file "hang new"; those of the old one do not. If
# there is a file "let one", one of the new does not either.
HANGING_NEW = APP.replace(
    "def app(",
    """
def is_new():
    with open("pid") as file:
        return int(file.read()) != os.getppid()
while os.path.exists("hang new") and is_new() and not (os.path.exists("let one") and is_first()):
    time.sleep(0.005)
os.close(os.open(f"loaded {os.getpid()}", os.O_CREAT))
def app(""",
)


class Changing(Watched):
    """A server whose binds, read from a file, are changed while a new program boots. Both have "a" at first.

    binds: whether the second unix socket, "b", is there from the start.
    """

    def __init__(self, folder: Path, *options: str, binds: str = "a", workers: int = 1) -> None:
        self.folder, self.workers = folder, workers
        if workers == 1:
            self.begins = "1 process serves"
        self.configure(binds)
        self.serving = Serving(folder, HANGING_NEW, *options, bind="")

    def configure(self, names: str) -> None:
        """Let the settings name these unix sockets."""
        binds = ", ".join(['"127.0.0.1:0"', *(f'"unix:{self.folder}/{name}"' for name in names)])
        (self.folder / "halfsync.toml").write_text(
            f"workers = {self.workers}\nbind = [{binds}]\n"
            'threads = 16\npidfile = "pid"\nboot_timeout = "60s"\n'
        )

    def begin(self, *, hangs: bool = True) -> int:
        """Start the new program, whose process waits as it is loaded, and return its number."""
        if hangs:
            (self.folder / "hang new").touch()
        self.serving.signal(signal.SIGUSR2)
        line = self.serving.wait_line("upgrading: process")
        new = int(re.findall(r"process (\d+) starts", line)[0])
        until(lambda: children(new))
        return new

    def reload(self, names: str) -> None:
        """Let the old program, and no other, serve on these unix sockets."""
        done = sum("the reload is complete" in line for line in self.serving.lines)
        self.configure(names)
        self.serving.signal(signal.SIGHUP)
        self.serving.wait_lines("the reload is complete", done + 1)

    def go_on(self) -> None:
        (self.folder / "hang new").unlink()

    def connect(self, name: str) -> Connection:
        """Send a request to a unix socket."""
        made = socket.socket(socket.AF_UNIX)
        made.connect(str(self.folder / name))
        connection = Connection(made, timeout_s=30)
        connection.send(build("/small"))
        return connection

    def check(self, name: str) -> None:
        with self.connect(name) as connection:
            assert connection.response().body == b"small"

    def old_process(self, new: int) -> int:
        """Return the serving process of the old program, once those that a reload has replaced have ended.

        The other child of the old program is the process between (upgrade.py).
        """

        def serving() -> list[int]:
            return [pid for pid in children(self.serving.process.pid) if new not in children(pid)]

        until(lambda: len(serving()) == 1)
        return serving()[0]


@pytest.mark.parametrize("ends", ["passing", "failure", "new", "old"])
def test_the_file_of_a_socket_that_only_the_new_program_serves_on_is_there_as_long_as_it_does(
    tmp_path: Path, ends: str
) -> None:
    """A reload of the old program drops the socket, which the new one was given, while that boots."""
    with Changing(tmp_path, binds="ab") as changing:
        new = changing.begin()
        changing.reload("a")
        assert (tmp_path / "b").is_socket()
        if ends == "passing":
            changing.go_on()
            assert changing.serving.process.wait(30) == 0
            changing.check("b")
            changing.check("a")
            os.kill(new, signal.SIGTERM)
            wait_gone({new})
        elif ends == "old":
            changing.serving.signal(signal.SIGTERM)
            assert changing.serving.process.wait(30) == 0
        else:
            os.kill(new, signal.SIGKILL if ends == "failure" else signal.SIGTERM)
            changing.serving.wait_line("this one keeps serving")
            until(lambda: not (tmp_path / "b").exists())
            changing.check("a")
            changing.reload("ab")
            changing.check("b")
            changing.serving.signal(signal.SIGTERM)
            assert changing.serving.process.wait(30) == 0
        assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_a_socket_of_a_reload_that_fails_stays_for_the_new_program_that_was_given_it(tmp_path: Path) -> None:
    with Changing(tmp_path) as changing:
        own = children(changing.serving.process.pid)
        (tmp_path / "hang").touch()
        changing.configure("ab")
        changing.serving.signal(signal.SIGHUP)
        until(lambda: (tmp_path / "b").is_socket() and children(changing.serving.process.pid) - own)
        (trial,) = children(changing.serving.process.pid) - own
        new = changing.begin(hangs=False)
        os.kill(trial, signal.SIGKILL)
        changing.serving.wait_line("the reload failed")
        (tmp_path / "hang").unlink()
        assert changing.serving.process.wait(30) == 0
        changing.check("b")
        os.kill(new, signal.SIGTERM)
        wait_gone({new})
        assert not (tmp_path / "b").exists()


def test_a_socket_that_neither_program_names_is_closed_at_once(tmp_path: Path) -> None:
    with Changing(tmp_path, binds="ab") as changing:
        changing.configure("a")
        new = changing.begin()
        changing.reload("a")
        until(lambda: not (tmp_path / "b").exists())
        changing.go_on()
        assert changing.serving.process.wait(30) == 0
        os.kill(new, signal.SIGTERM)
        wait_gone({new})


def test_a_socket_that_the_new_program_has_may_be_dropped_and_named_again(tmp_path: Path) -> None:
    with Changing(tmp_path, binds="ab") as changing:
        new = changing.begin()
        before = (tmp_path / "b").stat().st_ino
        changing.reload("a")
        changing.reload("ab")
        changing.check("b")
        assert (tmp_path / "b").stat().st_ino == before
        os.kill(new, signal.SIGKILL)
        changing.serving.wait_line("this one keeps serving")
        changing.check("b")
        changing.serving.signal(signal.SIGTERM)
        assert changing.serving.process.wait(30) == 0
        assert not (tmp_path / "b").exists()


def test_clients_on_a_socket_that_only_the_old_program_has_are_answered_at_the_passing(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    """A reload of the old program adds the socket while the new one boots."""
    with Changing(tmp_path, *model) as changing, ExitStack() as stack:
        new = changing.begin()
        changing.reload("ab")
        serving = changing.old_process(new)
        stop(serving)
        waiting = [stack.enter_context(changing.connect(name)) for name in "bbbbaaaa"]
        changing.go_on()
        changing.serving.wait_line("this program and its processes are shutting down")
        until(lambda: not (tmp_path / "b").exists())
        os.kill(serving, signal.SIGCONT)
        for connection in waiting:
            assert connection.response().body == b"small"
        assert changing.serving.process.wait(30) == 0
        os.kill(new, signal.SIGTERM)
        wait_gone({new})


def test_clients_on_a_socket_that_only_a_new_program_has_are_answered_if_it_is_called_off(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    """A reload of the old program has dropped the socket. Of the new one a process serves, and a second one boots."""
    with Changing(tmp_path, *model, binds="ab", workers=2) as changing, ExitStack() as stack:
        (tmp_path / "let one").touch()
        new = changing.begin()
        until(lambda: len(children(new)) == 2)  # the second one is started once the first serves
        changing.reload("a")
        changing.check("b")
        (serving,) = (pid for pid in children(new) if (tmp_path / f"loaded {pid}").exists())
        stop(serving)
        waiting = [stack.enter_context(changing.connect("b")) for _ in range(4)]
        os.kill(new, signal.SIGTERM)
        changing.serving.wait_line("the upgrade is cancelled: handing connections back to the old program")
        os.kill(serving, signal.SIGCONT)
        for connection in waiting:
            assert connection.response().body == b"small"
        changing.serving.wait_line("this one keeps serving")
        changing.check("a")
        changing.serving.signal(signal.SIGTERM)
        assert changing.serving.process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("whose", ["old", "new"])
def test_a_new_program_that_is_ended_while_it_preloads_leaves_no_file(
    tmp_path: Path, number: signal.Signals, whose: str
) -> None:
    settings, socket_file = tmp_path / "halfsync.toml", tmp_path / "other"
    text = 'workers = 1\npreload = true\npidfile = "pid"\ngraceful_timeout = "0s"\nbind = ["127.0.0.1:0"]\n'
    settings.write_text(text)
    with Serving(tmp_path, APP, bind="") as serving:
        serving.wait_line("1 process serves")
        settings.write_text(text.replace('0"]', '0", "unix:other"]'))
        (tmp_path / "hang").touch()
        serving.signal(signal.SIGUSR2)
        new = int(re.findall(r"process (\d+) starts", serving.wait_line("upgrading: process"))[0])
        until(socket_file.exists)
        os.kill(new if whose == "new" else serving.process.pid, number)
        wait_gone({new})
        assert not socket_file.exists()
        if whose == "new":
            serving.wait_line("this one keeps serving")
            assert fetch(serving.address, "/small").body == b"small"
            serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not (tmp_path / "pid").exists()


def test_three_programs_of_which_the_second_is_killed(tmp_path: Path) -> None:
    with Upgrade(tmp_path) as upgrade, Connection(upgrade.serving.address) as running:
        running.send(build("/long"))
        upgrade.serving.wait_line("begun")
        upgrade.begin()
        upgrade.wait_passed()
        second = upgrade.new
        upgrade.hang()
        upgrade.begin()
        os.kill(second, signal.SIGKILL)
        upgrade.serving.wait_line(f"process {second}, which had taken over, has ended")
        until(lambda: pid_in(upgrade.pidfile) == upgrade.new)
        assert upgrade.path.is_socket()
        upgrade.go_on()
        upgrade.check(upgrade.new)
        (tmp_path / "go").touch()
        assert running.response().body == b"small"
        wait_gone({upgrade.old})
        upgrade.check(upgrade.new)
        os.kill(upgrade.new, signal.SIGTERM)
        upgrade.check_over(second)


def test_three_programs_answer_everything_after_sigterm(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Upgrade(tmp_path, *model) as upgrade, ExitStack() as stack:
        running = [stack.enter_context(Connection(upgrade.serving.address)) for _ in range(3)]
        programs = [upgrade.old]
        for connection in running[:-1]:
            upgrade.ask_long([connection])
            upgrade.begin()
            upgrade.wait_passed()
            programs.append(upgrade.new)
        upgrade.ask_long(running[-1:])
        with idle(upgrade):
            upgrade.check(upgrade.new)
        assert all(map(alive, programs))
        os.kill(upgrade.new, signal.SIGTERM)
        upgrade.serving.wait_line("drains")
        upgrade.finish_long(running)
        upgrade.check_over(*programs)


# The service manager.


class Manager:
    """The messages that a service manager gets, with their senders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[tuple[int, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(30)
        self._socket.bind(str(path))

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._socket.close()

    def wait(self, part: str, sender: int = 0) -> None:
        """Wait for a message of this process, or of any."""
        while True:
            data, rights, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            pid = struct.unpack("iii", rights[0][2])[0]
            self.told.append((pid, data.decode()))
            if part in self.told[-1][1] and sender in (0, pid):
                return


def test_the_watchdog_is_fed_by_whichever_program_is_the_service(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    script = f'export WATCHDOG_PID=$$; exec {sys.executable} -m halfsync serve served:app "$@"'
    command = ("sh", "-c", script, "sh", "-b", "127.0.0.1:0", "--workers", "1", "--pidfile", str(pidfile))
    with Manager(tmp_path / "notify") as manager:
        more = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"}
        with Serving(tmp_path, APP, command=command, more=more) as serving:
            old = serving.process.pid
            manager.wait("READY=1", old)
            manager.wait("WATCHDOG=1", old)
            for _ in range(3):
                (tmp_path / "hang").touch()
                os.kill(old, signal.SIGUSR2)
                for _ in range(3):
                    manager.wait("WATCHDOG=1", old)  # also while the new one boots
                (tmp_path / "hang").unlink()
                manager.wait("MAINPID=", old)
                new = int(manager.told[-1][1].removeprefix("MAINPID="))
                assert not [told for told in manager.told if told[0] == new], "it spoke too early"
                manager.wait("READY=1\nSTATUS=1 process serves", new)
                begun = len(manager.told)
                for _ in range(3):
                    manager.wait("WATCHDOG=1", new)
                assert {told[0] for told in manager.told[begun:]} == {new}
                old = new
            (tmp_path / "served.py").write_text("broken")  # a failed upgrade sends no message
            begun = len(manager.told)
            os.kill(old, signal.SIGUSR2)
            serving.wait_line("the upgrade failed")
            manager.wait("WATCHDOG=1", old)
            assert {told for _, told in manager.told[begun:]} == {"WATCHDOG=1"}
            os.kill(old, signal.SIGTERM)
            manager.wait("STOPPING=1", old)
            wait_gone({old})


def test_a_watchdog_of_another_process_gets_no_message(tmp_path: Path) -> None:
    with Manager(tmp_path / "notify") as manager:
        more = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
        with Serving(tmp_path, APP, "--workers", "1", more=more) as serving:
            manager.wait("READY=1")
            serving.signal(signal.SIGUSR2)
            manager.wait("MAINPID=", serving.process.pid)
            new = int(manager.told[-1][1].removeprefix("MAINPID="))
            manager.wait("READY=1", new)
            os.kill(new, signal.SIGTERM)
            manager.wait("STOPPING=1", new)
            assert not [told for _, told in manager.told if "WATCHDOG" in told]


@pytest.mark.parametrize(
    "binds",
    [
        ("", ""),
        ("systemd", "systemd"),
        ("systemd:web", "systemd:web"),
        ("fd://3", "fd://3"),
        ("", "systemd:web"),
        ("systemd", "systemd:web"),
        ("systemd:web", "systemd"),
        ("fd://3", ""),
        ("systemd:web", "fd://3"),
    ],
)
def test_sockets_of_a_service_manager_are_served_by_each_program(
    tmp_path: Path, binds: tuple[str, str]
) -> None:
    """The settings of the second program may name them in another way; "" names nothing, and so means them all."""
    settings = tmp_path / "halfsync.toml"

    def configure(bind: str) -> None:
        settings.write_text('workers = 1\npidfile = "pid"\n' + (f'bind = "{bind}"\n' if bind else ""))

    configure(binds[0])
    with socket.create_server(("127.0.0.1", 0)) as passed:
        address = passed.getsockname()
        command = (sys.executable, "-c", BECOME, f"web,{passed.fileno()}")
        with Serving(tmp_path, SHOWING, command=command, passed=[passed.fileno()]) as serving:
            passed.close()  # what answers now is the server's own copy
            assert serving.address == address
            for bind in (binds[1], binds[1], binds[0]):
                before = pid_in(tmp_path / "pid")
                configure(bind)
                os.kill(before, signal.SIGUSR2)
                wait_gone({before})
                assert fetch(address).body == b"[]"
            configure("systemd")  # which a reload finds as well
            new = pid_in(tmp_path / "pid")
            os.kill(new, signal.SIGHUP)
            serving.wait_line("the reload is complete")
            assert fetch(address).body == b"[]"
            os.kill(new, signal.SIGTERM)
            wait_gone({new})


@pytest.mark.parametrize("bind", ["fd://3", "systemd", "systemd:web"])
def test_another_socket_with_the_number_of_a_passed_one_is_rejected(tmp_path: Path, bind: str) -> None:
    """A reload does without the passed socket, and the next one opens another that gets its number."""
    settings = tmp_path / "halfsync.toml"
    own = ["127.0.0.1:0", *(f"unix:{tmp_path}/{name}" for name in "abc")]

    def configure(*binds: str) -> None:
        settings.write_text(f'workers = 1\npidfile = "pid"\nbind = {list(binds)!r}\n')

    def reload(pid: int, line: str) -> str:
        before = sum(line in one for one in serving.lines)
        os.kill(pid, signal.SIGHUP)
        serving.wait_lines(line, before + 1)
        return [one for one in serving.lines if line in one][-1]

    configure(own[0], bind)
    with socket.create_server(("127.0.0.1", 0)) as passed:
        address = passed.getsockname()
        command = (sys.executable, "-c", BECOME, f"web,{passed.fileno()}")
        with Serving(tmp_path, SHOWING, command=command, passed=[passed.fileno()]) as serving:
            old = serving.process.pid
            passed.close()
            assert fetch(address).status == 200
            taken = Path(f"/proc/{old}/fd/3").readlink()
            configure(own[0])
            reload(old, "the reload is complete")
            configure(*own)
            reload(old, "the reload is complete")
            assert "socket" in str(Path(f"/proc/{old}/fd/3").readlink()) != str(taken)
            for pid in (old, 0):
                if not pid:
                    configure(*own)
                    os.kill(old, signal.SIGUSR2)
                    wait_gone({old})
                new = pid_in(tmp_path / "pid")
                configure(*own, bind)
                assert "descriptor 3 was closed by an earlier reload" in reload(new, "the reload failed")
            assert fetch(serving.address).status == 200
            os.kill(new, signal.SIGTERM)
            wait_gone({new})


def test_upgrades_leak_no_descriptor(tmp_path: Path) -> None:
    with Upgrade(tmp_path) as upgrade:
        counts = []
        for _ in range(3):
            before = upgrade.current
            upgrade.begin()
            upgrade.wait_passed()
            wait_gone({before})
            until(lambda: len(children(upgrade.new)) == 2)
            counts.append([sorted(descriptors(pid)) for pid in [upgrade.new, *sorted(children(upgrade.new))]])
        assert counts[1] == counts[2]
        os.kill(upgrade.new, signal.SIGTERM)
        upgrade.check_over()


def descriptors(pid: int) -> Iterator[str]:
    """Tell what kind of thing each descriptor of a process is."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            yield str(entry.readlink()).partition(":")[0]
