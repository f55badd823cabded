"""What of a gunicorn configuration moves to halfsync, with which value, and what does not move, and why.

`settings/elsewhere.py` says which of our settings has the place of one of gunicorn's, or why there is none. Here is
what becomes of its value, if that is not simply kept: other units, other bounds, and settings that depend on one
another.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from halfsync.errors import UsageError
from halfsync.migration.hooks import HOOKS, find_missing
from halfsync.settings.declaration import BY_NAME
from halfsync.settings.elsewhere import counterpart, explain
from halfsync.settings.kinds import Count, Duration, Size


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text."""
    return tuple(text.split())


# gunicorn's settings, all of them: a test compares this with the gunicorn that is installed.
NAMES = words("""
config wsgi_app bind backlog workers worker_class threads worker_connections max_requests max_requests_jitter
timeout graceful_timeout keepalive limit_request_line limit_request_fields limit_request_field_size reload
reload_engine reload_extra_files spew check_config print_config preload_app sendfile reuse_port chdir daemon
raw_env pidfile worker_tmp_dir user group umask initgroups tmp_upload_dir secure_scheme_headers
forwarded_allow_ips accesslog disable_redirect_access_to_syslog access_log_format errorlog loglevel
capture_output logger_class logconfig logconfig_dict logconfig_json syslog_addr syslog syslog_prefix
syslog_facility enable_stdio_inheritance statsd_host dogstatsd_tags statsd_prefix enable_backlog_metric
proc_name default_proc_name pythonpath paste on_starting on_reload when_ready pre_fork post_fork
post_worker_init worker_int worker_abort pre_exec pre_request post_request child_exit worker_exit
nworkers_changed on_exit ssl_context proxy_protocol proxy_allow_ips protocol uwsgi_allow_ips keyfile certfile
ssl_version cert_reqs ca_certs suppress_ragged_eofs do_handshake_on_connect ciphers http_protocols
http2_cleartext http2_max_concurrent_streams http2_initial_window_size http2_max_frame_size
http2_max_header_list_size raw_paste_global_conf permit_obsolete_folding strip_header_spaces
permit_unconventional_http_method permit_unconventional_http_version casefold_http_method forwarder_headers
header_map asgi_loop asgi_lifespan asgi_disconnect_grace_period websocket_max_message_size http_parser
root_path dirty_apps dirty_workers dirty_timeout dirty_threads dirty_graceful_timeout on_dirty_starting
dirty_post_fork dirty_worker_init dirty_worker_exit control_socket control_socket_mode control_socket_disable
""")
# Those whose values mean the same here, under a name that elsewhere.py gives.
KEPT = (
    "backlog", "max_requests", "max_requests_jitter", "reload", "chdir", "pidfile", "user", "group", "root_path",
    "access_log_format", "tmp_upload_dir", "certfile", "keyfile", "ciphers",
)  # fmt: skip
SCHEME_HEADERS = {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}
SYNC, GTHREAD, OTHER = "sync", "gthread", "other"
_CLASSES = {
    "sync": SYNC, "gunicorn.workers.sync.SyncWorker": SYNC, "SyncWorker": SYNC,
    "gthread": GTHREAD, "gunicorn.workers.gthread.ThreadWorker": GTHREAD, "ThreadWorker": GTHREAD,
}  # fmt: skip


@dataclass(slots=True)
class Moved:
    """A setting of ours with its value, and what must be said about it. source: the setting of gunicorn's."""

    value: Any
    source: str
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Conversion:
    """What has become of a configuration. moved: by our names. left: gunicorn's names, with the reasons."""

    moved: dict[str, Moved] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def convert(values: Mapping[str, object], file: str, sources: Mapping[str, str] | None = None) -> Conversion:
    """Return what of gunicorn's settings moves. Names that gunicorn does not know do not count, as with gunicorn.

    values: by gunicorn's names. file: the configuration's path, by which hooks in it are named. sources: how the file
    computes a value, by name, if it does.
    """
    return _Converter(values, file, sources or {}).convert()


