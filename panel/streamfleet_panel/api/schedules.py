"""Schedules: the entries of media services' calendars."""

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
from streamfleet_panel.models import Schedule

router = Router(tags=["schedules"])
_PLAYLIST = Query(None, description="Name of a playlist.")
_DJ = Query(None, description="User name of a DJ.")


def _schedules(
    actor: Actor,
    slug: str | None,
    search: str | None = None,
    label: str | None = None,
    playlist: str | None = None,
    dj: str | None = None,
) -> QuerySet[Schedule]:
    """Schedules that the actor may see, of one service or of all; of one playlist or DJ."""
    queryset = matching(labelled(access.schedules(actor), label), search, "name", "playlist", "dj")
    exact = {"media_service__slug": slug, "playlist": playlist, "dj": dj}
    return queryset.filter(**{name: value for name, value in exact.items() if value is not None})


@router.get("/schedules", summary="List the schedules of all media services")
def list_all_schedules(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    media_service: str | None = Query(None, description="Slug of a media service."),
    playlist: str | None = _PLAYLIST,
    dj: str | None = _DJ,
) -> HttpResponse:
    """Schedules that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "schedule")
    queryset = _schedules(actor, media_service, search, label, playlist, dj)
    return page(queryset, limit, offset, represent.schedule)


@router.get("/media-services/{slug}/schedules", summary="List the schedules of a media service")
def list_schedules(
    request: HttpRequest,
    slug: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    playlist: str | None = _PLAYLIST,
    dj: str | None = _DJ,
) -> HttpResponse:
    """By name."""
    actor = actor_of_call(request)
    require(actor, "view", "schedule")
    found(access.services(actor), "media service", slug=slug)
    return page(_schedules(actor, slug, search, label, playlist, dj), limit, offset, represent.schedule)


@router.get("/media-services/{slug}/schedules/{name}", summary="Get a schedule")
def get_schedule(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One schedule."""
    actor = actor_of_call(request)
    require(actor, "view", "schedule")
    return answer(represent.schedule(found(_schedules(actor, slug), "schedule", name=name)))


@router.put(
    "/media-services/{slug}/schedules/{name}",
    summary="Create or change a schedule",
    openapi_extra=put_body("schedule"),
)
def put_schedule(
    request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN, label: str | None = None
) -> HttpResponse:
    """A document of one schedule."""
    return put_one(request, "schedule", f"{slug}{SEPARATOR}{name}", dry_run, "on_create", label)


@router.delete("/media-services/{slug}/schedules/{name}", summary="Delete a schedule")
def delete_schedule(request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once and for good."""
    queryset = _schedules(actor_of_call(request), slug)
    return delete_one(request, "schedule", queryset, f"{slug}{SEPARATOR}{name}", dry_run)
