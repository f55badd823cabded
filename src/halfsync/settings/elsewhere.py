"""Other servers' names for settings, and what halfsync has in their place. Loaded only after a mistake.

The servers are gunicorn, uWSGI, waitress, uvicorn, hypercorn and granian. A name in braces is a setting of ours, and is
written in the same form as the unknown name: as an option, a variable or a key.
"""

from collections.abc import Callable, Mapping

_CERTFILE = "use {certfile}, with {keyfile} (docs/tls.md)"
_STDERR = "it writes errors to standard error: redirect that, as in 2>>FILE, and set {log_level}"
_FOREGROUND = (
    "leave it out: it stays in the foreground, for systemd, a container or a shell to run (docs/deploy.md)"
)
_NOTHING = "leave it out: there is nothing of that kind here"
_ALWAYS = "leave it out: it is always so"
_WSGI = "leave it out: the target is a WSGI application"
_BIND = "use {bind} HOST:PORT"
_PATHS = "use {chdir} DIR, or set PYTHONPATH"
_APPLICATION = "name the application as module:callable, without an option"
_FORWARDED = "use {forwarded_allow_ips} for the proxies whose X-Forwarded- fields are believed"
_LOGGING = "set up logging in the application; {log_level} and {access_log} are for the server's own lines"
_RELOAD = "use {reload}, which watches the sources that the application has loaded"
_STRICT = "leave it out: requests are read as strictly as the RFCs allow (docs/limits.md)"
_SUPERVISED = "leave it out: with {workers} a supervisor is always there, and replaces processes that end"
_ENVIRONMENT = "set variables in the environment that starts the server"

