"""Custom domains of a service: which there are, the records that prove them, a new one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from streamfleet_panel import access, represent
from streamfleet_panel.access import Actor
from streamfleet_panel.apply import ApiError, apply_one
from streamfleet_panel.domains.ask import ask
from streamfleet_panel.models import Domain
from streamfleet_panel.portal.forms import DomainForm
from streamfleet_panel.portal.pages import page
from streamfleet_panel.portal.views.services import find

# status → (words, look)
STATES = {
    Domain.Status.PENDING: ("Not proved yet", "busy"),
    Domain.Status.VERIFIED: ("Verified", "good"),
    Domain.Status.LOST: ("Lost", "bad"),
}


@require_http_methods(["GET", "POST"])
@page
def index(request: HttpRequest, actor: Actor, slug: str) -> HttpResponse:
    """The service's domains, and a new one."""
    service = find(actor, slug)
    claims = access.domains(actor).filter(media_service=service).order_by("name")
    form = DomainForm(request.POST or None)
    if request.method == "POST":
        access.require(actor, "create", "domain")
        if form.is_valid():
            name = form.cleaned_data["name"]
            if claims.filter(name=name).exists():
                form.add_error("name", "It is one of this service's domains already.")
            elif _apply(actor, slug, form):
                messages.success(request, f"{name} is added. Set one of the records that are shown with it.")
                return redirect("portal:domains", slug=slug)
    context = {
        "section": "services",
        "service": service,
        "domains": [_shown(claim) for claim in claims],
        "form": form if access.may(actor, "create", "domain") else None,
        "may_check": access.may(actor, "check", "domain"),
        "may_delete": access.may(actor, "delete", "domain"),
    }
    return render(request, "portal/domains.html", context)


def _shown(claim: Domain) -> dict[str, Any]:
    """A domain in words."""
    words, look = STATES[Domain.Status(claim.status)]
    return {"claim": claim, "words": words, "look": look, **represent.domain(claim)}


@require_POST
@page
def check(request: HttpRequest, actor: Actor, slug: str, name: str) -> HttpResponse:
    """Have one looked at soon."""
    access.require(actor, "check", "domain")
    try:
        ask(actor, _one(actor, slug, name))
    except ApiError as error:
        messages.error(request, f"{error.message}.")
    else:
        messages.success(request, f"{name} is being checked. Load this page again in a few seconds.")
    return redirect("portal:domains", slug=slug)


@require_POST
@page
def delete(request: HttpRequest, actor: Actor, slug: str, name: str) -> HttpResponse:
    """At once; whoever listens under it is disconnected when they come back."""
    access.require(actor, "delete", "domain")
    claim = _one(actor, slug, name)
    try:
        apply_one("domain", {"media_service": slug, "name": claim.name, "state": "absent"}, actor)
    except ApiError as error:
        # Deleted by somebody else meanwhile, say.
        messages.error(request, error.message)
    else:
        messages.success(request, f"{name} is deleted.")
    return redirect("portal:domains", slug=slug)


def _one(actor: Actor, slug: str, name: str) -> Domain:
    """A domain of the service, if both exist for the actor. Raises Http404."""
    claim = access.domains(actor).filter(media_service=find(actor, slug), name=name).first()
    if claim is None:
        raise Http404("There is no such domain")
    return claim


def _apply(actor: Actor, slug: str, form: DomainForm) -> bool:
    """Whether the planner took it; the form says why not."""
    try:
        apply_one("domain", {"media_service": slug, "name": form.cleaned_data["name"]}, actor)
    except ApiError as error:
        form.refuse(error)
        return False
    return True
