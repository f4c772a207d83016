"""API tokens of the account."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from streamfleet_panel import access
from streamfleet_panel.access import Actor
from streamfleet_panel.portal.forms import TokenForm
from streamfleet_panel.portal.pages import own, page
from streamfleet_panel.portal.takeover import is_taken_over
from streamfleet_panel.tokens import issue
from streamfleet_panel.tokens import revoke as revoke_token


@require_http_methods(["GET", "POST"])
@page
def index(request: HttpRequest, actor: Actor) -> HttpResponse:
    """The account's tokens, and a new one, which is shown this once."""
    account = own(actor)
    secret = ""
    taken_over = is_taken_over(request)
    form = TokenForm(request.POST or None)
    if request.method == "POST" and taken_over:
        # A token would outlive the visit, in somebody else's name.
        raise access.Forbidden("Tokens are made by the account's owner; return to your own account first")
    if form.is_valid():
        days = form.cleaned_data["days"]
        expires = timezone.now() + timedelta(days=days) if days else None
        secret = issue(actor, form.cleaned_data["name"], account=account, expires_at=expires)[1]
        form = TokenForm()
    tokens = access.tokens(actor).filter(account_id=account.pk)
    context = {
        "section": "tokens",
        "tokens": tokens,
        "form": form,
        "secret": secret,
        "taken_over": taken_over,
        "now": timezone.now(),
    }
    return render(request, "portal/tokens.html", context)


@require_POST
@page
def revoke(request: HttpRequest, actor: Actor, token_id: str) -> HttpResponse:
    """Revoke a token at once."""
    token = access.tokens(actor).filter(token_id=token_id, account_id=own(actor).pk).first()
    if token is None:
        raise Http404("There is no such token")
    revoke_token(actor, token)
    messages.success(request, f"The token “{token.name}” no longer works.")
    return redirect("portal:tokens")
