"""Settings of other servers that people commonly have, for the tables of docs/from-gunicorn.md.

gunicorn's and waitress's are all of theirs; tests compare them with the packages. `settings/elsewhere.py` says what
becomes of each.
"""

from halfsync.migration.gunicorn import NAMES as GUNICORN
from halfsync.migration.gunicorn import words

UWSGI = words("""
http http-socket socket shared-socket listen chmod-socket chown-socket module wsgi-file callable mount chdir
pythonpath virtualenv env master processes workers cheaper threads enable-threads harakiri max-requests
max-worker-lifetime reload-on-rss worker-reload-mercy buffer-size post-buffering limit-post http-timeout
http-keepalive socket-timeout static-map static-expires uid gid umask pidfile daemonize logto req-logger
log-format disable-logging vacuum die-on-term need-app lazy-apps single-interpreter thunder-lock py-autoreload
touch-reload procname stats plugin ini gevent hook-as-user-atexit
""")
WAITRESS = words("""
host port listen unix_socket unix_socket_perms sockets ipv4 ipv6 backlog threads call trusted_proxy
trusted_proxy_count trusted_proxy_headers log_untrusted_proxy_headers clear_untrusted_proxy_headers url_scheme
url_prefix recv_bytes send_bytes outbuf_overflow outbuf_high_watermark inbuf_overflow connection_limit
cleanup_interval channel_timeout log_socket_errors max_request_header_size max_request_body_size
expose_tracebacks ident asyncore_loop_timeout asyncore_use_poll channel_request_lookahead server_name
""")
UVICORN = words("""
app host port uds fd loop http ws ws_max_size ws_max_queue ws_ping_interval ws_ping_timeout
ws_per_message_deflate lifespan interface reload reload_dirs reload_includes reload_excludes reload_delay
workers env_file log_config log_level access_log proxy_headers forwarded_allow_ips root_path limit_concurrency
limit_max_requests limit_max_requests_jitter backlog timeout_keep_alive timeout_notify
timeout_graceful_shutdown timeout_worker_healthcheck ssl_keyfile ssl_certfile ssl_keyfile_password ssl_version
ssl_cert_reqs ssl_ca_certs ssl_ciphers headers server_header date_header use_colors app_dir
h11_max_incomplete_event_size factory reset_contextvars http2 callback_notify
""")
SERVERS: dict[str, tuple[str, ...]] = {
    "gunicorn": GUNICORN,
    "uWSGI": UWSGI,
    "waitress": WAITRESS,
    "uvicorn": UVICORN,
}
# A name that is one of ours, and means something else there.
FALSE_FRIENDS: dict[tuple[str, str], str] = {
    (
        "gunicorn",
        "umask",
    ): "use `unix_mode`: gunicorn has it for sockets alone, and here it is the application's",
    ("uvicorn", "access_log"): "use `access_log` -: theirs is a flag, and ours names a file",
    ("uvicorn", "workers"): "the same: `workers` 1 has a supervisor too",
    ("uWSGI", "umask"): "the same: files of the application; `unix_mode` is for sockets",
    ("uWSGI", "threads"): "the same, in each process",
    ("uWSGI", "env"): "the same: NAME=VALUE",
    ("uWSGI", "listen"): "use `backlog`",
    ("uWSGI", "log-format"): "use `log_format`, whose fields have other names (docs/access-log.md)",
    ("uvicorn", "http"): "leave it out: there is one parser",
    ("uvicorn", "root_path"): "the same, and it is removed from the paths that begin with it",
    ("waitress", "threads"): "the same: 4 by default",
    ("waitress", "listen"): "use `bind`",
}
