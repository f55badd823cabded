"""`halfsync import-config`: where the settings go, and what is said beside them."""

import tomllib
from pathlib import Path

import pytest

from halfsync.cli import main

CONFIGURATION = "bind = '127.0.0.1:81'\nworkers = 3\nproc_name = 'shop'\nprint('run')\n"


@pytest.fixture
def configured(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GUNICORN_CMD_ARGS", raising=False)
    (project / "gunicorn.conf.py").write_text(CONFIGURATION)
    return project


@pytest.mark.usefixtures("configured")
def test_it_is_printed_as_toml(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-config"]) == 0
    printed = capsys.readouterr()
    said, _, text = printed.out.partition("\n")
    assert said == "run"  # by the configuration
    assert tomllib.loads(text) == {"bind": ["127.0.0.1:81"], "threads": 1, "workers": 3}
    assert printed.err.startswith("3 settings are written, 1 is not; try them: halfsync check")


def test_a_file_is_replaced_only_if_told_to(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = configured / "halfsync.toml"
    assert main(["import-config", "-o", "halfsync.toml"]) == 0
    assert "wrote halfsync.toml" in capsys.readouterr().err
    written = output.read_text()
    output.write_text("mine")
    assert main(["import-config", "gunicorn.conf.py", "-o", "halfsync.toml"]) == 2
    assert (
        "--output: halfsync.toml is there already; name a new file, or add --overwrite"
        in capsys.readouterr().err
    )
    assert output.read_text() == "mine"
    assert main(["import-config", "-o", "halfsync.toml", "--overwrite"]) == 0
    assert "replaced halfsync.toml" in capsys.readouterr().err
    assert output.read_text() == written
    assert main(["import-config", "-o", "gone/halfsync.toml"]) == 2
    assert "gone/halfsync.toml cannot be written: no such file or directory" in capsys.readouterr().err


@pytest.mark.usefixtures("configured")
def test_arguments_of_the_environment_are_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--timeout 9")
    assert main(["import-config"]) == 0
    assert "$GUNICORN_CMD_ARGS is set, and was not read: --timeout 9" in capsys.readouterr().err


def test_mistakes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-config"]) == 3
    assert f"there is no file {project}/gunicorn.conf.py" in capsys.readouterr().err
    (project / "gunicorn.conf.py").write_text("workers = 1 / 0\n")
    assert main(["import-config"]) == 3
    error = capsys.readouterr().err
    assert 'gunicorn.conf.py", line 1' in error and "ZeroDivisionError" in error.splitlines()[-1]


def test_hooks_are_named_by_the_whole_path_if_the_directory_changes(
    configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (configured / "gunicorn.conf.py").open("a") as file:
        file.write("chdir = '/'\ndef post_fork(server, worker):\n    pass\n")
    assert main(["import-config"]) == 0
    assert f'post_fork = "{configured}/gunicorn.conf.py:post_fork"' in capsys.readouterr().out