class _Converter:
    """One conversion. Each method `_NAME` moves one of gunicorn's settings; without one, `_keep` does."""

    def __init__(self, values: Mapping[str, object], file: str, sources: Mapping[str, str]) -> None:
        self._values = {name: values[name] for name in NAMES if name in values}
        self._file = file
        self._sources = sources
        self._done = Conversion()

    def convert(self) -> Conversion:
        for name, value in self._values.items():
            if name not in ("threads", "worker_class", "umask", "syslog_addr") and _is_nothing(value):
                continue
            rule: Callable[[str, Any], None] = getattr(self, f"_{name}", self._keep)
            if name in HOOKS:
                rule = self._hook
            try:
                rule(name, value)
            except (UsageError, TypeError, ValueError, AttributeError) as error:
                self._leave(name, f"its value {_short(value)} cannot be moved: {error}")
        self._complete()
        return self._done

    def _complete(self) -> None:
        """Add what gunicorn has without being told, and halfsync has not."""
        if "workers" not in self._done.moved and "workers" not in self._done.left:
            note = (
                "gunicorn has 1 by default, under a supervisor; remove this line if $WEB_CONCURRENCY is set"
            )
            self._move("workers", "workers", 1, note)
        if "threads" not in self._done.moved:
            self._move_threads(1)
        moved = self._done.moved
        if "reload" in moved and "preload" in moved:
            del moved["reload"]
            self._leave("reload", "preload_app keeps the code that was loaded at the start")

    def _move(self, name: str, ours: str, value: object, *notes: str) -> None:
        """Let our setting have this value, if it takes it. Raises UsageError."""
        setting = BY_NAME[ours]
        setting.convert(value, name)
        said = list(notes)
        if name in self._sources:
            said.append(f"the value now of {self._sources[name]}")
        self._done.moved[ours] = Moved(value, name, said)

    def _leave(self, name: str, reason: str = "") -> None:
        self._done.left[name] = reason or explain(name, quote="")

    def _keep(self, name: str, value: Any) -> None:
        if name in KEPT:
            self._move(name, counterpart(name), value)
        else:
            self._leave(name)

    # Sockets and proxies.

    def _bind(self, name: str, value: Any) -> None:
        binds = [_address(text) for text in _texts(value)]
        self._move(name, "bind", binds)

    @property
    def _has_unix_socket(self) -> bool:
        moved = self._done.moved.get("bind")
        given = self._values.get("bind", ()) if moved is None else moved.value
        return any(text.startswith("unix:") for text in _texts(given))

    def _umask(self, name: str, value: Any) -> None:
        mask = int(value, 0) if isinstance(value, str) else int(value)
        if not self._has_unix_socket:
            if mask:
                self._leave(name, "gunicorn uses it for unix sockets alone, and there is none here")
            return
        note = f"from umask {mask:04o}, which gunicorn uses for unix sockets alone"
        self._move(name, "unix_mode", f"{0o666 & ~mask:04o}", note)

    def _forwarded_allow_ips(self, name: str, value: Any) -> None:
        texts = _texts(value)
        more = ["unix"] if self._has_unix_socket and "*" not in texts and "unix" not in texts else []
        notes = ["gunicorn always trusts unix sockets"] if more else []
        self._move(name, name, [*texts, *more], *notes)

    _proxy_allow_ips = _forwarded_allow_ips

    def _proxy_protocol(self, name: str, value: Any) -> None:
        if str(value).lower() not in ("off", "false"):
            self._move(name, name, True)

    def _secure_scheme_headers(self, name: str, value: Any) -> None:
        """Move the fields that are not gunicorn's own, and of those the ones that the configuration repeats."""
        given = {name.upper(): text for name, text in value.items()}
        if given == SCHEME_HEADERS:
            return
        wanted = {name.title(): text for name, text in given.items() if name != "X-FORWARDED-PROTO"}
        if given.get("X-FORWARDED-PROTO", "https") != "https":
            self._leave(name, f"X-Forwarded-Proto: {given['X-FORWARDED-PROTO']} is no scheme here")
        elif wanted:
            self._move(name, name, wanted)

    # Processes, threads and time.

    @property
    def _worker_kind(self) -> str:
        """Which of gunicorn's workers runs: as gunicorn does, one with threads if there is more than one thread."""
        named = self._values.get("worker_class") or "sync"
        text = named if isinstance(named, str) else getattr(named, "__name__", "")
        kind = _CLASSES.get(text.removeprefix("egg:gunicorn#"), OTHER)
        return GTHREAD if kind == SYNC and self._number("threads", 1) > 1 else kind

    def _number(self, name: str, default: int) -> int:
        try:
            return int(self._values.get(name) or default)  # type: ignore[call-overload, no-any-return]
        except (TypeError, ValueError):
            return default

    def _workers(self, name: str, value: Any) -> None:
        notes = (
            ['"auto" counts the processors when it starts']
            if "cpu_count" in self._sources.get(name, "")
            else []
        )
        self._move(name, name, int(value), *notes)

    def _worker_class(self, name: str, value: Any) -> None:
        if self._worker_kind != OTHER:
            return
        text = value if isinstance(value, str) else getattr(value, "__name__", str(value))
        if "uvicorn" in text.lower() or "asgi" in text.lower():
            self._leave(name, f"{text} serves ASGI, and halfsync serves WSGI")
        else:
            self._leave(
                name,
                f"there is no {text} here: threads run the application. Set threads to how many requests wait at once "
                "for something outside; `halfsync tune` measures it",
            )

    def _threads(self, _name: str, value: Any) -> None:
        self._move_threads(int(value or 1))

    def _move_threads(self, number: int) -> None:
        if self._worker_kind == OTHER:
            self._move("threads", "threads", "auto", "a first guess in the place of greenlets or coroutines")
        elif self._worker_kind == SYNC:
            note = (
                "gunicorn's sync workers run the application in one thread; more are faster if it allows that"
            )
            self._move("threads", "threads", 1, note)
        else:
            self._move("threads", "threads", number)

    def _worker_connections(self, name: str, value: Any) -> None:
        if self._worker_kind == GTHREAD:
            self._move(name, "max_connections", int(value))
        elif self._worker_kind == OTHER:
            self._leave(name, "it limits greenlets; max_connections limits connections, which need none here")
        else:
            self._leave(name, "gunicorn's sync workers do not use it")

    def _timeout(self, name: str, value: Any) -> None:
        if self._worker_kind == SYNC:
            note = "the client is answered 504 and another thread serves; gunicorn would kill the process"
            self._move(name, "request_timeout", _duration("request_timeout", value), note)
        else:
            self._leave(
                name,
                f"of {self._worker_kind if self._worker_kind == GTHREAD else 'these'} workers it is no limit for a "
                "request, but for a process that hangs; request_timeout limits a request",
            )

    def _graceful_timeout(self, name: str, value: Any) -> None:
        self._move(name, name, _duration(name, value))

    def _keepalive(self, name: str, value: Any) -> None:
        if self._worker_kind == SYNC:
            self._leave(
                name, "gunicorn's sync workers close each connection; keep_alive is 75s by default here"
            )
        else:
            self._move(name, "keep_alive", _duration("keep_alive", value))

    # Requests.

    def _limited(self, name: str, value: Any) -> None:
        """Move a limit, as far as our setting goes; 0 is no limit in gunicorn."""
        ours = counterpart(name)
        kind = BY_NAME[ours].kind
        assert isinstance(kind, Size | Count)
        wanted = int(value) or kind.maximum
        fitting = min(max(wanted, kind.minimum), kind.maximum)
        said = "no limit" if not int(value) else value
        self._move(name, ours, fitting, *([f"gunicorn had {said}"] if fitting != int(value) else []))

    _limit_request_line = _limit_request_fields = _limit_request_field_size = _limited

    # The application and its surroundings.

    def _wsgi_app(self, name: str, value: Any) -> None:
        target, call, arguments = str(value).partition("(")
        if call and arguments.strip() != ")":
            self._leave(
                name, f"{value} is a call with arguments: write a function without any, and set factory"
            )
            return
        self._move(name, "wsgi_app", target.strip())
        if call:
            self._move(name, "factory", True)

    def _raw_env(self, name: str, value: Any) -> None:
        pairs = {text.partition("=")[0]: text.partition("=")[2] for text in _texts(value, split=False)}
        self._move(name, "env", pairs)

    def _pythonpath(self, name: str, value: Any) -> None:
        self._move(name, name, _texts(value))

    def _preload_app(self, name: str, _value: Any) -> None:
        self._move(name, "preload", True)

    def _reload_extra_files(self, name: str, value: Any) -> None:
        names = sorted({text.rpartition("/")[2] for text in _texts(value)})
        self._move(name, "reload_include", names, "names of files below the directory of the application")

    # Logs.

    def _accesslog(self, name: str, value: Any) -> None:
        self._move(name, "access_log", value)

    def _errorlog(self, name: str, value: Any) -> None:
        if value != "-":
            self._leave(name, f"errors go to standard error: redirect that, as in 2>>{value}")

    def _loglevel(self, name: str, value: Any) -> None:
        self._move(name, "log_level", str(value).lower())

    def _logger_class(self, name: str, value: Any) -> None:
        self._leave(
            name, f"{_short(value)} is gunicorn's; docs/logging.md says how to take the server's lines over"
        )

    def _syslog(self, name: str, _value: Any) -> None:
        target = _syslog_target(str(self._values.get("syslog_addr") or "udp://localhost:514"))
        if not target:
            self._leave(name, f"{self._values['syslog_addr']} is not reached by UDP or a unix socket")
            return
        if not _is_nothing(self._values.get("accesslog")):
            self._leave("accesslog", "the access log goes to one place, and syslog is set")
        self._move(name, "access_log", target)

    def _syslog_addr(self, _name: str, _value: Any) -> None:
        """It counts only with syslog."""

    def _syslog_facility(self, name: str, value: Any) -> None:
        if self._values.get("syslog"):
            self._move(name, "syslog_facility", str(value).lower().removeprefix("log_"))

    # Hooks.

    def _hook(self, name: str, value: Any) -> None:
        ours = HOOKS[name]
        if not ours:
            self._leave(name)
            return
        if not callable(value):
            self._leave(name, f"{_short(value)} is no function")
            return
        missing = find_missing(value)
        if missing:
            self._leave(
                name,
                f"it uses {', '.join(missing)}, which halfsync does not have. Rewrite it, then set {ours} to "
                f"module:function, or to {self._file}:{name}",
            )
            return
        if ours in self._done.moved:
            self._leave(name, f"{self._done.moved[ours].source} is {ours} already: call both in one function")
            return
        notes = (
            ["called once the process serves; gunicorn calls it just before"]
            if ours == "worker_ready"
            else []
        )
        self._move(name, ours, f"{self._file}:{name}", *notes)