_HINTS: tuple[tuple[str, str], ...] = (
    ("use {request_timeout}, for the application's time for one request; nothing kills a process that is busy",
     "timeout t harakiri http_timeout worker_timeout"),
    ("use {pidfile} FILE", "pid pid_file pidfile2 p"),
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
    ("use {access_log} FILE, or - for standard output", "access_logfile accesslog req_logger access_log_file"),
    ("use {log_format}, which takes gunicorn's formats as they are",
     "access_logformat access_log_format access_log_fmt log_fmt"),
    ("use {access_log} syslog: or syslog:HOST:PORT", "log_syslog syslog log_syslog_to"),
    ("use {syslog_facility}", "log_syslog_facility"),
    ("leave it out: nothing is written for each request without {access_log}",
     "no_access_log disable_logging disable_access_log"),
    (_LOGGING, "log_config log_config_dict log_config_json logger_class logconfig logconfig_dict logconfig_json "
     "log_syslog_prefix disable_redirect_access_to_syslog capture_output use_colors log log_enabled log_master"),
    ("leave it out: `ps` shows the application, if the package setproctitle is installed",
     "name n proc_name process_name procname procname_prefix default_proc_name server_name server_names"),
    ("leave it out: all processes share the sockets that the supervisor opens",
     "reuse_port reuseport so_reuseport socket_timeout_reuse"),
    (_PATHS, "pythonpath python_path app_dir pp"),
    ("use {chdir} DIR", "working_dir working_directory chdir2 d"),
    ("use {model}: process, thread, pool or proactor, the default",
     "worker_class k gevent async asyncio runtime_mode"),
    (_FOREGROUND, "daemon D daemonize daemonize2"),
    ("use {workers} N, or auto", "processes process num_workers p_workers cheaper"),
    ("use {threads} N", "blocking_threads runtime_threads runtime_blocking_threads worker_threads num_threads"),
    (_ALWAYS, "enable_threads die_on_term lazy lazy_apps thunder_lock no_orphans vacuum no_sendfile sendfile need_app "
     "single_interpreter initgroups blocking_threads_idle_timeout strict expose_tracebacks no_expose_tracebacks"),
    (_SUPERVISED, "master M respawn_failed_workers respawn_interval"),
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
    ("use {max_body}", "max_request_body_size limit_post max_content_length"),
    ("use {body_memory}", "inbuf_overflow post_buffering"),
    ("use {spool_memory}, and {spool_disk}", "outbuf_overflow outbuf_high_watermark"),
    ("use {temp_dir} DIR", "worker_tmp_dir tmp_upload_dir tmp_dir temp"),
    ("use {keep_alive}", "timeout_keep_alive keepalive keep_alive_timeout http_keepalive channel_timeout "
     "http1_keep_alive so_keepalive"),
    ("use {graceful_timeout}", "timeout_graceful_shutdown shutdown_timeout worker_reload_mercy reload_mercy "
     "workers_kill_timeout"),
    ("use {head_timeout} and {body_timeout}", "read_timeout socket_timeout http1_header_read_timeout"),
    ("use {boot_timeout}", "timeout_worker_healthcheck startup_timeout"),
    ("use {bind} HOST:PORT; HTTP is what it speaks there", "http"),
    (_BIND, "host address addr ip interface_address http_socket http11_socket uwsgi_socket shared_socket"),
    ("use {bind} HOST:PORT, or {bind} :PORT for all interfaces", "port P"),
    ("use {bind} unix:PATH", "uds unix_socket socket s unix"),
    ("use {bind} fd://N", "fd"),
    ("use {bind} for an address, and {backlog} for how many wait there", "listen l"),
    ("use {unix_mode}", "unix_socket_perms chmod_socket uds_permissions unix_socket_mode"),
    ("use {unix_owner}", "chown_socket"),
    ("use {user}", "uid u"),
    ("use {group}", "gid g"),
    ("use {umask}", "m"),
    (_APPLICATION, "paste paster module wsgi wsgi_file file callable app application wsgi_app target mount "
     "manage_script_name"),
    ("use {factory}", "call is_factory"),
    ("use {root_path}", "url_prefix url_path_prefix script_name"),
    (_FORWARDED, "proxy_headers trusted_proxy trusted_hosts secure_scheme_headers secure_scheme_header "
     "trusted_proxy_count trusted_proxy_headers log_untrusted_proxy_headers clear_untrusted_proxy_headers url_scheme "
     "forwarder_headers header_map no_proxy_headers"),
    ("use {proxy_allow_ips}, with {proxy_protocol}", "proxy_allow_from"),
    ("use {preload}", "preload_app"),
    ("send SIGHUP to load the application anew", "touch_reload touch_chain_reload"),
    (_RELOAD, "reload_engine reload_extra_file reload_extra_files reload_dir reload_dirs reload_include reload_exclude "
     "reload_paths reload_ignore_dirs reload_ignore_patterns reload_ignore_paths reload_tick reload_delay "
     "py_autoreload python_autoreload use_reloader debug"),
    ("use {static} PREFIX=DIR", "static_map static_path_mount static_path_route check_static static_path_expires"),
    ("use {static_max_age}", "static_expires"),
    ("use {server_header}", "ident date_header header"),
    (_ENVIRONMENT, "env e env_file env_files raw_env"),
    ("use {config} FILE, in TOML", "ini yaml yml json xml conf settings"),
    ("run the halfsync that is installed in that environment", "virtualenv venv home H pyhome python_home"),
    ("use {admin_bind}, which answers /livez and /readyz", "stats stats_server metrics metrics_address healthcheck"),
    (_STRICT, "strip_header_spaces permit_unconventional_http_method permit_unconventional_http_version "
     "permit_obsolete_folding casefold_http_method header_map_dangerous"),
    (_WSGI, "interface lifespan loop ws ws_max_size ws_max_queue ws_ping_interval ws_ping_timeout "
     "ws_per_message_deflate asgi_version websocket_ping_interval task_impl event_loop http1_pipeline_flush"),
    (_NOTHING, "spew R enable_stdio_inheritance statsd_host statsd_prefix statsd dogstatsd_tags plugin plugins "
     "harakiri_verbose memory_report asyncore_loop_timeout asyncore_use_poll cleanup_interval recv_bytes send_bytes "
     "offload_threads auto_procname procname_master no_site i"),
)  # fmt: skip


def hint(name: str, spell: Callable[[str], str], settings: Mapping[str, object]) -> str:
    """Return what to use in place of another server's setting; "": no known server has a setting with this name.

    name: as it was given: an option, a variable or a key. spell: writes the name of one of our settings in this form.
    """
    key = name.lstrip("-$").replace("-", "_").removeprefix("HALFSYNC_")
    for text, names in _HINTS:
        # Case counts only for one-letter options: -p and -P differ.
        if (key if len(key) == 1 else key.lower()) in names.split():
            return text.format_map({one: spell(one) for one in settings})
    return ""
