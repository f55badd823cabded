"""A Flask application behind a proxy."""

from flask import Flask, Response, request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix


def create_app() -> Flask:
    app = Flask(__name__)
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]

    @app.get("/")
    def start() -> dict[str, str | None]:
        return {"client": request.remote_addr, "url": url_for("start", _external=True)}

    @app.post("/form")
    def form() -> Response:
        return Response("&".join(f"{key}={value}" for key, value in sorted(request.form.items())))

    @app.get("/stream")
    def stream() -> Response:
        return Response((f"{number}\n" for number in range(1000)), mimetype="text/plain")

    return app
