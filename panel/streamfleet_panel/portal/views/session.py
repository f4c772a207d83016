"""Logging in and out, and setting a forgotten password by e-mail."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import views as auth
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.views.decorators.http import require_GET

from streamfleet_panel import secrets
from streamfleet_panel.access import Actor, actor_of
from streamfleet_panel.apply import ApiError, apply_one
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.models import Account, AuditLog, Job
from streamfleet_panel.portal.forms import LoginForm, NewPasswordForm, ResetForm
from streamfleet_panel.portal.pages import NEW_PASSWORD, page

# Mails to one account about its password: one in this time, however often somebody asks.
MAIL_PAUSE = timedelta(minutes=5)


class Login(auth.LoginView):
    """User name and password. Where to go on is taken from ``next`` only within this panel (Django checks it)."""

    template_name = "portal/login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With whether there is a way to a new password."""
        return super().get_context_data(**kwargs, mail_configured=bool(settings.EMAIL_HOST))


def locked(request: HttpRequest, credentials: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> HttpResponse:
    """What axes answers once a user name is locked for an address."""
    context = {
        "minutes": max(1, round(settings.AXES_COOLOFF_TIME * 60)),
        "mail_configured": bool(settings.EMAIL_HOST),
    }
    return render(request, "portal/locked.html", context, status=429)


@require_GET
@page
def home(request: HttpRequest, actor: Actor) -> HttpResponse:
    """The first page of whoever is logged in."""
    return redirect("admin:index" if actor.is_administrator else "portal:services")


class _NeedsMail:
    """A view that exists only where the panel can send mail."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """404 without a mail host."""
        if not settings.EMAIL_HOST:
            raise Http404("This panel sends no mail")
        response: HttpResponse = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        return response


def _due(address: str) -> list[Account]:
    """The enabled accounts with that address that have not been written to in MAIL_PAUSE."""
    accounts = Account.objects.select_related("reseller").filter(email__iexact=address, deleted_at=None)
    recent = set(
        AuditLog.objects.filter(
            action="password_reset_mail", kind="customer", at__gt=timezone.now() - MAIL_PAUSE
        ).values_list("key", flat=True)
    )
    return [account for account in accounts if account.is_enabled and account.username not in recent]


class PasswordReset(_NeedsMail, auth.PasswordResetView):
    """Ask for a link. The jobs process sends it, so neither the answer nor its time tells who has an account."""

    template_name = "portal/password_reset_form.html"
    form_class = ResetForm
    success_url = reverse_lazy("portal:password_reset_done")

    def form_valid(self, form: ResetForm) -> HttpResponse:  # type: ignore[override]
        """Leave a job for each account, and say the same whether or not there is any."""
        with transaction.atomic():
            for account in _due(form.cleaned_data["email"]):
                payload = secrets.encrypt({"account": account.pk})
                Job.objects.create(kind=Job.Kind.PASSWORD_RESET_EMAIL, total=1, payload_encrypted=payload)
                actor = actor_of(account, ip=self.request.META.get("REMOTE_ADDR", ""), via="portal")
                audit_entry(actor, "password_reset_mail", "customer", account.username, owner=account).save()
        return redirect(self.get_success_url())


class PasswordResetDone(_NeedsMail, auth.PasswordResetDoneView):
    """The mail is on its way."""

    template_name = "portal/password_reset_done.html"


class PasswordResetConfirm(_NeedsMail, auth.PasswordResetConfirmView):
    """The link of the mail. The new password goes through the planner, like every other change."""

    template_name = "portal/password_reset_confirm.html"
    form_class = NewPasswordForm
    success_url = reverse_lazy("portal:password_reset_complete")

    def get_user(self, uidb64: str) -> Account | None:
        """The account, unless it has been disabled since."""
        account = super().get_user(uidb64)
        return account if isinstance(account, Account) and account.is_enabled else None

    def form_valid(self, form: NewPasswordForm) -> HttpResponse:  # type: ignore[override]
        """Save the password; the link is worth nothing afterwards."""
        account = form.user
        actor = actor_of(account, ip=self.request.META.get("REMOTE_ADDR", ""), via="portal")
        fields = {"username": account.username, "password": form.cleaned_data["new_password1"]}
        try:
            apply_one("customer", fields, actor, NEW_PASSWORD)
        except ApiError as error:
            form.add_error("new_password1", error.message)
            return self.form_invalid(form)
        self.request.session.pop(auth.INTERNAL_RESET_SESSION_TOKEN, None)
        return redirect(self.get_success_url())


class PasswordResetComplete(_NeedsMail, auth.PasswordResetCompleteView):
    """Done."""

    template_name = "portal/password_reset_complete.html"
