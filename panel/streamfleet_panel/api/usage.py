"""What media services use, as measured."""

from __future__ import annotations

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.params.functions import Query

from streamfleet_panel import access, represent
from streamfleet_panel.access import require
from streamfleet_panel.api.core import actor_of_call, answer, found, listed, matching
from streamfleet_panel.api.objects import LIMIT, OFFSET, SEARCH

router = Router(tags=["use"])


@router.get(
    "/usage",
    summary="List what media services use",
    description="Listeners, sources with their bitrates, transfer and disk as measured, beside the limits.",
)
def list_usage(
    request: HttpRequest,
    limit: int = LIMIT,
    offset: int = OFFSET,
    search: str | None = SEARCH,
    media_service: str | None = Query(None, description="Slug of a media service."),
    customer: str | None = Query(None, description="User name of the owner."),
    engine: str | None = Query(None, description="Name of an engine."),
    node: str | None = Query(None, description="Name of a node."),
) -> HttpResponse:
    """Of the media services that the caller may see."""
    actor = actor_of_call(request)
    require(actor, "view", "media_service")
    exact = {"slug": media_service, "customer__username": customer, "engine": engine, "node__name": node}
    queryset = access.services(actor).filter(**{name: value for name, value in exact.items() if value is not None})
    items, count = listed(matching(queryset, search, "slug", "name").order_by("slug"), limit, offset)
    return answer({"items": represent.usages(items), "count": count})


@router.get("/media-services/{slug}/usage", summary="What a media service uses")
def get_usage(request: HttpRequest, slug: str) -> HttpResponse:
    """As its node told it last; null is what is not known."""
    actor = actor_of_call(request)
    require(actor, "view", "media_service")
    return answer(represent.usages([found(access.services(actor), "media service", slug=slug)])[0])


@router.get(
    "/customers/{username}/usage",
    summary="What all media services of a customer use",
    description="Those of a reseller's customers count for the reseller, beside what its plan allows; "
    "`granted` is what its services may use together.",
)
def get_usage_of_customer(request: HttpRequest, username: str) -> HttpResponse:
    """Sums over all services."""
    actor = actor_of_call(request)
    require(actor, "view", "customer")
    account = found(access.accounts(actor), "customer", username=username)
    services = access.services(actor).filter(Q(customer=account) | Q(customer__reseller=account))
    customers = access.accounts(actor).filter(reseller=account).count()
    return answer(represent.usage_of_account(account, customers, services))
