"""Mounts of media services, one by one: items of their service's own list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, represent
from streamfleet_panel.access import Actor, require
from streamfleet_panel.api.core import actor_of_call, answer, found
from streamfleet_panel.api.objects import DRY_RUN, LABEL, LIMIT, OFFSET, SEARCH, apply_one, labelled, put_one
from streamfleet_panel.api.schema import put_body
from streamfleet_panel.apply import ApiError
from streamfleet_panel.apply.fields import SEPARATOR, key_fields
from streamfleet_panel.apply.mounts import Mount, mounts_of
from streamfleet_panel.engines import Engine, engines
from streamfleet_panel.models import MediaService

router = Router(tags=["mounts"])
# What mounts are made of.
_COLUMNS = ("slug", "engine", "service_type", "settings", "port", "node__address", "node__stream_host")


def _services(actor: Actor, slug: str | None, label: str | None = None) -> QuerySet[MediaService]:
    """The services that the actor may see, one or all; ``label`` is theirs."""
    services = labelled(access.services(actor), label).select_related(None)
    return services if slug is None else services.filter(slug=slug)


def _loaded(services: QuerySet[MediaService]) -> QuerySet[MediaService]:
    return services.select_related("node").only(*_COLUMNS)


def _names(engine: Engine, stored: Mapping[str, Any]) -> list[str]:
    """Of a service's mounts, in their order, as ``mounts_of`` has them."""
    if engine.mounts_field is None:
        return []
    return [str(item["name"]) for item in stored.get(engine.mounts_field, engine.fields[engine.mounts_field].default)]


def _page(services: QuerySet[MediaService], search: str | None, limit: int, offset: int) -> HttpResponse:
    """A page of these services' mounts. Of the others only the names are looked at: two queries."""
    known = engines()
    places = [
        (pk, number)
        for pk, engine, stored in services.order_by("slug").values_list("pk", "engine", "settings")
        if engine in known
        for number, name in enumerate(_names(known[engine], stored))
        if search is None or search.lower() in name
    ]
    shown = places[offset : offset + limit]
    mounts = {
        pk: dict(enumerate(mounts_of(service, known[service.engine])))
        for pk, service in _loaded(services).in_bulk({pk for pk, _ in shown}).items()
    }
    # A service may have changed between the two.
    found = [mounts[pk][number] for pk, number in shown if number in mounts.get(pk, {})]
    return answer({"items": [represent.mount(mount) for mount in found], "count": len(places)})


def _one(actor: Actor, slug: str, name: str) -> Mount:
    """The mount ``name``, without its slash; ApiError 404 where there is none that the actor may see."""
    known = engines()
    for service in _loaded(_services(actor, slug)):
        for mount in mounts_of(service, known[service.engine]) if service.engine in known else ():
            if mount.name == f"{SEPARATOR}{name}":
                return mount
    raise ApiError("not_found", f"There is no mount {SEPARATOR}{name[:100]}")


@router.get("/mounts", summary="List the mounts of all media services")
def list_all_mounts(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    media_service: str | None = Query(None, description="Slug of a media service."),
) -> HttpResponse:
    """Mounts that the caller may see; the label is their services'."""
    actor = actor_of_call(request)
    require(actor, "view", "mount")
    return _page(_services(actor, media_service, label), search, limit, offset)


@router.get("/media-services/{slug}/mounts", summary="List the mounts of a media service")
def list_mounts(
    request: HttpRequest,
    slug: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
) -> HttpResponse:
    """In the order of the service's list."""
    actor = actor_of_call(request)
    require(actor, "view", "mount")
    found(access.services(actor), "media service", slug=slug)
    return _page(_services(actor, slug, label), search, limit, offset)


@router.get("/media-services/{slug}/mounts/{name}", summary="Get a mount")
def get_mount(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One mount; its name without the slash."""
    actor = actor_of_call(request)
    require(actor, "view", "mount")
    return answer(represent.mount(_one(actor, slug, name)))


@router.put("/media-services/{slug}/mounts/{name}", summary="Create or change a mount", openapi_extra=put_body("mount"))
def put_mount(request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """A document of one mount; all others of the service stay as they are."""
    return put_one(request, "mount", f"{slug}{SEPARATOR}{name}", dry_run, "on_create", None)


@router.delete("/media-services/{slug}/mounts/{name}", summary="Delete a mount")
def delete_mount(request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once; whoever listens to it is disconnected."""
    actor = actor_of_call(request)
    _one(actor, slug, name)
    require(actor, "delete", "mount")
    named = key_fields("mount", f"{slug}{SEPARATOR}{name}")
    return apply_one(actor, "mount", {**named, "state": "absent"}, dry_run)
