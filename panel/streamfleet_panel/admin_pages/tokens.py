"""API tokens of everybody and of machines."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminSelectWidget

from streamfleet_panel import access
from streamfleet_panel import tokens as bearer_tokens
from streamfleet_panel.admin_pages.planned import ReadOnlyAdmin, actor_of
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.models import MACHINES, ApiToken


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    """A name, and exactly one bearer."""

    bearer = forms.ChoiceField(
        choices=[
            ("account", "An account: may what the account may"),
            ("node", "A node"),
            ("worker", "The worker"),
            ("metrics", "Metrics: reads /metrics and nothing else"),
        ],
        widget=UnfoldAdminSelectWidget,
    )

    def clean(self) -> dict[str, Any]:
        """The bearer that is chosen, and no other."""
        cleaned = super().clean() or self.cleaned_data
        bearer = cleaned.get("bearer")
        for name in ("account", "node"):
            if name == bearer and cleaned.get(name) is None and name not in self.errors:
                self.add_error(name, f"Choose the {name} that the token is for.")
            elif name != bearer and cleaned.get(name) is not None:
                self.add_error(name, "Leave this empty: the token is for another bearer.")
        return cleaned


class TokenAdmin(ReadOnlyAdmin):
    """Listed, made and revoked here; the secret is shown once, in the answer to making it."""

    form = TokenForm
    list_display = ("name", "shown_id", "scope", "account", "expires_at", "last_used_at", "created_by")
    list_filter = ("scope",)
    search_fields = ("name", "token_id", "account__username")
    autocomplete_fields = ("account",)
    add_fieldsets = ((None, {"fields": ("name", "bearer", "account", "node", "expires_at")}),)
    fieldsets = (
        (None, {"fields": ("name", "token_id", "scope", "account", "node", "expires_at", "last_used_at")}),
        ("About", {"fields": ("created_by", "created_at")}),
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Yes."""
        return access.may(actor_of(request), "create", "token")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Yes: revoked."""
        return access.may(actor_of(request), "delete", "token")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Without the bearer, once it is made."""
        if obj is not None:
            kwargs["form"] = forms.ModelForm
        return super().get_form(request, obj, change, **kwargs)

    @display(description="Token")
    def shown_id(self, obj: ApiToken) -> str:
        """What is known of it."""
        return f"sft_{obj.token_id}_…"

    def save_model(self, request: HttpRequest, obj: ApiToken, form: TokenForm, change: bool) -> None:
        """Make it, and keep its secret for the answer to this one request."""
        data = form.cleaned_data
        token, secret = bearer_tokens.issue(
            actor_of(request),
            data["name"],
            account=data["account"],
            node=data["node"],
            machine=data["bearer"] if data["bearer"] in MACHINES else None,
            expires_at=data["expires_at"],
        )
        obj.__dict__.update({name: value for name, value in token.__dict__.items() if name != "_state"})
        request.new_token = secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: Any = None) -> HttpResponse:
        """The page that shows the secret; it stands in no message, cookie or session."""
        context = {
            **self.admin_site.each_context(request),
            "title": "The new token",
            "opts": self.opts,
            "token": obj,
            "secret": request.new_token,  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "admin_pages/new_token.html", context)

    def delete_model(self, request: HttpRequest, obj: ApiToken) -> None:
        """Revoke."""
        bearer_tokens.revoke(actor_of(request), obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Revoke them all."""
        for token in queryset:
            bearer_tokens.revoke(actor_of(request), token)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The audit log has it."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        """The audit log has it."""


site.register(ApiToken, TokenAdmin)
