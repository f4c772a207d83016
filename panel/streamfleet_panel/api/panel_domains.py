"""Names of resellers' own for the panel."""

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
from streamfleet_panel.models import PanelDomain

router = Router(tags=["panel domains"])
_STATUS = Query(None, description="pending, verified or lost.")


def _domains(
    actor: Actor,
    reseller: str | None,
    search: str | None = None,
    label: str | None = None,
    status: str | None = None,
    leads_to: str | None = None,
) -> QuerySet[PanelDomain]:
    """Panel domains that the actor may see, of one reseller or of all; with ``status`` and ``leads_to`` such ones."""
    queryset = matching(labelled(access.panel_domains(actor), label), search, "name", "brand")
    exact = {"reseller__username": reseller, "status": status}
    queryset = queryset.filter(**{name: value for name, value in exact.items() if value is not None})
    return leading_to(queryset, leads_to)


@router.get("/panel-domains", summary="List the panel domains of all resellers")
def list_all_panel_domains(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    reseller: str | None = Query(None, description="User name of a reseller."),
    status: str | None = _STATUS,
    leads_to: str | None = LEADS_TO,
) -> HttpResponse:
    """Panel domains that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "panel_domain")
    return page(_domains(actor, reseller, search, label, status, leads_to), limit, offset, represent.panel_domain)


@router.get("/customers/{username}/panel-domains", summary="List the panel domains of a reseller")
def list_panel_domains(
    request: HttpRequest,
    username: str,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    label: str | None = LABEL,
    status: str | None = _STATUS,
    leads_to: str | None = LEADS_TO,
) -> HttpResponse:
    """By name."""
    actor = actor_of_call(request)
    require(actor, "view", "panel_domain")
    found(access.accounts(actor), "customer", username=username)
    return page(_domains(actor, username, search, label, status, leads_to), limit, offset, represent.panel_domain)


@router.get("/customers/{username}/panel-domains/{name}", summary="Get a panel domain")
def get_panel_domain(request: HttpRequest, username: str, name: str) -> HttpResponse:
    """One panel domain, with the records that prove it, and what was found of them."""
    actor = actor_of_call(request)
    require(actor, "view", "panel_domain")
    return answer(represent.panel_domain(_found(actor, username, name)))


@router.put(
    "/customers/{username}/panel-domains/{name}",
    summary="Create or change a panel domain",
    openapi_extra=put_body("panel_domain"),
)
def put_panel_domain(
    request: HttpRequest, username: str, name: str, dry_run: bool = DRY_RUN, label: str | None = None
) -> HttpResponse:
    """A document of one panel domain."""
    return put_one(request, "panel_domain", f"{username}{SEPARATOR}{name}", dry_run, "on_create", label)


@router.delete("/customers/{username}/panel-domains/{name}", summary="Delete a panel domain")
def delete_panel_domain(request: HttpRequest, username: str, name: str, dry_run: bool = DRY_RUN) -> HttpResponse:
    """At once and for good; the panel does not answer under it any more."""
    queryset = _domains(actor_of_call(request), username)
    return delete_one(request, "panel_domain", queryset, f"{username}{SEPARATOR}{name}", dry_run)


@router.post("/customers/{username}/panel-domains/{name}/check", summary="Have a panel domain checked now")
def check_panel_domain(request: HttpRequest, username: str, name: str) -> HttpResponse:
    """Within seconds, by the jobs process; at most once a minute. ``checked_at`` says when it was done."""
    actor = actor_of_call(request)
    require(actor, "check", "panel_domain")
    return answer(represent.panel_domain(ask(actor, _found(actor, username, name))), 202)


def _found(actor: Actor, username: str, name: str) -> PanelDomain:
    claim: PanelDomain = found(_domains(actor, username), "panel domain", name=name)
    return claim