def _is_nothing(value: object) -> bool:
    """Return whether a setting with this value says nothing. 0 says something."""
    return value is None or value is False or (isinstance(value, str | Sequence | Mapping) and not value)


def _texts(value: object, *, split: bool = True) -> list[str]:
    """Return the texts of a list, or of a text with commas, as gunicorn reads it."""
    if isinstance(value, str):
        value = value.split(",") if split else [value]
    if not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{_short(value)} is neither a text nor a list of texts")
    return [one.strip() for one in value if one.strip()]


def _address(text: str) -> str:
    """Return an address as we write it. gunicorn takes one without a port, or without a host."""
    if text.startswith(("unix:", "fd://")):
        return text
    text = text.removeprefix("tcp://")
    if text.startswith("["):
        return text if "]:" in text else f"{text}:8000"
    host, colon, port = text.partition(":")
    return f"{host}:{port}" if colon else f"{host or '0.0.0.0'}:8000"


def _duration(ours: str, value: Any) -> str | float:
    """Return seconds as people write them."""
    kind = BY_NAME[ours].kind
    assert isinstance(kind, Duration)
    return kind.show(kind.convert(value))


def _syslog_target(address: str) -> str:
    """Return the syslog as our access log names it; "": it cannot."""
    kind, _, rest = address.partition("://")
    if kind == "unix":
        path, _, sort = rest.partition("#")
        return "" if sort == "stream" else f"syslog:{path}"
    return f"syslog:{rest or 'localhost'}" if kind == "udp" else ""


def _short(value: object) -> str:
    """Return what a value is, in a few words."""
    if inspect.isroutine(value) or inspect.isclass(value):
        return str(getattr(value, "__qualname__", value))
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
