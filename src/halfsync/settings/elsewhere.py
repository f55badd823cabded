"""Other servers' names for settings, and what halfsync has in their place. Loaded only after a mistake.

This is the one home of that mapping. The hints about unknown settings, `halfsync import-config` (migration/) and the
tables of docs/from-gunicorn.md (tools/write_migration_page.py) are made from it.

The servers are gunicorn, uWSGI, waitress, uvicorn, hypercorn and granian. A name in braces is a setting of ours, and is
written in the same form as the unknown name: as an option, a variable or a key.
"""

from collections.abc import Callable, Mapping

from halfsync.settings.declaration import BY_NAME, SETTINGS

_CERTFILE = "use {certfile}, with {keyfile} (docs/tls.md)"
_STDERR = "it writes errors to standard error: redirect that, as in 2>>FILE, and set {log_level}"
_FOREGROUND = (
    "leave it out: it stays in the foreground, for systemd, a container or a shell to run (docs/deploy.md)"
)
_NOTHING = "leave it out: there is nothing of that kind here"
_ALWAYS = "leave it out: it is always so"
_WSGI = "leave it out: the target is a WSGI application"
_BIND = "use {bind} HOST:PORT"
_PATHS = "use {chdir} DIR, and {pythonpath} DIR for more directories"
_APPLICATION = "name the application as module:callable, without an option"
_FORWARDED = "use {forwarded_allow_ips} for the proxies whose X-Forwarded- fields are believed"
_LOGGING = "set up logging in the application; {log_level} and {access_log} are for the server's own lines"
_RELOAD = (
    "use {reload}, which watches the sources that the application has loaded; {reload_include} adds others"
)
_SCHEME = "let the proxy send X-Forwarded-Proto, which is read from peers in {forwarded_allow_ips} (docs/proxies.md)"
_HTTP2 = "leave it out: it speaks HTTP/1.1, and a proxy in front speaks HTTP/2 (docs/proxies.md)"
_ASGI = "leave it out: it serves WSGI, and no ASGI"
_DIRTY = "run long work in a task queue, such as Celery or RQ: it has no dirty workers"
_MIDDLEWARE = "wrap the application in a WSGI middleware, which sees each request and response"
_STRICT = "leave it out: requests are read as strictly as the RFCs allow (docs/limits.md)"
_SUPERVISED = "leave it out: with {workers} a supervisor is always there, and replaces processes that end"
_ENVIRONMENT = "use {env} NAME=VALUE, or {env_file} FILE"

