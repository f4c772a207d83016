"""A reseller's own names for the panel: which there are, the records that prove them, a new one."""

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
from streamfleet_panel.models import Account, PanelDomain
from streamfleet_panel.portal.forms import PanelDomainForm
from streamfleet_panel.portal.pages import own, page
from streamfleet_panel.portal.views.domains import STATES


@require_http_methods(["GET", "POST"])
@page
def index(request: HttpRequest, actor: Actor) -> HttpResponse:
    """The reseller's panel domains, and a new one."""
    reseller = _reseller(actor)
    claims = access.panel_domains(actor).filter(reseller=reseller).order_by("name")
    form = PanelDomainForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name = form.cleaned_data["name"]
        if claims.filter(name=name).exists():
            form.add_error("name", "It is one of your domains already.")
        elif _apply(actor, reseller, form):
            messages.success(request, f"{name} is added. Set one of the records that are shown with it.")
            return redirect("portal:panel_domains")
    plan = reseller.reseller_plan
    context = {
        "section": "panel_domains",
        "domains": [_shown(claim) for claim in claims],
        "most": plan.max_panel_domains if plan is not None else 0,
        "form": form,
    }
    return render(request, "portal/panel_domains.html", context)


def _reseller(actor: Actor) -> Account:
    """The reseller who asks; for everybody else there is no such page."""
    account = own(actor)
    if not account.is_reseller:
        raise Http404("Only resellers have domains of their own for the panel")
    return account


def _shown(claim: PanelDomain) -> dict[str, Any]:
    """A panel domain in words."""
    words, look = STATES[PanelDomain.Status(claim.status)]
    return {"claim": claim, "words": words, "look": look, **represent.panel_domain(claim)}


@require_POST
@page
def brand(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    """What the panel is called under one; nothing typed is the reseller's own name."""
    claim = _one(actor, name)
    fields = {"reseller": claim.reseller.username, "name": claim.name}
    try:
        apply_one("panel_domain", {**fields, "brand": request.POST.get("brand", "").strip() or None}, actor)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"What {name} is called is saved. It is shown within seconds.")
    return redirect("portal:panel_domains")


@require_POST
@page
def check(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    """Have one looked at soon."""
    try:
        ask(actor, _one(actor, name))
    except ApiError as error:
        messages.error(request, f"{error.message}.")
    else:
        messages.success(request, f"{name} is being checked. Load this page again in a few seconds.")
    return redirect("portal:panel_domains")


@require_POST
@page
def delete(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    """At once; whoever is logged in there has to log in under another name."""
    claim = _one(actor, name)
    fields = {"reseller": claim.reseller.username, "name": claim.name, "state": "absent"}
    try:
        apply_one("panel_domain", fields, actor)
    except ApiError as error:
        # Deleted by somebody else meanwhile, say.
        messages.error(request, error.message)
    else:
        messages.success(request, f"{name} is deleted.")
    return redirect("portal:panel_domains")


def _one(actor: Actor, name: str) -> PanelDomain:
    """A panel domain of the reseller who asks. Raises Http404."""
    claim = access.panel_domains(actor).filter(reseller=_reseller(actor), name=name).first()
    if claim is None:
        raise Http404("There is no such domain")
    return claim


def _apply(actor: Actor, reseller: Account, form: PanelDomainForm) -> bool:
    """Whether the planner took it; the form says why not."""
    given = {name: form.cleaned_data[name] for name in ("name", "brand")}
    try:
        apply_one("panel_domain", {"reseller": reseller.username, **given, "brand": given["brand"] or None}, actor)
    except ApiError as error:
        form.refuse(error)
        return False
    return True
