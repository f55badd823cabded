"""gunicorn configuration of a Django project: everything from the environment, and hooks that log."""

import multiprocessing
import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"
wsgi_app = "shop.wsgi:application"
workers = int(os.environ.get("GUNICORN_WORKERS", min(2, multiprocessing.cpu_count() * 2 + 1)))
worker_class = "sync"
timeout = 120
graceful_timeout = 30
keepalive = 5
max_requests = 1000
max_requests_jitter = 100
raw_env = ["DJANGO_SETTINGS_MODULE=shop.settings", "SHOP_CURRENCY=EUR"]
accesslog = "-"
errorlog = "-"
loglevel = os.environ.get("LOG_LEVEL", "info")
access_log_format = '%({x-forwarded-for}i)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s %(D)s'
proc_name = "shop"
worker_tmp_dir = "/dev/shm"
reuse_port = False


def on_starting(server):
    server.log.info("starting, pid %s", server.pid)


def when_ready(server):
    server.log.info("ready to serve")
    with open("ready", "w") as file:
        file.write(str(server.pid))


def pre_fork(server, worker):
    pass


def post_fork(server, worker):
    server.log.info("worker spawned (pid: %s)", worker.pid)
    os.environ["SHOP_WORKER"] = "forked"


def worker_exit(server, worker):
    server.log.info("worker exits (pid: %s)", worker.pid)


def worker_int(worker):
    worker.log.info("worker received INT or QUIT")


def pre_exec(server):
    server.log.info("forked child, re-executing")
