"""What becomes of each of gunicorn's settings: its value here, or the reason why it does not move."""

from collections.abc import Callable
from typing import Any

import pytest

from halfsync.migration.gunicorn import KEPT, NAMES, convert
from halfsync.migration.hooks import HOOKS, find_missing
from halfsync.settings import BY_NAME, Settings
from halfsync.settings.elsewhere import advice, counterpart

FILE = "gunicorn.conf.py"
ALWAYS = {"workers": 1, "threads": 1}


def moved(**values: Any) -> dict[str, Any]:
    """Return our settings in the place of these; what is always written only if it differs."""
    done = convert(values, FILE)
    assert not done.left, done.left
    found = {name: one.value for name, one in done.moved.items()}
    Settings.from_options(**found)
    return {name: value for name, value in found.items() if ALWAYS.get(name) != value}


def left(**values: Any) -> str:
    """Return why a setting does not move: the last of these."""
    return convert(values, FILE).left[list(values)[-1]]


def test_every_setting_of_gunicorn_is_known() -> None:
    config = pytest.importorskip("gunicorn.config")
    assert {one.name for one in config.KNOWN_SETTINGS} <= set(NAMES)


def test_every_name_has_a_counterpart_or_a_reason() -> None:
    for name in NAMES:
        assert name in BY_NAME or advice(name), name
    assert set(HOOKS) <= set(NAMES)
    assert all(counterpart(name) in BY_NAME for name in KEPT)
    assert all(ours in BY_NAME for ours in HOOKS.values() if ours)


def test_without_settings_it_is_one_process_with_one_thread() -> None:
    done = convert({}, FILE)
    assert {name: one.value for name, one in done.moved.items()} == ALWAYS
    assert "$WEB_CONCURRENCY" in done.moved["workers"].notes[0]
    assert done.left == {}


