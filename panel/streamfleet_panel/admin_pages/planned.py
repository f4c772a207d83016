"""Admin pages whose changes are decided and written by the planner, never by the ORM beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin as DjangoModelAdmin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.admin import ModelAdmin

from streamfleet_panel import access
from streamfleet_panel.access import Actor, actor_of_request
from streamfleet_panel.admin_pages.words import LABELS, explained
from streamfleet_panel.apply import ApiError, Options, apply_document, apply_one
from streamfleet_panel.apply.fields import COLLECTION_OF, KEYS, KINDS, key_of

# A password that is typed into a form is meant to be the new one.
SAVE = Options(update_password="always")  # noqa: S106 - a policy, not a password
DRY_RUN = Options(dry_run=True, update_password="always")  # noqa: S106


def actor_of(request: HttpRequest) -> Actor:
    """The administrator who asks."""
    return actor_of_request(request, via="admin")


def plain(value: Any) -> Any:
    """A form's value as a document has it."""
    if isinstance(value, Model):
        return value.natural_key()[0] if hasattr(value, "natural_key") else str(value)
    if isinstance(value, date):
        return value.isoformat()
    return None if value == "" else value


class Indented(json.JSONEncoder):
    """JSON for people."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "indent": 2, "ensure_ascii": False})


class PlannedForm(forms.ModelForm):  # type: ignore[type-arg]
    """Names in the document what was changed, and asks the planner (dry run) whether that can be."""

    kind: ClassVar[str]
    actor: ClassVar[Actor]
    # Fields of the form that are not fields of the document.
    not_in_document: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            described = KINDS[self.kind].get(name)
            if described is not None and not field.help_text:
                field.help_text = explained(described.description)
            if name in LABELS:
                field.label = LABELS[name]

    @property
    def creating(self) -> bool:
        """The object is new."""
        return self.instance.pk is None

    def document(self) -> dict[str, Any]:
        """The object of the document: key, and what differs from what is stored (or from nothing)."""
        keys = KEYS[self.kind]
        given = {name: self.cleaned_data[name] if self.creating else getattr(self.instance, name) for name in keys}
        fields: dict[str, Any] = {name: plain(value) for name, value in given.items()}
        for name, value in self.cleaned_data.items():
            if name in keys or name in self.not_in_document:
                continue
            value = plain(value)
            if (value is not None) if self.creating else (name in self.changed_data):
                fields[name] = value
        return fields

    def field_of(self, name: str) -> str | None:
        """The form's field that shows faults of the document's field ``name``."""
        return name if name in self.fields else None

    def refuse(self, error: ApiError) -> None:
        """Show a refusal beside the fields that it is about."""
        if not error.errors:
            self.add_error(None, error.message)
        for problem in error.errors:
            name = problem.path.partition(".")[2].partition(".")[0].partition("[")[0]
            words = f"{problem.message}. {problem.fix}".strip()
            field = self.field_of(name)
            inside = problem.path.partition(".")[2]
            if inside and inside != field:
                self.add_error(field, f"{inside}: {words}")
            else:
                self.add_error(field, words[:1].upper() + words[1:])

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            apply_one(self.kind, self.document(), self.actor, DRY_RUN)
        except ApiError as error:
            self.refuse(error)


class _NoTransaction(DjangoModelAdmin):  # type: ignore[type-arg]
    """Django's views without the transaction around them: the planner takes its lock first of all in its own."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        return self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined]

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        return self._delete_view(request, object_id, extra_context)  # type: ignore[attr-defined]


class PlannedAdmin(ModelAdmin, _NoTransaction):
    """Add, change, delete through the planner.

    ``fixed``: fields that cannot change after creation, beside the key. ``lookups``: for a field of the key that names
    another object, where its value is found.
    """

    kind: ClassVar[str]
    fixed: ClassVar[tuple[str, ...]] = ()
    lookups: ClassVar[dict[str, str]] = {}
    list_per_page = 50
    show_full_result_count = False
    warn_unsaved_form = True
    list_filter_submit = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """What the administrator may see, as the one place answers it."""
        return access.visible(actor_of(request), self.model)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Key and fixed fields once the object exists."""
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if obj is None else (*fields, *KEYS[self.kind], *self.fixed)

    def get_form(
        self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any
    ) -> type[PlannedForm]:
        """The form, which knows who asks."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"actor": actor_of(request), "kind": self.kind})

    def save_model(self, request: HttpRequest, obj: Any, form: PlannedForm, change: bool) -> None:
        """Apply the document; then ``obj`` is what is stored."""
        document = form.document()
        apply_one(self.kind, document, actor_of(request), SAVE)
        key = {self.lookups.get(name, name): document[name] for name in KEYS[self.kind]}
        stored = self.model._default_manager.get(**key)
        obj.__dict__.update({name: value for name, value in stored.__dict__.items() if name != "_state"})
        obj._state.adding = False
        obj._state.db = stored._state.db

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing is saved beside the planner."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one."""
        key = {name: plain(getattr(obj, name)) for name in KEYS[self.kind]}
        apply_one(self.kind, {**key, "state": "absent"}, actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete what is chosen, all or nothing."""
        items = [{**key, "state": "absent"} for key in self.keys(queryset)]
        apply_document({COLLECTION_OF[self.kind]: items}, actor_of(request))

    def keys(self, queryset: QuerySet[Any]) -> list[dict[str, str]]:
        """The fields of the key of each object of ``queryset``, as a document names them."""
        names = KEYS[self.kind]
        found = queryset.values_list(*(self.lookups.get(name, name) for name in names))
        return [dict(zip(names, values, strict=True)) for values in found]

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What a deletion takes away; whether it can be is the planner's to say."""
        names = [str(obj) for obj in objs]
        return names, {str(self.model._meta.verbose_name_plural): len(names)}, set(), []

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Say in words what the planner refuses after the form was found right (somebody else was faster)."""
        return self._guarded(
            request, lambda: super(PlannedAdmin, self).changeform_view(request, object_id, form_url, extra_context)
        )

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Say in words what the planner refuses."""
        view = super().delete_view
        return self._guarded(request, lambda: view(request, object_id, extra_context))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Say in words what the planner refuses of an action."""
        view = super().changelist_view
        return self._guarded(request, lambda: view(request, extra_context))

    def _guarded(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        try:
            return view()
        except ApiError as error:
            messages.error(request, error.message)
            for problem in error.errors[:5]:
                if problem.message not in error.message:
                    messages.error(request, f"{problem.message}. {problem.fix}")
                elif problem.fix:
                    messages.error(request, problem.fix)
            return HttpResponseRedirect(request.get_full_path())

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit log is the history."""
        obj = self.get_object(request, object_id)
        key = key_of(self.kind, obj) if obj is not None else ""
        query = f"?kind={self.kind}&key={key}"
        return HttpResponseRedirect(reverse("admin:panel_auditlog_changelist") + query)

    # Django's own log would say half of it, beside the audit log.
    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The planner records it."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The planner records it."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """The planner records it."""


class ReadOnlyAdmin(ModelAdmin):
    """A list and its details; nothing can be changed."""

    list_per_page = 50
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """What the administrator may see."""
        return access.visible(actor_of(request), self.model)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False
