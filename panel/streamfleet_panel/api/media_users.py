"""Media users: log-ins with which customers bring media by SFTP and FTP over TLS."""

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
from streamfleet_panel.models import MediaUser

router = Router(tags=["media users"])


def _users(
    actor: Actor, customer: str | None, search: str | None = None, label: str | None = None
) -> QuerySet[MediaUser]:
    """Media users that the actor may see, of one customer or of all."""
    queryset = matching(labelled(access.media_users(actor), label), search, "name", "customer__username")
    return queryset if customer is None else queryset.filter(customer__username=customer)


@router.get("/media-users", summary="List the media users of all customers")
def list_all_media_users(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    customer: str | None = Query(None, description="User name of a customer."),
) -> HttpResponse:
    """Media users that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "media_user")
    return page(_users(actor, customer, search, label), limit, offset, represent.media_user)


@router.get("/customers/{username}/media-users", summary="List the media users of a customer")
def list_media_users(
    request: HttpRequest,
    username: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
) -> HttpResponse:
    """By name."""
    actor = actor_of_call(request)
    require(actor, "view", "media_user")
    found(access.accounts(actor), "customer", username=username)
    return page(_users(actor, username, search, label), limit, offset, represent.media_user)


@router.get("/customers/{username}/media-users/{name}", summary="Get a media user")
def get_media_user(request: HttpRequest, username: str, name: str) -> HttpResponse:
    """One media user, without the password."""
    actor = actor_of_call(request)
    require(actor, "view", "media_user")
    return answer(represent.media_user(found(_users(actor, username), "media user", name=name)))


@router.put(
    "/customers/{username}/media-users/{name}",
    summary="Create or change a media user",
    openapi_extra=put_body("media_user"),
)
def put_media_user(
    request: HttpRequest,
    username: str,
    name: str,
    dry_run: bool = DRY_RUN,
    update_password: str = Query("on_create", description="on_create or always."),
    label: str | None = None,
) -> HttpResponse:
    """A document of one media user."""
    return put_one(request, "media_user", f"{username}{SEPARATOR}{name}", dry_run, update_password, label)


@router.delete("/customers/{username}/media-users/{name}", summary="Delete a media user")
def delete_media_user(request: HttpRequest, username: str, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once and for good; the sessions end."""
    queryset = _users(actor_of_call(request), username)
    return delete_one(request, "media_user", queryset, f"{username}{SEPARATOR}{name}", dry_run)
