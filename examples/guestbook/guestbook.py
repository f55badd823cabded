"""A guestbook in Flask on SQLite, with all that a server is used for: forms, uploads, streams, waiting.

    halfsync serve --chdir examples/guestbook guestbook:app

Everything it writes goes to the folder `data` beside this file, or to the one that GUESTBOOK_DATA names.
"""

import os
import threading
from pathlib import Path

from flask import Flask, Response, abort, redirect, render_template, request, send_file, url_for
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wrappers import Response as AnyResponse

from experiments import LARGE_FILE_BYTES, experiments
from notes import NAME_CHARACTERS, NOTES_PER_PAGE, TEXT_CHARACTERS, NoteBook, clean, faults
from pictures import PICTURE_BYTES, PictureError, PictureShelf

FORM_BYTES = 64 * 1024  # what a request may hold besides its picture
PICTURE_MEGABYTES = PICTURE_BYTES // 1024**2
PICTURE_MAX_AGE_S = 365 * 24 * 3600

# The page is one document, one style sheet and one script, all of our own: nothing else may be loaded or run.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self' blob:",
        "frame-src 'self'",
        "frame-ancestors 'self'",
        "form-action 'self'",
        "base-uri 'none'",
    )
)


def create_app(data: Path) -> Flask:
    """Return the application that keeps its notes, pictures and large file in the folder `data`."""
    app = Flask(__name__)
    app.config.update(DATA=data, MAX_CONTENT_LENGTH=PICTURE_BYTES + FORM_BYTES)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_blueprint(experiments)
    app.register_error_handler(HTTPException, failed)
    app.after_request(protect)
    book = NoteBook(data / "guestbook.sqlite3")
    shelf = PictureShelf(data / "pictures")

    @app.get("/")
    def show() -> Response:
        return page(book)

    @app.post("/")
    def post() -> AnyResponse:
        # A browser tells when another site sent the form; what is no browser does not send the field.
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            abort(403, "Notes are written on this page, not sent from another site.")
        return write(book, shelf)

    @app.get("/pictures/<name>")
    def picture(name: str) -> Response:
        path = shelf.path(name)
        if path is None:
            abort(404)
        response = send_file(path, max_age=PICTURE_MAX_AGE_S)
        response.cache_control.immutable = True  # a name is given once and never to other content
        return response

    return app


def page(book: NoteBook, errors: dict[str, str] | None = None) -> Response:
    """Return the page with its form, and with what was typed into it when there are `errors`."""
    found = book.newest(before=request.args.get("before", type=int))
    shown = found[:NOTES_PER_PAGE]
    body = render_template(
        "page.html",
        notes=shown,
        count=book.count(),
        older=shown[-1].id if len(found) > len(shown) else None,
        errors=errors or {},
        facts=server_facts(),
        limits={"name": NAME_CHARACTERS, "text": TEXT_CHARACTERS, "megabytes": PICTURE_MEGABYTES},
        large_megabytes=LARGE_FILE_BYTES // 1000**2,
    )
    return Response(body, 422 if errors else 200, headers={"Cache-Control": "no-store"})


def write(book: NoteBook, shelf: PictureShelf) -> AnyResponse:
    """Write the note of the request's form and redirect to it, or return the page with what is wrong."""
    name = clean(request.form.get("name", ""), lines=False)
    text = clean(request.form.get("text", ""), lines=True)
    errors = faults(name, text)
    upload = request.files.get("picture")
    picture = None
    # A browser sends an empty part without a file name when no file was chosen.
    if not errors and upload is not None and upload.filename:
        try:
            picture = shelf.add(upload.stream)
        except PictureError as error:
            errors["picture"] = str(error)
    if errors:
        return page(book, errors)
    try:
        note = book.add(name, text, picture)
    except BaseException:
        if picture is not None:
            shelf.remove(picture)
        raise
    # 303 turns the POST into a GET, so that reloading the page does not write the note again.
    return redirect(url_for("show", _anchor=f"note-{note}"), 303)


def server_facts() -> dict[str, str]:
    """Return what the environ says about the server and this request."""
    environ = request.environ
    facts = {
        "Server": environ.get("SERVER_SOFTWARE", "not told"),
        "Thread": threading.current_thread().name,
        "Process": str(os.getpid()),
        "Protocol": environ.get("SERVER_PROTOCOL", "not told"),
        "Threads in a process": "several" if environ.get("wsgi.multithread") else "one",
        "wsgi.file_wrapper": "offered" if "wsgi.file_wrapper" in environ else "not offered",
    }
    # What this server adds to the environ of PEP 3333, such as how long the request waited for a thread.
    return facts | {key: str(environ[key]) for key in sorted(environ) if key.startswith("halfsync.")}


def failed(error: HTTPException) -> Response:
    """Return a page that says what went wrong."""
    text = error.description
    if isinstance(error, RequestEntityTooLarge):
        text = f"A picture may have at most {PICTURE_MEGABYTES} MB."
    body = render_template("error.html", code=error.code, title=error.name, text=text)
    response = Response(body)
    response.status_code = error.code or 500
    return response


def protect(response: Response) -> Response:
    """Add the header fields that keep a browser from running foreign scripts and from guessing types."""
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


app = create_app(Path(os.environ.get("GUESTBOOK_DATA") or Path(__file__).parent / "data"))
