"""The text of a settings file: it has every setting and every reason, and means what was converted."""

import tomllib

from halfsync.migration.gunicorn import convert
from halfsync.migration.toml import WIDTH, write_toml

VALUES = {
    "bind": ["127.0.0.1:1", "unix:/a b\\c"],
    "threads": 3,
    "preload_app": True,
    "raw_env": ['A=a "text" \\ with\ttabs\x7f and é', "B="],
    "ca_certs": "x",
    "worker_tmp_dir": "/dev/shm",
}


def test_it_means_what_was_converted() -> None:
    done = convert(VALUES, "gunicorn.conf.py")
    assert tomllib.loads(write_toml(done, "gunicorn.conf.py")) == {
        name: dict(one.value) if name == "env" else one.value for name, one in done.moved.items()
    }


def test_each_reason_is_a_comment() -> None:
    text = write_toml(convert(VALUES, "x"), "x")
    for line in (
        "# - ca_certs: let a proxy in front",
        "# - worker_tmp_dir: leave it out",
        "# Made from x by",
    ):
        assert line in text
    assert all(len(line) <= WIDTH for line in text.splitlines() if line.startswith("#"))
