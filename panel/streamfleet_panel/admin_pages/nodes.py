"""Nodes and their converge runs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import SimpleListFilter, action, display
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from streamfleet_panel import control
from streamfleet_panel.admin_pages.planned import PlannedAdmin, PlannedForm, ReadOnlyAdmin, actor_of
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.engines import engines
from streamfleet_panel.models import Collection, ConvergeRun, Node
from streamfleet_panel.represent import latest_runs


class NodeForm(PlannedForm):
    """A server."""

    engines = forms.MultipleChoiceField(required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(name, engine.title) for name, engine in engines().items()]
        if "engines" in self.fields:
            self.fields["engines"].choices = choices  # type: ignore[attr-defined]


class Behind(SimpleListFilter):
    """Nodes that have not reported the newest document yet."""

    title = "up to date"
    parameter_name = "behind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Two choices."""
        return [("yes", "Behind"), ("no", "Up to date")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Node]) -> QuerySet[Node]:
        """Behind or not."""
        behind = Q(observed_generation__lt=F("generation"))
        if self.value() is None:
            return queryset
        return queryset.filter(behind) if self.value() == "yes" else queryset.exclude(behind)


class NodeAdmin(PlannedAdmin):
    """The servers of the fleet."""

    kind = "node"
    form = NodeForm
    _STATE = (
        "generation", "observed_generation", "observed_at", "last_run", "news", "former_stream_hosts",
        "former_stream_days", "facts", "label",
    )  # fmt: skip
    list_display = ("name", "address", "engines_in_words", "services", "status", "generations", "last_run")
    list_filter = ("status", Behind)
    search_fields = ("name", "address", "stream_host")
    actions = ("converge_chosen",)
    fieldsets = (
        (None, {"fields": ("name", "status", "engines")}),
        ("SSH", {"fields": ("address", ("ssh_port", "ssh_user"), "host_key")}),
        ("Streams", {"fields": ("stream_host", ("port_range_start", "port_range_end"), "max_media_services")}),
        ("State", {"fields": _STATE}),
    )
    add_fieldsets = fieldsets[:3]
    readonly_fields = _STATE

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        """With the number of services."""
        services = Count("media_services", filter=Q(media_services__deleted_at=None))
        queryset: QuerySet[Node] = super().get_queryset(request).annotate(service_count=services)
        return queryset

    @display(description="Engines")
    def engines_in_words(self, obj: Node) -> str:
        """Their titles."""
        known = engines()
        return ", ".join(known[name].title if name in known else name for name in obj.engines)

    @display(description="Services", ordering="service_count")
    def services(self, obj: Any) -> int:
        """How many it has."""
        count: int = obj.service_count
        return count

    @display(description="Generation")
    def generations(self, obj: Node) -> str:
        """Whether it has what the panel wants."""
        if obj.is_behind:
            return f"{obj.observed_generation} of {obj.generation} (behind)"
        return f"{obj.generation}"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With every row's last run, read at once."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list)
        runs = latest_runs(node.pk for node in changelist.result_list)
        for node in changelist.result_list:
            node.newest_run = runs.get(node.pk)
        return changelist

    @display(description="Last run")
    def last_run(self, obj: Any) -> str:
        """How the last converge went."""
        run = obj.newest_run if hasattr(obj, "newest_run") else latest_runs([obj.pk]).get(obj.pk)
        if run is None:
            return "never"
        at = run.finished_at or run.started_at or run.requested_at
        words = f"{run.get_state_display()}, {at:%Y-%m-%d %H:%M} UTC"
        return f"{words}: {run.message}" if run.message else words

    @display(description="News of its services")
    def news(self, obj: Node) -> str:
        """When the worker last read what it tells of them, and why the last try failed, if it did."""
        asked = Collection.objects.filter(node=obj).defer("cursors").first()
        if asked is None:
            return "never read"
        words = f"read {asked.collected_at:%Y-%m-%d %H:%M} UTC" if asked.collected_at is not None else "never read"
        return f"{words}; the last try failed: {asked.message}" if asked.message else words

    @action(description="Converge the chosen nodes now", permissions=["change"])
    def converge_chosen(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        """Ask the worker, even where nothing changed."""
        actor = actor_of(request)
        for node in queryset:
            control.converge(actor, node)
        messages.success(request, f"Asked for: {', '.join(node.name for node in queryset)}.")


class RunAdmin(ReadOnlyAdmin):
    """What the worker did."""

    list_display = (
        "id",
        "node",
        "state",
        "generation",
        "attempts",
        "requested_by",
        "requested_at",
        "finished_at",
        "message",
    )
    list_filter = ("state", "node")
    search_fields = ("node__name", "message")


site.register(Node, NodeAdmin)
site.register(ConvergeRun, RunAdmin)
