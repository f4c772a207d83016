"""What lists of several kinds share: deleted objects, and bringing them back."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from streamfleet_panel.admin_pages.planned import PlannedAdmin, actor_of
from streamfleet_panel.apply import apply_document
from streamfleet_panel.apply.fields import COLLECTION_OF, SEPARATOR


class Deleted(SimpleListFilter):
    """Without deleted ones, or only those (they can be restored until their grace period ends)."""

    title = "deleted"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """One choice beside the usual."""
        return [("yes", "Deleted, can be restored")]

    def choices(self, changelist: ChangeList) -> Any:
        """The usual is called what it is."""
        for number, choice in enumerate(super().choices(changelist)):
            yield {**choice, "display": "Not deleted"} if number == 0 else choice

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Deleted or not."""
        return queryset.filter(deleted_at__isnull=self.value() != "yes")


def restore(admin: PlannedAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Restore what is deleted among ``queryset``, all or nothing. Raises ApiError."""
    keys = admin.keys(queryset.filter(deleted_at__isnull=False))
    names = [SEPARATOR.join(key.values()) for key in keys]
    if keys:
        apply_document({COLLECTION_OF[admin.kind]: keys}, actor_of(request))
    messages.info(request, f"Restored: {', '.join(names)}." if names else "None of the chosen is deleted.")
