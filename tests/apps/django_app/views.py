"""The views of the project."""

from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from tests.apps import shared


@require_safe
def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(shared.HELLO, content_type="text/plain")


@csrf_exempt
def echo(request: HttpRequest, rest: str) -> HttpResponse:
    return JsonResponse(shared.facts(request.META, request.path) | shared.measure(request))


@csrf_exempt
@require_POST
def form(request: HttpRequest) -> HttpResponse:
    return JsonResponse(request.POST.dict())


@csrf_exempt
@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    file = request.FILES["file"]
    return JsonResponse({"name": file.name} | shared.measure(file))


@require_safe
def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(shared.stream(), content_type="text/plain")


@require_safe
def live(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(shared.live(), content_type="text/plain")


@require_safe
def file(request: HttpRequest) -> FileResponse:
    return FileResponse(shared.file_path().open("rb"), content_type="application/octet-stream")


def fail(request: HttpRequest) -> HttpResponse:
    raise shared.OnPurposeError


def session(request: HttpRequest) -> HttpResponse:
    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return JsonResponse({"visits": visits})
