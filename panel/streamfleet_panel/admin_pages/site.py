"""The admin site: for administrators only, entered through the portal's log-in page."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from unfold.sites import UnfoldAdminSite

from streamfleet_panel.admin_pages import dashboard
from streamfleet_panel.models import Account


class AdministratorsSite(UnfoldAdminSite):
    """Whoever is no administrator finds nothing here: a page that does not exist, or the log-in page."""

    site_title = "Streamfleet"
    index_title = "Overview"
    index_template = "admin_pages/index.html"

    def has_permission(self, request: HttpRequest) -> bool:
        """Administrators that may log in."""
        return isinstance(request.user, Account) and request.user.is_staff

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        """404 for those who are logged in and no administrators; Django's own answer to the others."""
        inner = super().admin_view(view, cacheable)

        @wraps(inner)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if request.user.is_authenticated and not self.has_permission(request):
                raise Http404("There is no such page")
            return inner(request, *args, **kwargs)

        return wrapper

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The portal's log-in page, with its lock-out; 404 for those who are logged in and no administrators."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise Http404("There is no such page")
        after = request.GET.get("next") or request.get_full_path()
        return redirect_to_login(after if after != request.get_full_path() else "/admin/")

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The portal's page does it, so that the change is recorded like every other."""
        return redirect("portal:password")

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The overview."""
        response: HttpResponse = super().index(request, {**dashboard.figures(), **(extra_context or {})})
        return response

    def app_index(
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """There is one application, so its index is the overview."""
        return HttpResponseRedirect("/admin/")


site = AdministratorsSite(name="admin")
