"""The routes in Falcon."""

from typing import Any

import falcon

from tests.apps import shared


class Hello:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "text/plain"
        response.data = shared.HELLO

    # Falcon does not answer HEAD by itself.
    on_head = on_get


class Form:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = request.get_media()


class Upload:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        for part in request.get_media():
            if part.name == "file":
                response.media = {"name": part.filename} | shared.measure(part.stream)


class Stream:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "text/plain"
        response.stream = shared.stream()

    def on_get_live(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "text/plain"
        response.stream = shared.live()


class File:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        path = shared.file_path()
        response.content_type = "application/octet-stream"
        # Falcon hands a stream with read() to wsgi.file_wrapper; the server closes it.
        response.set_stream(path.open("rb"), path.stat().st_size)

    on_head = on_get


class Fail:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise shared.OnPurposeError


def echo(req: falcon.Request, resp: falcon.Response, **kwargs: Any) -> None:
    """Answer every method and path below /echo/."""
    resp.media = shared.facts(req.env, req.path) | shared.measure(req.stream)


app: falcon.App[falcon.Request, falcon.Response] = falcon.App()
app.add_route("/hello", Hello())
app.add_route("/form", Form())
app.add_route("/upload", Upload())
app.add_route("/stream", Stream())
app.add_route("/live", Stream(), suffix="live")
app.add_route("/file", File())
app.add_route("/raise", Fail())
app.add_sink(echo, "/echo/")
