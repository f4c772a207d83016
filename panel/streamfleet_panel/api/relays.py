"""Relays of media services."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, represent
from streamfleet_panel.access import Actor, require
from streamfleet_panel.api.core import actor_of_call, answer, found, matching
from streamfleet_panel.api.objects import (
    DRY_RUN,
    LABEL,
    LIMIT,
    OFFSET,
    SEARCH,
    delete_one,
    labelled,
    page,
    put_one,
)
from streamfleet_panel.api.schema import put_body
from streamfleet_panel.apply.fields import SEPARATOR
from streamfleet_panel.models import Relay

router = Router(tags=["relays"])
_DIRECTION = Query(None, description="in or out.")


def _relays(
    actor: Actor, slug: str | None, search: str | None, label: str | None, direction: str | None
) -> QuerySet[Relay]:
    """Relays that the actor may see, of one service or of all; with ``direction`` of one."""
    queryset = matching(labelled(access.relays(actor), label), search, "name", "address")
    exact = {"media_service__slug": slug, "direction": direction}
    return queryset.filter(**{name: value for name, value in exact.items() if value is not None})


@router.get("/relays", summary="List the relays of all media services")
def list_all_relays(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    media_service: str | None = Query(None, description="Slug of a media service."),
    direction: str | None = _DIRECTION,
) -> HttpResponse:
    """Relays that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "relay")
    queryset = _relays(actor, media_service, search, label, direction)
    return page(queryset, limit, offset, represent.relay)


@router.get("/media-services/{slug}/relays", summary="List the relays of a media service")
def list_relays(
    request: HttpRequest,
    slug: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    direction: str | None = _DIRECTION,
) -> HttpResponse:
    """By name."""
    actor = actor_of_call(request)
    require(actor, "view", "relay")
    found(access.services(actor), "media service", slug=slug)
    return page(_relays(actor, slug, search, label, direction), limit, offset, represent.relay)


@router.get("/media-services/{slug}/relays/{name}", summary="Get a relay")
def get_relay(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One relay, without the password."""
    actor = actor_of_call(request)
    require(actor, "view", "relay")
    return answer(represent.relay(found(_relays(actor, slug, None, None, None), "relay", name=name)))


@router.put("/media-services/{slug}/relays/{name}", summary="Create or change a relay", openapi_extra=put_body("relay"))
def put_relay(
    request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN, label: str | None = None
) -> HttpResponse:
    """A document of one relay."""
    return put_one(request, "relay", f"{slug}{SEPARATOR}{name}", dry_run, "on_create", label)


@router.delete("/media-services/{slug}/relays/{name}", summary="Delete a relay")
def delete_relay(request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once and for good; disconnected."""
    queryset = _relays(actor_of_call(request), slug, None, None, None)
    return delete_one(request, "relay", queryset, f"{slug}{SEPARATOR}{name}", dry_run)
