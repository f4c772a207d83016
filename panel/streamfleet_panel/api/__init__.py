"""API v1. Routes are thin: they ask access.py, hand documents to apply/, and answer what represent.py shows."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.docs import Swagger

import streamfleet_panel
from streamfleet_panel.api import (
    djs,
    domains,
    media_users,
    mounts,
    nodes,
    objects,
    panel_domains,
    played,
    playlists,
    queue,
    relays,
    schedules,
    services,
    sessions,
    tokens,
    transfers,
    usage,
)
from streamfleet_panel.api.core import TokenAuth, error_of, refusal
from streamfleet_panel.apply.problems import ApiError, Problem, shown

api = NinjaAPI(
    title="Streamfleet",
    version=streamfleet_panel.__version__,
    description="Customers, reseller plans, nodes, media services, playlists, DJs, schedules, relays, domains, "
    "panel domains, mounts and media users of a streaming fleet. Send `Authorization: Bearer <token>`. Every error has "
    'the shape `{"error": {"code", "message", "errors": [{"path", "value", "message", "fix"}]}}`.',
    urls_namespace="api",
    auth=TokenAuth(),
    docs=Swagger(settings={"persistAuthorization": False, "docExpansion": "none"}),
)
for router in (
    objects.router,
    playlists.router,
    djs.router,
    schedules.router,
    relays.router,
    domains.router,
    panel_domains.router,
    mounts.router,
    media_users.router,
    played.router,
    queue.router,
    services.router,
    sessions.router,
    usage.router,
    nodes.router,
    transfers.router,
    tokens.router,
):
    api.add_router("", router)


def no_route(request: HttpRequest, rest: str) -> HttpResponse:
    """Any other address below /api/."""
    return refusal(ApiError("not_found", "There is no such route; see /api/v1/docs"))


def _validation(request: HttpRequest, error: Any) -> HttpResponse:
    problems = [
        Problem(".".join(str(part) for part in item["loc"][1:]), shown(item.get("input")), item["msg"], "")
        for item in error.errors
    ]
    first = problems[0]
    return refusal(ApiError("invalid_document", f"{first.path}: {first.message}", problems))


def _unauthenticated(request: HttpRequest, error: Any) -> HttpResponse:
    return refusal(ApiError("unauthenticated", "Send a token: Authorization: Bearer sft_…"))


def _not_found(request: HttpRequest, error: Any) -> HttpResponse:
    return refusal(ApiError("not_found", "There is nothing here"))


def _http(request: HttpRequest, error: Any) -> HttpResponse:
    code = {400: "invalid_document", 403: "forbidden", 404: "not_found"}.get(error.status_code, "internal_error")
    return refusal(ApiError(code, str(error)))


def _any(request: HttpRequest, error: Any) -> HttpResponse:
    return refusal(error_of(error))


api.add_exception_handler(ValidationError, _validation)
api.add_exception_handler(AuthenticationError, _unauthenticated)
api.add_exception_handler(Http404, _not_found)
api.add_exception_handler(HttpError, _http)
api.add_exception_handler(Exception, _any)
