"""Logging from a dict, and prometheus_client's multiprocess mode."""

import os

os.makedirs("figures", exist_ok=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = "figures"  # before the package is imported

from prometheus_client import multiprocess  # noqa: E402

bind = ["127.0.0.1:8080"]
workers = 2
threads = 2
raw_env = ["PROMETHEUS_MULTIPROC_DIR=figures"]
wsgi_app = "figures:app"
statsd_host = None
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {"gunicorn.error": {"propagate": True}, "gunicorn.access": {"propagate": True}},
}


def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
    with open("exits", "a") as file:
        print(worker.pid, file=file)
