"""Accounts and reseller plans."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.admin import SimpleListFilter, action, display
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget

from streamfleet_panel import access
from streamfleet_panel.admin_pages.filters import Deleted, restore
from streamfleet_panel.admin_pages.planned import PlannedAdmin, PlannedForm, actor_of
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.engines import engines
from streamfleet_panel.models import Account, ResellerPlan


def _password(label: str) -> forms.CharField:
    widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})
    return forms.CharField(label=label, required=False, strip=False, max_length=256, widget=widget)


class AccountForm(PlannedForm):
    """All fields of an account."""

    not_in_document = frozenset({"password_again"})
    password = _password("Password")
    password_again = _password("Confirm password")
    send_welcome_email = forms.BooleanField(
        label="Send welcome e-mail", required=False, widget=UnfoldBooleanSwitchWidget
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        creating = self.creating
        # The model's field of this name holds the hash, which is no business of a form.
        self.initial.pop("password", None)
        words = "At least 5 characters." if creating else "Leave it empty to keep the present one."
        self.fields["password"].help_text = words
        if "send_welcome_email" in self.fields and not settings.EMAIL_HOST:
            self.fields["send_welcome_email"].disabled = True
            self.fields["send_welcome_email"].help_text = "This panel has no mail server, so it sends no mail."

    def clean_username(self) -> str:
        """As names are stored."""
        return str(self.cleaned_data["username"]).strip().lower()

    def clean(self) -> dict[str, Any]:
        """Both passwords the same."""
        cleaned = super().clean() or self.cleaned_data
        first, second = cleaned.get("password"), cleaned.get("password_again")
        if (first or second) and first != second:
            self.add_error("password_again", "The two passwords are not the same. Type the same password twice.")
        return cleaned

    def document(self) -> dict[str, Any]:
        """Without an empty password, and without a welcome that is not wanted."""
        fields = super().document()
        for name in ("password", "send_welcome_email"):
            if not fields.get(name):
                fields.pop(name, None)
        return fields


class Kind(SimpleListFilter):
    """Customers, resellers, administrators."""

    title = "kind of account"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The kinds."""
        return [("customer", "Customers"), ("reseller", "Resellers"), ("administrator", "Administrators")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        """Accounts of that kind."""
        administrators = Q(account_type=Account.Type.ADMINISTRATOR)
        wanted = {
            "customer": queryset.filter(~administrators, reseller_plan=None),
            "reseller": queryset.filter(~administrators, reseller_plan__isnull=False),
            "administrator": queryset.filter(administrators),
        }
        return wanted.get(self.value() or "", queryset)


class AccountAdmin(PlannedAdmin):
    """Customers, resellers and administrators."""

    kind = "customer"
    form = AccountForm
    list_display = ("username", "name", "email", "kind_of_account", "reseller", "services", "status")
    list_filter = (Kind, "status", "reseller_plan", Deleted)
    search_fields = ("username", "name", "email")
    autocomplete_fields = ("reseller",)
    actions = ("restore_chosen",)
    change_form_outer_before_template = "admin_pages/account_tools.html"
    add_fieldsets = (
        (
            None,
            {
                "fields": (
                    "username",
                    ("password", "password_again"),
                    "accessibility_features",
                    "status",
                    "api_access",
                    "send_welcome_email",
                )
            },
        ),
        ("Contact", {"fields": ("name", "contact_number", "email")}),
        ("Kind of account", {"fields": ("account_type", "reseller_plan", "reseller")}),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "username",
                    ("password", "password_again"),
                    "accessibility_features",
                    "status",
                    "api_access",
                )
            },
        ),
        ("Contact", {"fields": ("name", "contact_number", "email")}),
        ("Kind of account", {"fields": ("account_type", "reseller_plan", "reseller")}),
        ("About", {"fields": ("uid", "label", "created_at", "last_login", "deleted_at")}),
    )
    readonly_fields = ("uid", "label", "created_at", "last_login", "deleted_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        """With deleted ones (the list's filter leaves them out) and the number of services."""
        actor = actor_of(request)
        every = access.accounts(actor) | access.accounts(actor, deleted=True)
        return every.annotate(service_count=Count("media_services", filter=Q(media_services__deleted_at=None)))

    def has_change_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        """Not while it is deleted: saving would restore it."""
        return super().has_change_permission(request, obj) and (obj is None or obj.deleted_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        """Not twice."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.deleted_at is None)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Account], search_term: str
    ) -> tuple[QuerySet[Account], bool]:
        """For the choice of an owner or a reseller: none that are deleted."""
        found, duplicates = super().get_search_results(request, queryset, search_term)
        return (found.filter(deleted_at=None) if "autocomplete" in request.path else found), duplicates

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With a button to log in as the account, where that may be."""
        obj = self.get_object(request, object_id)
        allowed = (
            isinstance(obj, Account)
            and isinstance(request.user, Account)
            and access.may_hijack(hijacker=request.user, hijacked=obj)
        )
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "may_take_over": allowed})

    @display(description="Kind")
    def kind_of_account(self, obj: Account) -> str:
        """In one word."""
        if obj.is_administrator:
            return "Administrator"
        return f"Reseller ({obj.reseller_plan})" if obj.is_reseller else "Customer"

    @display(description="Services", ordering="service_count")
    def services(self, obj: Any) -> int:
        """How many services it has."""
        count: int = obj.service_count
        return count

    @action(description="Restore the chosen (deleted) accounts", permissions=["change"])
    def restore_chosen(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        """Bring back what was deleted less than the grace period ago."""
        restore(self, request, queryset)


class PlanForm(PlannedForm):
    """Limits; empty is unlimited."""

    allowed_engines = forms.MultipleChoiceField(
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Engines that services may have. None ticked: all.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(name, engine.title) for name, engine in engines().items()]
        self.fields["allowed_engines"].choices = choices  # type: ignore[attr-defined]

    def clean_allowed_engines(self) -> list[str] | None:
        """None ticked is null: every engine."""
        return self.cleaned_data["allowed_engines"] or None


class PlanAdmin(PlannedAdmin):
    """Reseller plans."""

    kind = "reseller_plan"
    form = PlanForm
    list_display = ("name", "max_customers", "max_media_services", "max_listeners", "resellers_count")
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name",)}),
        (
            "In all (empty: unlimited)",
            {
                "fields": (
                    ("max_customers", "max_media_services"),
                    ("max_listeners", "max_mounts"),
                    ("max_disk_mb", "max_transfer_mb"),
                )
            },
        ),
        (
            "Each media service (empty: unlimited)",
            {
                "fields": (
                    ("max_mounts_per_service", "max_bitrate_kbps"),
                    ("max_renditions", "max_transcode_mpixels"),
                    "allowed_engines",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ResellerPlan]:
        """With the number of resellers."""
        resellers = Count("resellers", filter=Q(resellers__deleted_at=None))
        queryset: QuerySet[ResellerPlan] = super().get_queryset(request).annotate(reseller_count=resellers)
        return queryset

    @display(description="Resellers", ordering="reseller_count")
    def resellers_count(self, obj: Any) -> int:
        """How many have it."""
        count: int = obj.reseller_count
        return count


site.register(Account, AccountAdmin)
site.register(ResellerPlan, PlanAdmin)
