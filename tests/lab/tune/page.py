"""A page of a Django application: a list of articles out of SQLite, with their authors, in a template.

PAGE_DATABASE is the path of its database, which `prepare` fills.
"""

import os
from pathlib import Path

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

TEMPLATE = """<!doctype html><html><head><title>{{ title }}</title></head><body><h1>{{ title }}</h1>
<p>{{ count }} articles</p><ul>{% for article in articles %}<li class="{% cycle 'odd' 'even' %}">
<a href="/articles/{{ article.pk }}">{{ article.title|title }}</a> by {{ article.author.name }},
{{ article.words|floatformat }} words: {{ article.text|truncatewords:12 }}</li>{% endfor %}</ul></body></html>"""
AUTHORS, ARTICLES, SHOWN = 20, 400, 30

settings.configure(
    SECRET_KEY="for tests only",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("PAGE_DATABASE", ":memory:"),
            "CONN_MAX_AGE": None,
        }
    },
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.cached.Loader",
                        [("django.template.loaders.locmem.Loader", {"page.html": TEMPLATE})],
                    )
                ]
            },
        }
    ],
)
django.setup()


class Author(models.Model):  # type: ignore[misc]  # Django ships no types
    name = models.CharField(max_length=80)

    class Meta:
        app_label = "page"


class Article(models.Model):  # type: ignore[misc]  # likewise
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    title = models.CharField(max_length=80)
    text = models.TextField()
    words = models.IntegerField(db_index=True)

    class Meta:
        app_label = "page"


def articles(request: HttpRequest) -> HttpResponse:
    shown = Article.objects.select_related("author").order_by("-words")[:SHOWN]
    return render(
        request, "page.html", {"title": "Articles", "articles": shown, "count": Article.objects.count()}
    )


def prepare() -> None:
    """Fill the database."""
    with connection.schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Article)
    authors = [Author.objects.create(name=f"Author {number}") for number in range(AUTHORS)]
    Article.objects.bulk_create(
        Article(
            author=authors[number % AUTHORS],
            title=f"on the number {number}",
            text=" ".join(f"word{number}" for _ in range(60)),
            words=number * 7919 % 5000,
        )
        for number in range(ARTICLES)
    )
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode=WAL")


urlpatterns = [path("", articles)]
application = WSGIHandler()

if __name__ == "__main__":
    Path(settings.DATABASES["default"]["NAME"]).unlink(missing_ok=True)
    prepare()