@pytest.mark.parametrize(
    ("values", "ours"),
    [
        ({"bind": "0.0.0.0:80"}, {"bind": ["0.0.0.0:80"]}),
        ({"bind": "localhost"}, {"bind": ["localhost:8000"]}),
        ({"bind": "[::1]"}, {"bind": ["[::1]:8000"]}),
        ({"bind": "tcp://[::1]:81"}, {"bind": ["[::1]:81"]}),
        ({"bind": ":81,fd://3"}, {"bind": [":81", "fd://3"]}),
        ({"bind": ["unix:///run/x.sock"], "umask": 0o007}, {"bind": ["unix:///run/x.sock"], "unix_mode": "0660"}),
        ({"umask": "0o22", "bind": "unix:/x"}, {"bind": ["unix:/x"], "unix_mode": "0644"}),
        ({"umask": 0}, {}),
        ({"workers": "3"}, {"workers": 3}),
        ({"worker_class": "gthread", "threads": 4}, {"threads": 4}),
        ({"threads": 4}, {"threads": 4}),
        ({"worker_class": "gthread", "worker_connections": 50}, {"max_connections": 50}),
        ({"timeout": 60}, {"request_timeout": "1m"}),
        ({"timeout": 0}, {"request_timeout": "0s"}),
        ({"threads": 2, "keepalive": 5}, {"threads": 2, "keep_alive": "5s"}),
        ({"threads": 2, "keepalive": 0}, {"threads": 2, "keep_alive": "0s"}),
        ({"graceful_timeout": 90}, {"graceful_timeout": "90s"}),
        ({"max_requests": 1000, "max_requests_jitter": 50}, {"max_requests": 1000, "max_requests_jitter": 50}),
        ({"limit_request_line": 0}, {"max_request_line": 2**20}),
        ({"limit_request_line": 4094}, {"max_request_line": 4094}),
        ({"limit_request_fields": 32768}, {"max_fields": 100}),
        ({"limit_request_field_size": 0}, {"max_field": 65535}),
        ({"preload_app": True, "pidfile": "x.pid"}, {"preload": True, "pidfile": "x.pid"}),
        ({"preload_app": False, "pidfile": None, "raw_env": []}, {}),
        ({"user": 1000, "group": "www"}, {"user": 1000, "group": "www"}),
        ({"wsgi_app": "shop.wsgi:app"}, {"wsgi_app": "shop.wsgi:app"}),
        ({"wsgi_app": "shop:create()"}, {"wsgi_app": "shop:create", "factory": True}),
        (
            {"certfile": "a.pem", "keyfile": "b.pem", "ciphers": "ECDHE+AESGCM"},
            {"certfile": "a.pem", "keyfile": "b.pem", "ciphers": "ECDHE+AESGCM"},
        ),
        ({"raw_env": ["A=b=c,d", "E="]}, {"env": {"A": "b=c,d", "E": ""}}),
        ({"pythonpath": "/a, /b"}, {"pythonpath": ["/a", "/b"]}),
        ({"accesslog": "-", "access_log_format": "%(h)s"}, {"access_log": "-", "log_format": "%(h)s"}),
        ({"errorlog": "-", "loglevel": "WARNING"}, {"log_level": "warning"}),
        ({"syslog": True}, {"access_log": "syslog:localhost:514"}),
        ({"syslog": True, "syslog_addr": "unix:///dev/log#dgram"}, {"access_log": "syslog:/dev/log"}),
        ({"syslog": True, "syslog_facility": "LOG_LOCAL1"},
         {"access_log": "syslog:localhost:514", "syslog_facility": "local1"}),
        ({"syslog_addr": "udp://log:1"}, {}),
        ({"forwarded_allow_ips": "*"}, {"forwarded_allow_ips": ["*"]}),
        ({"forwarded_allow_ips": "10.0.0.1", "bind": "unix:/x"},
         {"bind": ["unix:/x"], "forwarded_allow_ips": ["10.0.0.1", "unix"]}),
        ({"proxy_protocol": True}, {"proxy_protocol": True}),
        ({"proxy_protocol": "off"}, {}),
        ({"tmp_upload_dir": "/tmp"}, {"temp_dir": "/tmp"}),
        ({"reload": True, "reload_extra_files": ["a/x.html", "b/x.html"]},
         {"reload": True, "reload_include": ["x.html"]}),
        ({"secure_scheme_headers": {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https",
          "X-FORWARDED-SSL": "on"}}, {}),
        ({"secure_scheme_headers": {"X-FORWARDED-PROTO": "https", "X-Forwarded-SSL": "yes"}},
         {"secure_scheme_headers": {"X-Forwarded-Ssl": "yes"}}),
        ({"secure_scheme_headers": {"X-FORWARDED-PROTO": "https"}}, {}),
        ({"what_gunicorn_does_not_know": 1, "os": ...}, {}),
    ],
    ids=str,
)  # fmt: skip
def test_values_move(values: dict[str, Any], ours: dict[str, Any]) -> None:
    assert moved(**values) == ours


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"bind": "run/x.sock"}, "cannot be moved"),
        ({"workers": 0}, "its value 0 cannot be moved"),
        ({"workers": "many"}, "its value 'many' cannot be moved"),
        ({"worker_class": "gevent"}, "threads run the application"),
        ({"worker_class": "uvicorn.workers.UvicornWorker"}, "halfsync serves WSGI"),
        ({"worker_class": "gthread", "timeout": 30}, "no limit for a request"),
        ({"worker_connections": 10}, "sync workers do not use it"),
        ({"worker_class": "gevent", "worker_connections": 10}, "greenlets"),
        ({"keepalive": 5}, "close each connection"),
        ({"umask": 0o22}, "unix sockets alone"),
        ({"wsgi_app": "shop:create('prod')"}, "a call with arguments"),
        ({"raw_env": ["PYTHONPATH=/x"]}, "set pythonpath"),
        ({"errorlog": "/var/log/e.log"}, "2>>/var/log/e.log"),
        ({"syslog_addr": "tcp://log:1", "syslog": True}, "not reached by UDP"),
        ({"syslog": True, "accesslog": "x.log"}, "one place"),
        ({"access_log_format": "%(nonsense)s"}, "cannot be moved"),
        ({"logger_class": object}, "docs/logging.md"),
        ({"logconfig_dict": {"version": 1}}, "set up logging in the application"),
        ({"ca_certs": "x"}, "let a proxy in front ask"),
        ({"secure_scheme_headers": {"X-SSL": "1"}}, "does not begin with X-Forwarded-"),
        ({"secure_scheme_headers": {"X-FORWARDED-PROTO": "tls"}}, "no scheme here"),
        ({"statsd_host": "localhost:8125"}, "Prometheus"),
        ({"worker_tmp_dir": "/dev/shm"}, "no process is watched by a file"),
        ({"paste": "x.ini"}, "module:callable"),
        ({"preload_app": True, "reload": True}, "keeps the code"),
        ({"post_fork": "no function"}, "no function"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_move_has_a_reason(values: dict[str, Any], reason: str) -> None:
    assert reason in left(**values)


def fork(server: Any, worker: Any) -> None:
    server.log.info("%s", worker.pid)


def old(server: Any, worker: Any) -> None:
    server.log.info("%s %s", worker.age, server.cfg.bind)


def init(worker: Any) -> None:
    worker.log.info("%d", worker.number)


@pytest.mark.parametrize("name", ["pre_fork", "post_fork", "worker_exit", "child_exit"])
def test_hooks_are_named_where_they_are(name: str) -> None:
    assert moved(**{name: fork}) == {name: f"{FILE}:{name}"}
    assert "uses server.cfg, worker.age, which" in left(**{name: old})


def test_the_hook_after_the_start_of_a_worker_is_worker_ready() -> None:
    assert moved(post_worker_init=init) == {"worker_ready": f"{FILE}:post_worker_init"}


@pytest.mark.parametrize("name", [name for name, ours in HOOKS.items() if not ours])
def test_hooks_without_a_counterpart(name: str) -> None:
    assert left(**{name: fork})


@pytest.mark.parametrize(
    ("hook", "missing"),
    [
        (lambda server: server.cfg, ["server.cfg"]),
        (lambda worker: worker.number, []),
        (lambda server, worker: (server.pid, worker.pid), []),
        (print, []),
    ],
)
def test_what_a_hook_uses(hook: Callable[..., object], missing: list[str]) -> None:
    assert find_missing(hook) == missing


def test_computed_values_say_so() -> None:
    done = convert({"workers": 5}, FILE, {"workers": "os.cpu_count() * 2 + 1"})
    assert done.moved["workers"].notes == [
        '"auto" counts the processors when it starts', "the value now of os.cpu_count() * 2 + 1"
    ]  # fmt: skip