_HINTS: tuple[tuple[str, str], ...] = (
    ("use {request_timeout}, for the application's time for one request; nothing kills a process that is busy",
     "timeout t harakiri http_timeout worker_timeout"),
    ("use {pidfile} FILE", "pidfile2"),
    (_CERTFILE, "ssl ssl_context ssl_certfile ssl_certificate https https_socket tls"),
    ("use {keyfile}, with {certfile} (docs/tls.md)", "ssl_keyfile"),
    ("use {key_password_file}, a file with the password", "keyfile_password ssl_keyfile_password"),
    ("use {ciphers}, and {ciphersuites} for TLS 1.3", "ssl_ciphers"),
    ("use {tls_min_version}", "ssl_version ssl_protocol_min"),
    ("write {bind} http://HOST:PORT for an address without TLS", "insecure_bind"),
    ("let a proxy in front ask for clients' certificates (docs/proxies.md)",
     "ca_certs ca_cert cert_reqs verify_mode ssl_cert_reqs ssl_ca_certs ssl_ca ssl_client_verify ssl_crl"),
    (_NOTHING, "suppress_ragged_eofs do_handshake_on_connect quic_bind"),
    ("use `halfsync check module:callable`, which prints every setting", "print_config check_config show_config"),
    (_STDERR, "log_file error_logfile error_log errorlog logto logto2 log_errors logfile error_log_file"),
    ("use {access_log} FILE, or - for standard output", "accesslog req_logger access_log_file"),
    ("use {log_format}, which takes gunicorn's formats as they are", "access_log_format access_log_fmt log_fmt"),
    ("use {access_log} syslog: or syslog:HOST:PORT", "log_syslog syslog log_syslog_to syslog_addr"),
    ("use {syslog_facility}", "log_syslog_facility"),
    ("use {log_level}", "loglevel"),
    ("leave it out: nothing is written for each request without {access_log}",
     "no_access_log disable_logging disable_access_log"),
    (_LOGGING, "log_config log_config_dict log_config_json logger_class logconfig logconfig_dict logconfig_json "
     "log_syslog_prefix syslog_prefix disable_redirect_access_to_syslog capture_output use_colors log log_enabled "
     "log_master"),
    ("leave it out: `ps` shows the application, if the package setproctitle is installed",
     "name n proc_name process_name procname procname_prefix default_proc_name"),
    ("leave it out: SERVER_NAME is what the socket, or a trusted proxy, says", "server_name server_names"),
    ("leave it out: all processes share the sockets that the supervisor opens",
     "reuse_port reuseport so_reuseport socket_timeout_reuse"),
    (_PATHS, "app_dir"),
    ("use {chdir} DIR", "working_dir working_directory chdir2 d"),
    ("use {model}: process, thread, pool or proactor, the default, which does what sync and gthread workers do",
     "worker_class k gevent async asyncio runtime_mode"),
    (_FOREGROUND, "daemon D daemonize daemonize2"),
    ("use {workers} N, or auto", "processes process num_workers p_workers cheaper"),
    ("use {threads} N", "blocking_threads runtime_threads runtime_blocking_threads worker_threads num_threads"),
    (_ALWAYS, "enable_threads die_on_term lazy lazy_apps thunder_lock no_orphans vacuum no_sendfile sendfile need_app "
     "single_interpreter initgroups blocking_threads_idle_timeout strict expose_tracebacks no_expose_tracebacks"),
    (_SUPERVISED, "master M respawn_failed_workers respawn_interval"),
    ("use {worker_ready}, which is called when a process begins to serve", "post_worker_init"),
    ("use {worker_exit}, which is called before a process ends in order; a stuck thread is in the log by itself",
     "worker_int worker_abort"),
    ("leave it out: SIGTTIN and SIGTTOU are in the log, and {admin_bind} shows the processes", "nworkers_changed"),
    ("let the service manager do it, as ExecStopPost= of systemd", "on_exit hook_as_user_atexit exec_as_user_atexit"),
    ("leave it out: SIGUSR2 starts the program again, and {on_starting} is called in it", "pre_exec"),
    (_MIDDLEWARE, "pre_request post_request"),
    (_DIRTY, "dirty_apps dirty_app dirty_workers dirty_timeout dirty_threads dirty_graceful_timeout on_dirty_starting "
     "dirty_post_fork dirty_worker_init dirty_worker_exit"),
    (_HTTP2, "http2 http_protocols http2_cleartext http2_max_concurrent_streams http2_initial_window_size "
     "http2_max_frame_size http2_max_header_list_size"),
    (_ASGI, "asgi_loop asgi_lifespan asgi_disconnect_grace_period websocket_max_message_size"),
    ("use {admin_bind} unix:PATH, and `halfsync status`", "control_socket control_socket_mode control_socket_disable "
     "no_control_socket"),
    ("leave it out: it speaks HTTP, so let nginx use proxy_pass in the place of uwsgi_pass",
     "protocol uwsgi_allow_ips uwsgi_allow_from"),
    ("use {max_connections}, for one process", "worker_connections connection_limit"),
    ("use {queue_size}", "limit_concurrency backpressure queue channel_request_lookahead"),
    ("use {max_requests}", "limit_max_requests max_request"),
    ("use {max_requests_jitter}", "limit_max_requests_jitter"),
    ("use {max_lifetime}", "workers_lifetime max_worker_lifetime worker_lifetime"),
    ("use {max_rss}", "workers_max_rss reload_on_rss reload_on_as limit_as evil_reload_on_rss"),
    ("use {max_request_line}", "limit_request_line"),
    ("use {max_fields}", "limit_request_fields"),
    ("use {max_field}", "limit_request_field_size"),
    ("use {max_head}", "max_request_header_size buffer_size h11_max_incomplete_event_size http1_buffer_size"),
    ("use {max_body}", "limit_post max_content_length"),
    ("use {body_memory}", "inbuf_overflow post_buffering"),
    ("use {spool_memory}, and {spool_disk}", "outbuf_overflow outbuf_high_watermark"),
    ("use {temp_dir} DIR", "tmp_upload_dir tmp_dir temp"),
    ("leave it out: no process is watched by a file", "worker_tmp_dir"),
    ("use {keep_alive}", "keepalive keep_alive_timeout http_keepalive channel_timeout "
     "http1_keep_alive so_keepalive"),
    ("use {graceful_timeout}", "shutdown_timeout worker_reload_mercy reload_mercy "
     "workers_kill_timeout"),
    ("use {head_timeout} and {body_timeout}", "read_timeout socket_timeout http1_header_read_timeout"),
    ("use {boot_timeout}", "timeout_worker_healthcheck startup_timeout"),
    ("use {bind} HOST:PORT; HTTP is what it speaks there", "http"),
    (_BIND, "host address addr ip ipv4 ipv6 interface_address http_socket http11_socket uwsgi_socket shared_socket"),
    ("use {bind} HOST:PORT, or {bind} :PORT for all interfaces", "port P"),
    ("use {bind} unix:PATH", "uds unix_socket socket s unix"),
    ("use {bind} fd://N", "fd sockets"),
    ("use {bind} for an address, and {backlog} for how many wait there", "listen l"),
    ("use {unix_mode}", "uds_permissions unix_socket_mode"),
    ("use {umask} for files of the application, and {unix_mode} for unix sockets", "m"),
    ("use {unix_owner}", "chown_socket"),
    (_APPLICATION, "paste paster raw_paste_global_conf paste_global module wsgi wsgi_file file callable app "
     "application target mount manage_script_name"),
    ("use {factory}", "is_factory"),
    ("use {root_path}", "url_path_prefix script_name"),
    ("use {forwarded_hops}, with {forwarded_allow_ips}", "trusted_proxy_count"),
    (_FORWARDED, "proxy_headers trusted_proxy trusted_hosts "
     "trusted_proxy_headers log_untrusted_proxy_headers clear_untrusted_proxy_headers "
     "forwarder_headers no_proxy_headers"),
    ("use {secure_scheme_headers}", "secure_scheme_header"),
    (_SCHEME, "url_scheme"),
    ("send SIGHUP to load the application anew", "touch_reload touch_chain_reload"),
    (_RELOAD, "reload_engine reload_extra_file reload_extra_files reload_dirs "
     "reload_paths reload_ignore_dirs reload_ignore_patterns reload_ignore_paths reload_tick reload_delay "
     "py_autoreload python_autoreload use_reloader debug"),
    ("use {static} PREFIX=DIR", "static_path_mount static_path_route check_static static_path_expires"),
    ("use {static_max_age}", "static_expires"),
    ("use {reload_include}", "reload_includes"),
    ("use {reload_exclude}", "reload_excludes"),
    ("let the application or the proxy add fields to responses", "headers"),
    ("use {server_header}", "ident date_header header"),
    (_ENVIRONMENT, "env_files raw_env"),
    ("use {config} FILE, in TOML; `halfsync import-config` writes it from a gunicorn.conf.py",
     "ini yaml yml json xml conf settings"),
    ("run the halfsync that is installed in that environment", "virtualenv venv home H pyhome python_home"),
    ("use {admin_bind}, which answers /livez and /readyz", "stats stats_server metrics metrics_address healthcheck"),
    ("use {admin_bind}, where /metrics has figures for Prometheus (docs/metrics.md)",
     "statsd_host statsd_prefix statsd dogstatsd_tags enable_backlog_metric"),
    (_STRICT, "header_map http_parser strip_header_spaces permit_unconventional_http_method "
     "permit_unconventional_http_version permit_obsolete_folding casefold_http_method header_map_dangerous"),
    (_WSGI, "interface lifespan loop ws ws_max_size ws_max_queue ws_ping_interval ws_ping_timeout "
     "ws_per_message_deflate asgi_version websocket_ping_interval task_impl event_loop http1_pipeline_flush"),
    (_NOTHING, "spew R enable_stdio_inheritance plugin plugins "
     "harakiri_verbose memory_report asyncore_loop_timeout asyncore_use_poll cleanup_interval recv_bytes send_bytes "
     "log_socket_errors timeout_notify "
     "callback_notify reset_contextvars offload_threads auto_procname procname_master no_site i"),
)  # fmt: skip


