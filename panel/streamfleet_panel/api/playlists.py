"""Playlists of media services."""

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
from streamfleet_panel.models import Playlist

router = Router(tags=["playlists"])
_TYPE = Query(None, description="rotation, scheduled or jingle.")


def _playlists(
    actor: Actor, slug: str | None, search: str | None, label: str | None, kind: str | None
) -> QuerySet[Playlist]:
    """Playlists that the actor may see, of one service or of all; with ``kind`` of one type."""
    queryset = matching(labelled(access.playlists(actor), label), search, "name")
    exact = {"media_service__slug": slug, "type": kind}
    return queryset.filter(**{name: value for name, value in exact.items() if value is not None})


@router.get("/playlists", summary="List playlists of all media services")
def list_all_playlists(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    media_service: str | None = Query(None, description="Slug of a media service."),
    type: str | None = _TYPE,
) -> HttpResponse:
    """Playlists that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "playlist")
    queryset = _playlists(actor, media_service, search, label, type)
    return page(queryset, limit, offset, represent.playlist)


@router.get("/media-services/{slug}/playlists", summary="List the playlists of a media service")
def list_playlists(
    request: HttpRequest,
    slug: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    type: str | None = _TYPE,
) -> HttpResponse:
    """By name."""
    actor = actor_of_call(request)
    require(actor, "view", "playlist")
    found(access.services(actor), "media service", slug=slug)
    return page(_playlists(actor, slug, search, label, type), limit, offset, represent.playlist)


@router.get("/media-services/{slug}/playlists/{name}", summary="Get a playlist")
def get_playlist(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One playlist."""
    actor = actor_of_call(request)
    require(actor, "view", "playlist")
    return answer(represent.playlist(found(_playlists(actor, slug, None, None, None), "playlist", name=name)))


@router.put(
    "/media-services/{slug}/playlists/{name}",
    summary="Create or change a playlist",
    openapi_extra=put_body("playlist"),
)
def put_playlist(
    request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN, label: str | None = None
) -> HttpResponse:
    """A document of one playlist."""
    return put_one(request, "playlist", f"{slug}{SEPARATOR}{name}", dry_run, "on_create", label)


@router.delete("/media-services/{slug}/playlists/{name}", summary="Delete a playlist")
def delete_playlist(request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once and for good."""
    queryset = _playlists(actor_of_call(request), slug, None, None, None)
    return delete_one(request, "playlist", queryset, f"{slug}{SEPARATOR}{name}", dry_run)
