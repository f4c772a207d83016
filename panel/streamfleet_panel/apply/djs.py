"""Planning of DJs."""

from __future__ import annotations

from collections.abc import Container

from streamfleet_panel.apply import of_service, service_ports
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import COLLECTION_OF
from streamfleet_panel.apply.plan import SECRET_CHANGE, Plan
from streamfleet_panel.engines import generate_credential

MOST_DJS = 100
_OBJECTS = COLLECTION_OF["dj"]


def plan_dj(plan: Plan, entry: Entry, declared: Container[str]) -> None:
    """One DJ of the document. ``declared``: slugs that the document itself names; their faults are noted."""
    draft = of_service.begin(plan, entry, declared)
    if draft is None:
        return
    dj, service = draft.obj, draft.service
    door = next(companion for companion in draft.engine.companions if _OBJECTS in companion.objects)
    if not door.is_there(service.settings):
        message = f"has no {door.title}, which is what DJs connect to"
        plan.problem(f"{entry.path}.media_service", service.slug, message, f"Set {door.name} of the service.")
        return
    if dj.password is None:
        dj.password = generate_credential()
        draft.changes["password"] = dict(SECRET_CHANGE)
    service_ports.lacking(plan, service, draft.engine, entry.path, {})
    of_service.finish(plan, entry, draft)


def check_room(plan: Plan) -> None:
    """Refuse more DJs than a service may have: one query."""
    of_service.check_most(plan, "dj", MOST_DJS)
