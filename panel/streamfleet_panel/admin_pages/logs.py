"""The audit log."""

from __future__ import annotations

from django.contrib.admin import display

from streamfleet_panel.admin_pages.planned import ReadOnlyAdmin
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.models import AuditLog


class AuditAdmin(ReadOnlyAdmin):
    """Who did what to what, through which door, from where."""

    list_display = ("when", "who", "action", "kind", "key", "changed_fields", "via", "ip")
    list_filter = ("kind", "action", "via")
    search_fields = ("actor_name", "impersonator", "key")

    def lookup_allowed(self, lookup: str, value: str, request: object = None) -> bool:
        """Links from an object's page name it by its key."""
        return lookup == "key" or super().lookup_allowed(lookup, value, request)

    @display(description="At (UTC)", ordering="at")
    def when(self, obj: AuditLog) -> str:
        """To the second, on one line."""
        return f"{obj.at:%Y-%m-%d\u00a0%H:%M:%S}"

    @display(description="Who", ordering="actor_name")
    def who(self, obj: AuditLog) -> str:
        """With whoever acted in its name."""
        return f"{obj.actor_name} (by {obj.impersonator})" if obj.impersonator else obj.actor_name

    @display(description="Fields")
    def changed_fields(self, obj: AuditLog) -> str:
        """Names of what changed; before and after stand on the entry's own page."""
        return ", ".join(obj.changes)


site.register(AuditLog, AuditAdmin)
