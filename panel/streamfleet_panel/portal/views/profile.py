"""The account's own page."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from streamfleet_panel import access
from streamfleet_panel.access import Actor
from streamfleet_panel.apply import ApiError, apply_one
from streamfleet_panel.models import Account
from streamfleet_panel.portal.forms import PasswordForm, ProfileForm
from streamfleet_panel.portal.pages import NEW_PASSWORD, own, page


def _own(actor: Actor) -> Account:
    return access.accounts(actor).get(pk=own(actor).pk)


@require_http_methods(["GET", "POST"])
@page
def profile(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Name, addresses, accessibility."""
    account = _own(actor)
    names = ("name", "email", "contact_number", "accessibility_features")
    form = ProfileForm(request.POST or None, initial={name: getattr(account, name) for name in names})
    if form.is_valid():
        try:
            apply_one("customer", {"username": account.username, **form.document()}, actor)
        except ApiError as error:
            form.refuse(error)
        else:
            messages.success(request, "Your profile is saved.")
            return redirect("portal:profile")
    context = {"section": "profile", "account": account, "form": form}
    return render(request, "portal/profile.html", context)


@require_http_methods(["GET", "POST"])
@page
def password(request: HttpRequest, actor: Actor) -> HttpResponse:
    """A new password; other sessions of the account end with it."""
    account = _own(actor)
    form = PasswordForm(account, request.POST or None)
    if form.is_valid():
        fields = {"username": account.username, "password": form.cleaned_data["password"]}
        try:
            apply_one("customer", fields, actor, NEW_PASSWORD)
        except ApiError as error:
            form.refuse(error)
        else:
            account.refresh_from_db()
            update_session_auth_hash(request, account)
            messages.success(request, "Your password is changed.")
            return redirect("portal:profile")
    return render(request, "portal/password.html", {"section": "profile", "form": form})
