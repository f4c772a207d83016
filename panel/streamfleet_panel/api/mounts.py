"""Mounts of media services, one by one: items of their service's own list."""

from __future__ import annotations

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
from streamfleet_panel.engines import engines

router = Router(tags=["mounts"])
# What mounts are made of.
_COLUMNS = ("slug", "engine", "settings", "port", "node__address", "node__stream_host")


def _mounts(actor: Actor, slug: str | None, search: str | None = None, label: str | None = None) -> list[Mount]:
    """Mounts of the services that the actor may see, of one or of all; ``label`` is the services'. One query."""
    services = labelled(access.services(actor), label).select_related(None).select_related("node").only(*_COLUMNS)
    if slug is not None:
        services = services.filter(slug=slug)
    known = engines()
    mounts = [
        mount
        for service in services.order_by("slug")
        if service.engine in known
        for mount in mounts_of(service, known[service.engine])
    ]
    return [mount for mount in mounts if search is None or search.lower() in mount.name]


def _page(mounts: list[Mount], limit: int, offset: int) -> HttpResponse:
    items = [represent.mount(mount) for mount in mounts[offset : offset + limit]]
    return answer({"items": items, "count": len(mounts)})


def _one(actor: Actor, slug: str, name: str) -> Mount:
    """The mount ``name``, without its slash; ApiError 404 where there is none that the actor may see."""
    for mount in _mounts(actor, slug):
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
    return _page(_mounts(actor, media_service, search, label), limit, offset)


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
    return _page(_mounts(actor, slug, search, label), limit, offset)


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
