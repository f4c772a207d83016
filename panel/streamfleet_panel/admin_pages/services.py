"""Media services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin import SimpleListFilter, action, display
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display as labelled
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from streamfleet_panel import access
from streamfleet_panel.admin_pages.filters import Deleted, restore
from streamfleet_panel.admin_pages.planned import Indented, PlannedAdmin, PlannedForm, actor_of
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.engines import engines
from streamfleet_panel.models import MediaService
from streamfleet_panel.portal import display as words
from streamfleet_panel.portal.use import listeners_of


class ServiceForm(PlannedForm):
    """All fields of a service; those of its engine as one JSON object."""

    not_in_document = frozenset({"settings"})
    engine = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    service_type = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    settings = forms.JSONField(
        label="Engine settings",
        required=False,
        encoder=Indented,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 14, "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = engines()
        if "name" in self.fields and self.creating:
            self.fields["name"].required = False
        if "node" in self.fields:
            self.fields["node"].required = False
        if "engine" in self.fields:
            choices = [("", "Select value"), *((name, engine.title) for name, engine in known.items())]
            self.fields["engine"].choices = choices  # type: ignore[attr-defined]
        if "service_type" in self.fields:
            types = {kind for engine in known.values() for kind in engine.service_types}
            self.fields["service_type"].choices = [  # type: ignore[attr-defined]
                ("", "The engine's first"),
                *((kind, words.title(kind)) for kind in sorted(types)),
            ]
        if "settings" in self.fields:
            engine = known.get(self.instance.engine)
            if engine is not None:
                # Kept apart: Django puts what was typed into the instance before it asks for the document.
                self.stored = engine.settings(self.instance.settings)
                self.initial["settings"] = self.stored
                described = "; ".join(f"{name}: {prop.description}" for name, prop in engine.fields.items())
                self.fields["settings"].help_text = f"JSON. A field that is left out has its default. {described}"
            else:
                self.fields["settings"].help_text = "JSON, e.g. {} for the engine's defaults."

    def document(self) -> dict[str, Any]:
        """The engine's settings stand beside the other fields; one that was taken away gets its default."""
        fields = super().document()
        given = self.cleaned_data.get("settings") or {}
        if not isinstance(given, dict):
            return fields
        engine = engines().get(self.instance.engine)
        if self.creating or engine is None:
            return {**given, **fields}
        wanted = {name: prop.default for name, prop in engine.fields.items()} | given
        return {**{name: value for name, value in wanted.items() if self.stored.get(name) != value}, **fields}

    def clean_settings(self) -> Any:
        """An object, or nothing."""
        value = self.cleaned_data["settings"]
        if value is not None and not isinstance(value, dict):
            raise forms.ValidationError("This must be a JSON object: { … }.")
        return value

    def field_of(self, name: str) -> str | None:
        """Faults of the engine's fields are shown beside its settings."""
        if name in self.fields:
            return name
        given = self.cleaned_data.get("settings")
        return "settings" if isinstance(given, dict) and name in given else None


