"""Transfers of media services between nodes: administrators', for transfer.yml."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, represent, service_transfers
from streamfleet_panel.access import require
from streamfleet_panel.api.core import actor_of_call, answer, found, listed, mapping_of, only
from streamfleet_panel.api.schema import json_body
from streamfleet_panel.apply.problems import ApiError, Problem, shown

router = Router(tags=["transfers"])


@router.get("/transfers", summary="List the transfers that are under way")
def list_transfers(
    request: HttpRequest,
    limit: int = Query(100, ge=1, le=1000),
    offset: int = Query(0, ge=0),
    media_service: str | None = Query(None, description="Slug of a media service."),
    customer: str | None = Query(None, description="User name of a customer."),
    node: str | None = Query(None, description="Name of the node that services leave."),
) -> HttpResponse:
    """The latest first. What is released or undone is in the audit log."""
    actor = actor_of_call(request)
    require(actor, "view", "transfer")
    exact = {
        "items__service__slug": media_service,
        "items__service__customer__username": customer,
        "source__name": node,
    }
    wanted = {name: value for name, value in exact.items() if value is not None}
    items, count = listed(access.transfers(actor).filter(**wanted).distinct(), limit, offset)
    return answer({"items": represent.transfers(items), "count": count})


@router.get("/transfers/{id}", summary="Get a transfer")
def get_transfer(request: HttpRequest, id: int) -> HttpResponse:
    """One that is under way."""
    actor = actor_of_call(request)
    require(actor, "view", "transfer")
    return answer(represent.transfer(found(access.transfers(actor), "transfer", pk=id)))


@router.post(
    "/transfers",
    summary="Begin a transfer of media services to another node",
    description="Of `services`, or all of a `customer`, or all of a `node`. Answers the transfer of just these "
    "services where it is under way already, and null where they are there. With `dry_run` nothing is begun.",
    openapi_extra=json_body(
        {
            "type": "object",
            "required": ["to"],
            "additionalProperties": False,
            "properties": {
                "services": {"type": "array", "items": {"type": "string"}, "maxItems": service_transfers.MOST},
                "customer": {"type": "string"},
                "node": {"type": "string"},
                "to": {"type": "string"},
                "dry_run": {"type": "boolean", "default": False},
            },
        },
        {"services": ["rock-fm"], "to": "node2"},
    ),
)
def begin(request: HttpRequest) -> HttpResponse:
    """201 where it is new."""
    actor = actor_of_call(request)
    require(actor, "create", "transfer")
    data = mapping_of(request)
    only(data, "services", "customer", "node", "to", "dry_run")
    dry_run = _flag(data, "dry_run")
    target = _text(data, "to")
    one, items, new = service_transfers.begin(actor, _slugs(data, target), target, dry_run=dry_run)
    shown_ = None if one is None else represent.transfer(one, items)
    return answer({"transfer": shown_, "new": new}, 201 if new and not dry_run else 200)


@router.post(
    "/transfers/{id}/steps",
    summary="Do a step of a transfer",
    description="The steps and the states that they lead to are in docs/contracts.md. One that was done is no error. "
    "`switch`, `back` and `resume` say which `hold` they end. With `force` services are released that failed there.",
    openapi_extra=json_body(
        {
            "type": "object",
            "required": ["step"],
            "additionalProperties": False,
            "properties": {
                "step": {"type": "string", "enum": list(service_transfers.STEPS)},
                "hold": {"type": "integer"},
                "force": {"type": "boolean", "default": False},
            },
        },
        {"step": "hold"},
    ),
)
def do_step(request: HttpRequest, id: int) -> HttpResponse:
    """Null when that was its end."""
    actor = actor_of_call(request)
    require(actor, "update", "transfer")
    data = mapping_of(request)
    only(data, "step", "hold", "force")
    name, hold, force = str(data.get("step")), data.get("hold"), _flag(data, "force")
    if (
        (hold is None and name in service_transfers.ENDING)
        or isinstance(hold, bool)
        or not isinstance(hold, int | None)
    ):
        problem = Problem("hold", shown(hold), "must be the number of the hold", "Send hold, as the step hold said it.")
        raise ApiError("invalid_document", "hold: must be the number of the hold", [problem])
    if name == "finish" and not access.transfers(actor).filter(pk=id).exists():
        # It is at its end, and the answer that said so was lost.
        return answer({"transfer": None})
    one = found(access.transfers(actor), "transfer", pk=id)
    after = service_transfers.step(actor, one, name, hold, force=force)
    return answer({"transfer": None if after is None else represent.transfer(after)})


def _slugs(data: dict[str, Any], target: str) -> list[str]:
    """The services that are asked for, in one of three ways."""
    ways = [name for name in ("services", "customer", "node") if data.get(name) is not None]
    if len(ways) != 1:
        message = "one of services, customer and node is needed"
        raise ApiError("invalid_document", message, [Problem("services", None, message, "Give one of these three.")])
    if ways[0] != "services":
        return service_transfers.slugs_of(ways[0], _text(data, ways[0]), target)
    named = data["services"]
    if not isinstance(named, list) or not all(isinstance(slug, str) for slug in named):
        problem = Problem("services", shown(named), "must be a list of slugs", "Send the slugs of services.")
        raise ApiError("invalid_document", "services: must be a list of slugs", [problem])
    return named


def _flag(data: dict[str, Any], name: str) -> bool:
    value = data.get(name, False)
    if not isinstance(value, bool):
        problem = Problem(name, shown(value), "must be true or false", "Leave it out, or send true.")
        raise ApiError("invalid_document", f"{name}: must be true or false", [problem])
    return value


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        problem = Problem(name, shown(value), "must be a name", f"Send {name}.")
        raise ApiError("invalid_document", f"{name}: must be a name", [problem])
    return value