# Settings of the same name here, and in gunicorn, that differ; and what import-config says about them.
DIFFERENT = {
    "bind": "a path is unix:PATH, and a host needs a port",
    "workers": "without it there is one process, and no supervisor",
    "threads": "gunicorn has 1 if it is not set, and the application runs in one thread",
    "umask": "gunicorn has it for its sockets alone, which unix_mode is for; here it is the application's",
    "chdir": "the files of settings are found where the command is run",
    "max_requests": "a process is replaced once the next one serves",
    "graceful_timeout": "idle connections are handed to other processes before",
    "reload": "needs the package watchfiles",
    "forwarded_allow_ips": "networks may be in it, and unix sockets are trusted as unix",
    "secure_scheme_headers": "fields that begin with X-Forwarded- alone, since clients may send others; "
    "X-Forwarded-Proto is always read",
    "proxy_protocol": "a flag: both versions are read",
    "proxy_allow_ips": "as for forwarded_allow_ips",
    "pythonpath": "a list; directories come after that of the application",
    "config": "TOML, and no Python: `halfsync import-config` writes it",
    "root_path": "it may be in a request's path, or be removed by the proxy",
    "on_starting": "gets one argument, with pid, generation and log",
    "when_ready": "likewise; called once the first process serves",
    "on_reload": "likewise; an error makes the reload fail",
    "pre_fork": "gets the worker, or the server and the worker",
    "post_fork": "likewise; called before the application is loaded",
    "worker_exit": "likewise",
    "child_exit": "likewise",
}


