"""Which settings a program cannot use: `Server` has fewer than `serve`, and that fewer than the command line.

`settings/options.py` has the names and types of the others, for type checkers; tools/write_options.py writes it.
"""

# Of the command line alone: how the application, and the settings themselves, are found and loaded.
OF_A_COMMAND = (
    "wsgi_app", "factory", "chdir", "pythonpath", "env", "env_file", "config", "reload", "reload_dir",
    "reload_include", "reload_exclude",
)  # fmt: skip
# Of a process that does nothing but serve, and of its supervisor.
NEED_WORKERS = (
    "preload", "warmup", "max_requests", "max_requests_jitter", "max_lifetime", "max_rss", "boot_timeout",
    "on_starting", "pre_fork", "when_ready", "on_reload", "child_exit", "post_fork", "worker_ready", "worker_exit",
)  # fmt: skip
OF_A_PROCESS = (
    "workers", *NEED_WORKERS, "pidfile", "user", "group", "umask", "admin_bind", "drain_delay", "server_log_format",
    "log_level",
)  # fmt: skip
