"""The routes of the project."""

from django.urls import path

from tests.apps.django_app import views

urlpatterns = [
    path("hello", views.hello),
    path("echo/", views.echo, {"rest": ""}),
    path("echo/<path:rest>", views.echo),
    path("form", views.form),
    path("upload", views.upload),
    path("stream", views.stream),
    path("live", views.live),
    path("file", views.file),
    path("raise", views.fail),
    path("session", views.session),
]
