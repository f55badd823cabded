"""The routes in Flask."""

from typing import Any

from flask import Flask, Response, abort, request, send_file

from tests.apps import shared

app = Flask(__name__)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@app.get("/hello")
def hello() -> Response:
    return Response(shared.HELLO, content_type="text/plain")


@app.route("/echo/", methods=METHODS, defaults={"rest": ""})
@app.route("/echo/<path:rest>", methods=METHODS)
def echo(rest: str) -> dict[str, Any]:
    return shared.facts(request.environ, request.path) | shared.measure(request.stream)


@app.post("/form")
def form() -> dict[str, Any]:
    return request.form.to_dict()


@app.post("/upload")
def upload() -> dict[str, Any]:
    file = request.files.get("file") or abort(400)
    return {"name": file.filename} | shared.measure(file.stream)


@app.get("/stream")
def stream() -> Response:
    return Response(shared.stream(), content_type="text/plain")


@app.get("/live")
def live() -> Response:
    return Response(shared.live(), content_type="text/plain")


@app.get("/file")
def file() -> Response:
    return send_file(shared.file_path(), "application/octet-stream")


@app.get("/raise")
def fail() -> Response:
    raise shared.OnPurposeError
