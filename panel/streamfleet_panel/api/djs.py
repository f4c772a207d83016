"""DJs of media services."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, control, represent
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
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.apply.fields import SEPARATOR, key_of
from streamfleet_panel.models import Dj

router = Router(tags=["DJs"])


def _djs(actor: Actor, slug: str | None, search: str | None = None, label: str | None = None) -> QuerySet[Dj]:
    """DJs that the actor may see, of one service or of all."""
    queryset = matching(labelled(access.djs(actor), label), search, "username", "name")
    return queryset if slug is None else queryset.filter(media_service__slug=slug)


def _dj(request: HttpRequest, slug: str, username: str, action: str) -> tuple[Actor, Dj]:
    actor = actor_of_call(request)
    dj: Dj = found(_djs(actor, slug), "DJ", username=username)
    require(actor, action, "dj")
    return actor, dj


@router.get("/djs", summary="List the DJs of all media services")
def list_all_djs(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    media_service: str | None = Query(None, description="Slug of a media service."),
) -> HttpResponse:
    """DJs that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "dj")
    return page(_djs(actor, media_service, search, label), limit, offset, represent.dj)


@router.get("/media-services/{slug}/djs", summary="List the DJs of a media service")
def list_djs(
    request: HttpRequest,
    slug: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
) -> HttpResponse:
    """By user name."""
    actor = actor_of_call(request)
    require(actor, "view", "dj")
    found(access.services(actor), "media service", slug=slug)
    return page(_djs(actor, slug, search, label), limit, offset, represent.dj)


@router.get("/media-services/{slug}/djs/{username}", summary="Get a DJ")
def get_dj(request: HttpRequest, slug: str, username: str) -> HttpResponse:
    """One DJ, without the password."""
    return answer(represent.dj(_dj(request, slug, username, "view")[1]))


@router.put("/media-services/{slug}/djs/{username}", summary="Create or change a DJ", openapi_extra=put_body("dj"))
def put_dj(
    request: HttpRequest, slug: str, username: str, dry_run: bool = DRY_RUN, label: str | None = None
) -> HttpResponse:
    """A document of one DJ."""
    return put_one(request, "dj", f"{slug}{SEPARATOR}{username}", dry_run, "on_create", label)


@router.delete("/media-services/{slug}/djs/{username}", summary="Delete a DJ")
def delete_dj(request: HttpRequest, slug: str, username: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once and for good; disconnected if on the air."""
    queryset = _djs(actor_of_call(request), slug)
    return delete_one(request, "dj", queryset, f"{slug}{SEPARATOR}{username}", dry_run)


@router.get("/media-services/{slug}/djs/{username}/credentials", summary="Read a DJ's password (audited)")
def get_dj_credentials(request: HttpRequest, slug: str, username: str) -> HttpResponse:
    """In clear, with what the DJ enters into the encoder; every call is written to the audit log."""
    actor, dj = _dj(request, slug, username, "credentials")
    data = {
        "media_service": slug,
        "username": username,
        "credentials": {"password": dj.password},
        "connection": represent.dj_connection(dj, dj.password),
    }
    audit_entry(actor, "read_credentials", "dj", key_of("dj", dj), owner=dj.media_service.customer).save()
    return answer(data)


@router.post(
    "/media-services/{slug}/djs/{username}/kick",
    summary="Disconnect a DJ",
    description="Once, if connected; whoever may connect may come back. Answers the generation to wait for in the "
    "status of the service.",
)
def kick(request: HttpRequest, slug: str, username: str) -> HttpResponse:
    """Of all that a DJ may be told: get off the air."""
    actor, dj = _dj(request, slug, username, "kick")
    return answer({"generation": control.kick(actor, dj)})
