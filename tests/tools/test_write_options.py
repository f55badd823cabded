"""The typed arguments of Server and serve: they are the settings, and a stale module is noticed."""

from tools import write_options as under_test


def test_the_module_in_the_repository_is_fresh() -> None:
    assert under_test.main(["--check"]) == 0


def test_types() -> None:
    text = under_test.render()
    for line in (
        "    bind: Texts\n", "    threads: int | str\n", "    access_log: str | None\n", "    syslog_facility: str\n",
        '    poller: Literal["auto", "epoll", "poll"]\n', "    workers: int | str | None\n",
        "    temp_dir: str | PathLike[str]\n",
    ):  # fmt: skip
        assert line in text
