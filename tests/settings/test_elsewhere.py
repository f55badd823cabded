"""Hints for users of other servers: the option that halfsync has instead of theirs."""

import subprocess
import sys
from pathlib import Path

import pytest

from halfsync.errors import UsageError
from halfsync.settings import BY_NAME, SETTINGS, Settings, resolve
from halfsync.settings.elsewhere import _HINTS, DIFFERENT, counterpart, explain, hint
from tests.faults.serving import environment

SAID = {
    "--timeout": "--request-timeout", "-t": "--request-timeout", "--harakiri": "--request-timeout",
    "--pid": "--pidfile", "-p": "--pidfile", "--pid-file": "--pidfile", "--pidfile2": "--pidfile",
    "--ssl-certfile": "--certfile", "--ssl-keyfile": "--keyfile", "--ssl-keyfile-password": "--key-password-file",
    "--ca-certs": "proxy", "--ssl-version": "--tls-min-version", "--insecure-bind": "--bind http://HOST:PORT",
    "--print-config": "halfsync check", "--check-config": "halfsync check",
    "--log-file": "standard error", "--error-logfile": "standard error", "--logto": "standard error",
    "--access-logfile": "--access-log", "--access-logformat": "--log-format",
    "--name": "setproctitle", "-n": "setproctitle", "--process-name": "setproctitle",
    "--reuse-port": "share the sockets", "--app-dir": "--chdir",
    "-k": "--model", "--worker-class": "--model", "-D": "foreground", "--daemon": "foreground",
    "--daemonize": "foreground",
    "--worker-connections": "--max-connections", "--limit-concurrency": "--queue-size",
    "--limit-max-requests": "--max-requests", "--limit-request-line": "--max-request-line",
    "--limit-request-field_size": "--max-field", "--max-request-body-size": "--max-body",
    "--timeout-keep-alive": "--keep-alive", "--timeout-graceful-shutdown": "--graceful-timeout",
    "--host": "--bind", "--port": "--bind", "-P": "--bind", "--uds": "--bind unix:PATH", "--fd": "--bind fd://N",
    "--listen": "--backlog", "-l": "--backlog", "--http": "--bind", "--socket": "--bind unix:PATH",
    "-s": "--bind unix:PATH",
    "--processes": "--workers", "--master": "supervisor", "-M": "supervisor", "--blocking-threads": "--threads",
    "--uid": "--user", "-u": "--user", "--gid": "--group", "-g": "--group", "-m": "--unix-mode",
    "--wsgi-file": "module:callable", "--module": "module:callable", "--call": "--factory",
    "--url-prefix": "--root-path", "--proxy-headers": "--forwarded-allow-ips",
    "--trusted-proxy": "--forwarded-allow-ips",
    "--preload-app": "--preload", "--reload-dirs": "--reload", "--reload-extra-file": "--reload",
    "--static-map": "--static", "--static-path-mount": "--static", "--raw-env": "--env NAME=VALUE",
    "--ini": "--config", "--interface": "WSGI", "--lifespan": "WSGI", "--loop": "WSGI", "--statsd-host": "Prometheus",
    "--no-sendfile": "leave it out", "--workers-lifetime": "--max-lifetime", "--workers-max-rss": "--max-rss",
    "--secure-scheme-header": "--secure-scheme-headers",
    "--url-scheme": "X-Forwarded-Proto", "--worker-tmp-dir": "no process is watched by a file",
    "--statsd-prefix": "Prometheus", "--dirty-app": "task queue", "--http2-cleartext": "HTTP/1.1",
    "--log-config": "logging", "--unix-socket-perms": "--unix-mode", "--chmod-socket": "--unix-mode",
}  # fmt: skip


OPTIONS = {
    name for setting in SETTINGS for name in (*setting.aliases, setting.short) if name
}  # besides the names


def spell(name: str) -> str:
    return BY_NAME[name].flag


@pytest.mark.parametrize("option", SAID)
def test_options(option: str) -> None:
    assert SAID[option] in hint(option, spell, BY_NAME)


def test_every_hint_can_be_written_and_none_is_for_a_setting_of_ours() -> None:
    seen: set[str] = set()
    for text, names in _HINTS:
        for name in names.split():
            assert name not in BY_NAME
            assert name not in OPTIONS
            assert name not in seen
            seen.add(name)
            line = hint(f"--{name}", spell, BY_NAME)
            assert line
            assert "{" not in line
            assert line == hint(name.replace("_", "-"), spell, BY_NAME)
        assert not text.endswith(".")
    for setting in SETTINGS:
        assert hint(setting.flag, spell, BY_NAME) == ""


def test_in_the_words_of_each_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown setting 'timeout'; use request_timeout, "):
        Settings.from_options(timeout=30)
    with pytest.raises(UsageError, match=r"^\$HALFSYNC_WORKER_CLASS: .*; use HALFSYNC_MODEL: "):
        resolve({}, environ={"HALFSYNC_WORKER_CLASS": "gevent"}, directory=tmp_path)
    (tmp_path / "halfsync.toml").write_text('pid = "x"\n')
    with pytest.raises(UsageError, match=r"use pidfile$"):
        resolve({}, environ={}, directory=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--timeout", "30"], "no such option --timeout; use --request-timeout"),
        (["-k", "gevent"], "no such option -k; use --model"),
        (["-kgevent"], "no such option -k; use --model"),
        (["-t", "30"], "no such option -t; use --request-timeout"),
        (["-D"], "no such option -D; leave it out"),
        (
            [
                "-p",
                "x.pid",
                "--pid",
                "y.pid",
                "-u",
                "0",
                "-g",
                "0",
                "-e",
                "A=1",
                "--access-logfile",
                "-",
                "--uid",
                "0",
                "--pythonpath",
                ".",
                "--threads",
                "x",
            ],
            "--threads: 'x' is not",
        ),
        (["--ssl-certfile=x"], "no such option --ssl-certfile; use --certfile"),
        (["--print-config"], "no such option --print-config; use `halfsync check"),
        (["--bind", "::1"], "write it as [::1]:8000"),
        (["--bind", "run/x.sock"], "write it as unix:run/x.sock"),
        (["--config", "conf.py"], "halfsync import-config conf.py"),
        (["--worker", "3"], "no such option --worker; did you mean --workers?"),
        (["--nonsense"], "see `halfsync serve --help`"),
    ],
    ids=str,
)
def test_the_command_line_says_it(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "conf.py").write_text("workers = 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "halfsync", "serve", "shop:app", *arguments],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr


def test_other_names_of_an_option_are_unique_and_are_none_of_a_setting() -> None:
    names = [name for setting in SETTINGS for name in (*setting.aliases, setting.short) if name]
    assert len(names) == len(set(names))
    assert not set(names) & set(BY_NAME)
    assert all(counterpart(name) for name in names)


def test_counterparts() -> None:
    assert counterpart("bind") == "bind"
    assert counterpart("accesslog") == counterpart("access_logfile") == "access_log"
    assert counterpart("paste") == counterpart("proc_name") == counterpart("nonsense") == ""


def test_explanations_are_for_people() -> None:
    assert explain("backlog") == "the same"
    assert explain("threads").startswith("the same: gunicorn has 1")
    assert explain("accesslog") == "use `access_log` FILE, or - for standard output"
    assert set(DIFFERENT) <= set(BY_NAME)
