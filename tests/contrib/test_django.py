"""The application of Django: `manage.py runserver` serves with halfsync."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from halfsync.settings import Settings
from tests.client import fetch
from tests.faults.serving import Serving
from tests.wsgi import until

SETTINGS = """
from django.http import HttpResponse
from django.urls import path
DEBUG = True
SECRET_KEY = "x"
ROOT_URLCONF = "served"
WSGI_APPLICATION = "served.application"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["halfsync.contrib.django", "django.contrib.staticfiles"]
STATIC_URL = "/static/"
STATICFILES_DIRS = ["files"]
urlpatterns = [path("", lambda request: HttpResponse("CODE"))]
def __getattr__(name):
    if name == "application":
        from django.core.wsgi import get_wsgi_application
        return get_wsgi_application()
    raise AttributeError(name)
"""


def manage(*arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "django",
        "runserver",
        "--settings",
        "served",
        "--pythonpath",
        ".",
        *arguments,
    ]


def test_it_serves_the_project_with_its_static_files_and_reloads_it(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("static")
    command = manage("127.0.0.1:0")
    with Serving(tmp_path, SETTINGS.replace("CODE", "first"), command=command) as serving:
        assert fetch(serving.address, "/").body == b"first"
        assert fetch(serving.address, "/static/a.txt").body == b"static"
        (tmp_path / "served.py").write_text(SETTINGS.replace("CODE", "second"))
        serving.wait_line("reloading: served.py changed")
        until(lambda: fetch(serving.address, "/").body == b"second")
        serving.signal(signal.SIGINT)
        assert serving.exit_code() == 0


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's settings, of a project without static files."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.apps.django_app.settings")
    from django.conf import settings

    for name, value in (
        ("WSGI_APPLICATION", "shop.wsgi.application"),
        ("INSTALLED_APPS", []),
        ("DEBUG", True),
    ):
        monkeypatch.setattr(settings, name, value)


GIVEN: dict[str, Any] = {
    "addrport": None, "use_ipv6": False, "use_threading": True, "use_reloader": False, "use_static": True,
    "insecure": False, "server_options": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, ["shop.wsgi:application", "--bind", "127.0.0.1:8000", "--access-log", "-"]),
        ({"addrport": "80"}, ["shop.wsgi:application", "--bind", "127.0.0.1:80", "--access-log", "-"]),
        ({"addrport": "0.0.0.0:80"}, ["shop.wsgi:application", "--bind", "0.0.0.0:80", "--access-log", "-"]),
        ({"use_ipv6": True}, ["shop.wsgi:application", "--bind", "[::1]:8000", "--access-log", "-"]),
        ({"addrport": "[::]:80"}, ["shop.wsgi:application", "--bind", "[::]:80", "--access-log", "-"]),
        (
            {"use_reloader": True, "use_threading": False, "server_options": ["--access-log=x", "--threads=2"]},
            ["shop.wsgi:application", "--bind", "127.0.0.1:8000", "--reload", "--threads", "1", "--access-log=x",
             "--threads=2"],
        ),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.usefixtures("project")
def test_options_become_the_servers(options: dict[str, Any], arguments: list[str]) -> None:
    from halfsync.contrib.django.management.commands.runserver import server_arguments

    assert server_arguments(GIVEN | options) == arguments
    Settings.from_options(bind=arguments[2])


@pytest.mark.usefixtures("project")
def test_a_wrong_address_is_djangos_mistake() -> None:
    from django.core.management.base import CommandError

    from halfsync.contrib.django.management.commands.runserver import server_arguments

    with pytest.raises(CommandError, match="not a valid port"):
        server_arguments(GIVEN | {"addrport": "localhost:http"})
