"""What can be asked of and done to one media service beside changing its fields."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from streamfleet_panel import access, control, represent
from streamfleet_panel.access import Actor, require
from streamfleet_panel.api.core import actor_of_call, answer, found, mapping_of, only
from streamfleet_panel.api.schema import json_body
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.apply.problems import ApiError, Problem, shown
from streamfleet_panel.engines import engines
from streamfleet_panel.models import MediaService
from streamfleet_panel.nodedoc import still_valid

router = Router(tags=["media services"])


def _service(request: HttpRequest, slug: str, action: str) -> tuple[Actor, MediaService]:
    actor = actor_of_call(request)
    service: MediaService = found(access.services(actor), "media service", slug=slug)
    require(actor, action, "media_service")
    return actor, service


@router.get("/media-services/{slug}/status", summary="Is it on the air?")
def get_status(request: HttpRequest, slug: str) -> HttpResponse:
    """State as the node reported it, or how far the node is from reporting."""
    actor = actor_of_call(request)
    # A deleted service can be followed until it is off the air.
    service = access.services(actor).filter(slug=slug).first() or found(
        access.services(actor, deleted=True), "media service", slug=slug
    )
    return answer(represent.status(service, represent.latest_runs([service.node_id]), actor))


def credentials_of(service: MediaService) -> dict[str, Any]:
    """A service's credentials in clear, with what a broadcaster enters. Whoever calls this writes the audit entry."""
    from django.utils import timezone

    engine = engines()[service.engine]
    stored = service.credentials
    settings = engine.settings(service.settings)
    return {
        "slug": service.slug,
        "credentials": engine.all_credentials(stored),
        "previous_credentials": still_valid(service.previous_credentials, timezone.now()),
        "connection": represent.connection(service, engine, settings, stored),
        "generation": service.generation,
    }


@router.get("/media-services/{slug}/credentials", summary="Read the credentials (audited)")
def get_credentials(request: HttpRequest, slug: str) -> HttpResponse:
    """In clear, for their owner; every call is written to the audit log."""
    actor, service = _service(request, slug, "credentials")
    data = credentials_of(service)
    audit_entry(actor, "read_credentials", "media_service", slug, owner=service.customer).save()
    return answer(data)


@router.post(
    "/media-services/{slug}/credentials/rotate",
    summary="Make new credentials",
    description="`names` empty: all that the panel makes. With `overlap_seconds` the old values are accepted as well "
    "until then, where the engine can. Answers like reading them.",
    openapi_extra=json_body(
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "names": {"type": "array", "items": {"type": "string"}, "default": []},
                "overlap_seconds": {"type": "integer", "minimum": 0, "maximum": control.MOST_OVERLAP, "default": 0},
            },
        },
        {"names": ["stream_key"], "overlap_seconds": 3600},
        required=False,
    ),
)
def rotate(request: HttpRequest, slug: str) -> HttpResponse:
    """New random values."""
    actor, service = _service(request, slug, "rotate")
    data = mapping_of(request)
    only(data, "names", "overlap_seconds")
    names, overlap = data.get("names", []), data.get("overlap_seconds", 0)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problem = Problem("names", shown(names), "must be a list of names", "Send the names of credentials.")
        raise ApiError("invalid_document", "names: must be a list of names", [problem])
    if type(overlap) is not int or not 0 <= overlap <= control.MOST_OVERLAP:
        message = f"must be between 0 and {control.MOST_OVERLAP} seconds"
        raise ApiError(
            "invalid_document", f"overlap_seconds: {message}", [Problem("overlap_seconds", shown(overlap), message, "")]
        )
    return answer(credentials_of(control.rotate(actor, service, names, overlap)))


@router.post(
    "/media-services/{slug}/actions",
    summary="Start, stop or restart, or skip what the AutoDJ plays",
    description="Answers the generation to wait for in the status.",
    openapi_extra=json_body(
        {
            "type": "object",
            "required": ["action"],
            "additionalProperties": False,
            "properties": {"action": {"type": "string", "enum": list(control.ACTIONS)}},
        },
        {"action": "restart"},
    ),
)
def act(request: HttpRequest, slug: str) -> HttpResponse:
    """One of start, stop, restart, skip."""
    actor, service = _service(request, slug, "control")
    data = mapping_of(request)
    only(data, "action")
    return answer({"generation": control.act(actor, service, str(data.get("action")))})
