"""The settings of `Server` and `serve` as keyword arguments, for type checkers. Nothing imports this at run time.

Written by `make docs` from the declaration (tools/write_options.py): change that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict

Texts = str | Sequence[str]
Directories = Mapping[str, str | PathLike[str]] | Sequence[str | tuple[str, str | PathLike[str]]] | str


class ServerOptions(TypedDict, total=False):
    """The settings of a `Server` (docs/settings.md)."""

    bind: Texts
    backlog: int | str
    max_connections: int | str
    max_connections_per_client: int | str
    unix_mode: int | str
    unix_owner: str | None
    poller: Literal["auto", "epoll", "poll"]
    certfile: Texts
    keyfile: Texts
    key_password_file: str | PathLike[str] | None
    tls_min_version: Literal["1.2", "1.3"]
    ciphers: str | PathLike[str]
    ciphersuites: str | PathLike[str] | None
    curves: str | PathLike[str]
    handshake_timeout: float | str
    forwarded_allow_ips: Texts
    forwarded_hops: int | str
    secure_scheme_headers: Mapping[str, str] | Texts
    request_id_field: str | None
    proxy_protocol: bool | str
    proxy_allow_ips: Texts
    root_path: str
    model: Literal["process", "thread", "pool", "proactor"]
    threads: int | str
    max_children: int | str
    queue_size: int | str
    lanes: Mapping[str, Mapping[str, object]]
    client_share: float | str
    stream: bool | str
    server_header: bool | str
    server_timing: bool | str
    static: Directories
    static_symlinks: bool | str
    static_max_age: float | str
    access_log: str | None
    log_format: str
    syslog_facility: str
    slow_request: float | str
    first_byte_timeout: float | str
    head_timeout: float | str
    body_timeout: float | str
    body_total_timeout: float | str
    min_body_rate: int | str
    write_timeout: float | str
    queue_timeout: float | str
    overload_control: bool | str
    overload_interval: float | str
    overload_target: float | str
    request_timeout: float | str
    max_stuck: int | str
    min_write_rate: int | str
    rate_window: float | str
    keep_alive: float | str
    graceful_timeout: float | str
    max_request_line: int | str
    max_field: int | str
    max_fields: int | str
    max_head: int | str
    max_body: int | str
    body_memory: int | str
    spool_memory: int | str
    response_ahead: int | str
    spool_disk: int | str
    temp_dir: str | PathLike[str]


class ServeOptions(ServerOptions, total=False):
    """The settings of `serve`: those of a `Server`, and those of a process that does nothing but serve."""

    workers: int | str | None
    preload: bool | str
    on_starting: str | None
    pre_fork: str | None
    post_fork: str | None
    worker_ready: str | None
    when_ready: str | None
    on_reload: str | None
    worker_exit: str | None
    child_exit: str | None
    pidfile: str | PathLike[str] | None
    user: str | None
    group: str | None
    umask: int | str | None
    boot_timeout: float | str
    warmup: str | PathLike[str] | None
    max_requests: int | str
    max_requests_jitter: int | str
    max_lifetime: float | str
    max_rss: int | str
    admin_bind: Texts
    drain_delay: float | str
    server_log_format: Literal["text", "json"]
    log_level: Literal["debug", "info", "warning", "error", "critical"]
