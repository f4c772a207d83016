"""What every page of the portal shares: who asks, and what is answered to whom may not."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from streamfleet_panel.access import Actor, Forbidden, actor_of_request
from streamfleet_panel.apply import Options
from streamfleet_panel.models import Account
from streamfleet_panel.portal.takeover import hijacker_of, is_taken_over

P = ParamSpec("P")
PER_PAGE = 50
# A password that is typed into a form is meant to be the new one.
NEW_PASSWORD = Options(update_password="always")  # noqa: S106 - a policy, not a password


def page(view: Callable[Concatenate[HttpRequest, Actor, P], HttpResponse]) -> Callable[..., HttpResponse]:
    """A view for somebody who is logged in; gets the actor after the request.

    A session that an administrator or a reseller took over ends as soon as that account is disabled.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            actor = actor_of_request(request)
        except Forbidden:
            return redirect_to_login(request.get_full_path())
        if is_taken_over(request):
            hijacker = hijacker_of(request)
            if hijacker is None or not hijacker.is_enabled:
                logout(request)
                return redirect_to_login(request.get_full_path())
        try:
            return view(request, actor, *args, **kwargs)
        except Forbidden as error:
            raise PermissionDenied(str(error)) from error

    return wrapper


def own(actor: Actor) -> Account:
    """The account of a page's actor, who is always a person."""
    if actor.account is None:
        raise Forbidden("Only people have pages")
    return actor.account


def paginated(request: HttpRequest, queryset: QuerySet[Any]) -> Page[Any]:
    """The page of ``queryset`` that the request asks for; a number out of range is the nearest page."""
    return Paginator(queryset, PER_PAGE).get_page(request.GET.get("page"))