class StateFilter(SimpleListFilter):
    """What services are doing."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """As the overview counts them."""
        return [("running", "Running"), ("changing", "Changing"), ("off", "Off the air"), ("failed", "Failed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[MediaService]) -> QuerySet[MediaService]:
        """Services in that state."""
        current = Q(observed__generation__gte=F("generation"))
        wanted = {
            "running": queryset.filter(current, observed__state="running"),
            "failed": queryset.filter(current, observed__state="failed"),
            "off": queryset.filter(current).exclude(observed__state__in=("running", "failed")),
            "changing": queryset.exclude(current),
        }
        return wanted.get(self.value() or "", queryset)


class ServiceAdmin(PlannedAdmin):
    """Media services of every customer."""

    kind = "media_service"
    form = ServiceForm
    fixed = ("customer", "engine", "service_type", "node")
    list_display = ("slug", "name", "customer", "engine", "node", "state", "reason", "listeners")
    list_filter = (StateFilter, "engine", "node", "suspended", "enabled", Deleted)
    search_fields = ("slug", "name", "customer__username")
    autocomplete_fields = ("customer",)
    actions = ("restore_chosen",)
    change_form_outer_before_template = "admin_pages/service_tools.html"
    _limits: Any = (
        "Limits (empty: unlimited)",
        {
            "fields": (
                ("max_listeners", "max_bitrate_kbps"),
                ("monthly_transfer_mb", "disk_quota_mb"),
                ("max_mounts", "max_domains"),
                ("max_renditions", "max_transcode_mpixels"),
            )
        },
    )
    add_fieldsets = (
        (None, {"fields": ("slug", "name", "customer")}),
        ("Engine", {"fields": (("engine", "service_type"), ("node", "port"))}),
        _limits,
        ("Settings", {"fields": ("settings",)}),
    )
    fieldsets = (
        (None, {"fields": ("slug", "name", "customer", "state_in_words")}),
        ("On the air", {"fields": ("enabled", "suspended", "suspend_reason", "suspended_until")}),
        ("Engine", {"fields": (("engine", "service_type"), ("node", "port"))}),
        _limits,
        ("Settings", {"fields": ("settings",)}),
        ("About", {"fields": ("generation", "label", "created_at", "deleted_at")}),
    )
    readonly_fields = ("state_in_words", "generation", "label", "created_at", "deleted_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[MediaService]:
        """With deleted ones; the list's filter leaves them out."""
        actor = actor_of(request)
        return access.services(actor) | access.services(actor, deleted=True)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """State is nothing to set."""
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is not None else tuple(name for name in fields if name != "state_in_words")

    def has_change_permission(self, request: HttpRequest, obj: MediaService | None = None) -> bool:
        """Not while it is deleted: saving would restore it."""
        return super().has_change_permission(request, obj) and (obj is None or obj.deleted_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: MediaService | None = None) -> bool:
        """Not twice."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.deleted_at is None)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[MediaService], search_term: str
    ) -> tuple[QuerySet[MediaService], bool]:
        """For the choice of a playlist's service: none that are deleted."""
        found, duplicates = super().get_search_results(request, queryset, search_term)
        return (found.filter(deleted_at=None) if "autocomplete" in request.path else found), duplicates

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With every row's state, read at once."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list)
        states = words.states_of(changelist.result_list, actor_of(request))
        heard = listeners_of(changelist.result_list)
        for service in changelist.result_list:
            service.state_now = states[service.pk]
            service.heard_now = heard[service.pk]
        return changelist

    @labelled(  # type: ignore[untyped-decorator]
        description="State",
        label={
            "Running": "success",
            "Waiting": "info",
            "Applying": "info",
            "Failed": "danger",
            "Stopped": "warning",
            "Suspended": "warning",
            "Disabled": "warning",
            "Over quota": "warning",
        },
    )
    def state(self, obj: Any) -> str:
        """Running, or what else."""
        words_of_state: str = obj.state_now.words
        return words_of_state

    @display(description="Listeners")
    def listeners(self, obj: Any) -> str:
        """As last told, of as many as may."""
        heard: str = obj.heard_now
        return heard

    @display(description="Reason")
    def reason(self, obj: Any) -> str:
        """Why it is not running."""
        why: str = obj.state_now.why
        return why

    @display(description="State")
    def state_in_words(self, obj: MediaService) -> str:
        """Both, on the service's page."""
        state = words.state_of(obj, access.system())
        return f"{state.words}: {state.why}" if state.why else state.words

    @action(description="Restore the chosen (deleted) services", permissions=["change"])
    def restore_chosen(self, request: HttpRequest, queryset: QuerySet[MediaService]) -> None:
        """Bring back what was deleted less than the grace period ago."""
        restore(self, request, queryset)


site.register(MediaService, ServiceAdmin)
