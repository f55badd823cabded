# Flask behind nginx, on a unix socket that only the group may connect to.
bind = "unix:pages.sock"
umask = 0o007
workers = 2
worker_class = "gthread"
threads = 4
timeout = 30
keepalive = 65
wsgi_app = "pages:create_app()"
preload_app = True
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}
limit_request_line = 8190
limit_request_field_size = 0
accesslog = None
capture_output = True
pidfile = "pages.pid"
