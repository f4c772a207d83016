"""What nodes and the worker ask, and what administrators ask of nodes."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, control, nodedoc, represent
from streamfleet_panel.access import Actor, require
from streamfleet_panel.api.core import actor_of_call, answer, body_of, found, listed
from streamfleet_panel.api.schema import json_body
from streamfleet_panel.models import Node

router = Router(tags=["nodes"])


def _node(request: HttpRequest, name: str, action: str) -> tuple[Actor, Node]:
    actor = actor_of_call(request)
    node: Node = found(access.nodes(actor), "node", name=name)
    require(actor, action, "node")
    return actor, node


@router.get(
    "/nodes/{name}/document",
    summary="Desired state of a node",
    description="All of its services, credentials included: for the node's token, the worker and administrators.",
)
def get_document(request: HttpRequest, name: str) -> HttpResponse:
    """Has an ETag; If-None-Match is answered with 304."""
    _, node = _node(request, name, "document")
    etag = nodedoc.etag(node)
    if etag in [tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")]:
        return HttpResponse(status=304, headers={"ETag": etag, "Cache-Control": "no-store"})
    return answer(nodedoc.document(node), headers={"ETag": etag})


@router.put(
    "/nodes/{name}/status",
    summary="Report what a node runs",
    description="An older generation than the last reported one is refused with 409.",
    openapi_extra=json_body(
        {
            "type": "object",
            "required": ["epoch", "generation", "services"],
            "properties": {
                "epoch": {"type": "string"},
                "generation": {"type": "integer"},
                "services": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "required": ["generation", "state"],
                        "properties": {
                            "generation": {"type": "integer"},
                            "state": {"type": "string", "enum": list(nodedoc.STATES)},
                            "message": {"type": "string"},
                        },
                    },
                },
            },
        },
        {
            "epoch": "6f1c…",
            "generation": 42,
            "services": {"rock-fm": {"generation": 17, "state": "running", "message": ""}},
        },
    ),
)
def put_status(request: HttpRequest, name: str) -> HttpResponse:
    """Written in bulk."""
    _, node = _node(request, name, "status")
    return answer(nodedoc.store_status(node, body_of(request)))


@router.post("/nodes/{name}/converge", summary="Bring a node up to date now")
def converge(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for a run, even where nothing changed; joins one that is waiting already."""
    actor, node = _node(request, name, "converge")
    run = control.converge(actor, node)
    return answer({"run": represent.run(run)}, 202)


@router.get("/nodes/{name}/runs", summary="Converge runs of a node, newest first")
def list_runs(
    request: HttpRequest, name: str, limit: int = Query(20, ge=1, le=1000), offset: int = Query(0, ge=0)
) -> HttpResponse:
    """With the tail of their output."""
    actor, node = _node(request, name, "view")
    items, count = listed(access.runs(actor).filter(node=node), limit, offset)
    return answer({"items": [represent.run(item) for item in items], "count": count})