def hint(name: str, spell: Callable[[str], str], settings: Mapping[str, object]) -> str:
    """Return what to use in place of another server's setting; "": no known server has a setting with this name.

    name: as it was given: an option, a variable or a key. spell: writes the name of one of our settings in this form.
    """
    key = name.lstrip("-$").replace("-", "_").removeprefix("HALFSYNC_")
    text = advice(key)
    return text.format_map({one: spell(one) for one in settings}) if text else ""


def advice(key: str) -> str:
    """Return what to use in the place of another server's setting, with our settings in braces; "": it is unknown.

    A name that an option of ours also has is known here too: as a key or a variable it is none.
    """
    # Case counts only for one-letter options: -p and -P differ.
    key = key if len(key) == 1 else key.lower()
    for setting in SETTINGS:
        if key in setting.aliases or key == setting.short:
            return f"use {{{setting.name}}}"
    for text, names in _HINTS:
        if key in names.split():
            return text
    return ""


def counterpart(key: str) -> str:
    """Return the name of our setting that has the place of another server's; "": there is none."""
    if key in BY_NAME:
        return key
    before, brace, rest = advice(key).partition("{")
    return rest.partition("}")[0] if brace and before == "use " else ""


def explain(key: str, quote: str = "`") -> str:
    """Return a sentence about another server's setting, without its full stop. quote: what is around names of ours."""
    if key in BY_NAME:
        different = DIFFERENT.get(key, "")
        return "the same" + (f": {different}" if different else "")
    return advice(key).format_map({one: f"{quote}{one}{quote}" for one in BY_NAME})
