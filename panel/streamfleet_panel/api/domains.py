"""Custom domains of media services."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, represent
from streamfleet_panel.access import Actor, require
from streamfleet_panel.api.core import actor_of_call, answer, found, matching
from streamfleet_panel.api.leads_to import LEADS_TO, leading_to
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
from streamfleet_panel.domains.ask import ask
from streamfleet_panel.models import Domain

router = Router(tags=["domains"])
_STATUS = Query(None, description="pending, verified or lost.")


def _domains(
    actor: Actor,
    slug: str | None,
    search: str | None = None,
    label: str | None = None,
    status: str | None = None,
    leads_to: str | None = None,
) -> QuerySet[Domain]:
    """Domains that the actor may see, of one service or of all; with ``status`` and ``leads_to`` such ones."""
    queryset = matching(labelled(access.domains(actor), label), search, "name")
    exact = {"media_service__slug": slug, "status": status}
    queryset = queryset.filter(**{name: value for name, value in exact.items() if value is not None})
    return leading_to(queryset, leads_to)


@router.get("/domains", summary="List the domains of all media services")
def list_all_domains(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    media_service: str | None = Query(None, description="Slug of a media service."),
    status: str | None = _STATUS,
    leads_to: str | None = LEADS_TO,
) -> HttpResponse:
    """Domains that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "domain")
    return page(_domains(actor, media_service, search, label, status, leads_to), limit, offset, represent.domain)


@router.get("/media-services/{slug}/domains", summary="List the domains of a media service")
def list_domains(
    request: HttpRequest,
    slug: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    status: str | None = _STATUS,
    leads_to: str | None = LEADS_TO,
) -> HttpResponse:
    """By name."""
    actor = actor_of_call(request)
    require(actor, "view", "domain")
    found(access.services(actor), "media service", slug=slug)
    return page(_domains(actor, slug, search, label, status, leads_to), limit, offset, represent.domain)


@router.get("/media-services/{slug}/domains/{name}", summary="Get a domain")
def get_domain(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One domain, with the records that prove it, and what was found of them."""
    actor = actor_of_call(request)
    require(actor, "view", "domain")
    return answer(represent.domain(_found(actor, slug, name)))


@router.put(
    "/media-services/{slug}/domains/{name}", summary="Create or change a domain", openapi_extra=put_body("domain")
)
def put_domain(
    request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN, label: str | None = None
) -> HttpResponse:
    """A document of one domain."""
    return put_one(request, "domain", f"{slug}{SEPARATOR}{name}", dry_run, "on_create", label)


@router.delete("/media-services/{slug}/domains/{name}", summary="Delete a domain")
def delete_domain(request: HttpRequest, slug: str, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once and for good; not served any more."""
    queryset = _domains(actor_of_call(request), slug)
    return delete_one(request, "domain", queryset, f"{slug}{SEPARATOR}{name}", dry_run)


@router.post("/media-services/{slug}/domains/{name}/check", summary="Have a domain checked now")
def check_domain(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Within seconds, by the jobs process; at most once a minute. ``checked_at`` says when it was done."""
    actor = actor_of_call(request)
    claim = _found(actor, slug, name)
    require(actor, "check", "domain")
    return answer(represent.domain(ask(actor, claim)), 202)


def _found(actor: Actor, slug: str, name: str) -> Domain:
    claim: Domain = found(_domains(actor, slug), "domain", name=name)
    return claim
