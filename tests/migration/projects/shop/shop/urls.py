"""The pages of the project."""

import os

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path


def price(request: HttpRequest, number: int) -> JsonResponse:
    worker = os.environ.get("SHOP_WORKER")
    return JsonResponse(
        {"price": number, "currency": settings.CURRENCY, "worker": worker, "tls": request.is_secure()}
    )


def order(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body.upper(), content_type="text/plain", status=201)


urlpatterns = [path("price/<int:number>", price), path("order", order)]
