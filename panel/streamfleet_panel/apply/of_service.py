"""Planning of what belongs to a media service, the same for every kind: whoever may change that may change them.

A kind's own module calls ``begin``, judges what its fields mean together, and calls ``finish``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Aggregate, Count

from streamfleet_panel.access import words_of
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import COLLECTION_OF, KEYS, KINDS, OF_SERVICE
from streamfleet_panel.apply.plan import DELETED, Growth, Plan
from streamfleet_panel.apply.services import in_reach
from streamfleet_panel.apply.world import chunks
from streamfleet_panel.engines import Engine, engines
from streamfleet_panel.models import MediaService


@dataclass(frozen=True)
class Draft:
    """An object of the document with its fields set; ``sound``: nothing is wrong with any of them by itself."""

    obj: Any
    service: MediaService
    engine: Engine
    changes: dict[str, dict[str, Any]]
    created: bool
    sound: bool


def begin(plan: Plan, entry: Entry, declared: Container[str]) -> Draft | None:
    """Set the entry's fields; None where that is all there is to do.

    ``declared``: slugs that the document itself names; their faults are noted.
    """
    service = plan.world.services.get(entry.parts[0])
    if service is not None and not in_reach(plan, service):
        service = None
    stored = plan.world.of_service[entry.kind].get(entry.key) if service is not None else None
    if entry.absent:
        _absent(plan, entry, stored)
        return None
    if not plan.permitted(entry, "create" if stored is None else "update"):
        return None
    obj: Any = stored or OF_SERVICE[entry.kind](**{KEYS[entry.kind][-1]: entry.parts[-1]})
    faults = len(plan.problems)
    changes = plan.fields(entry, obj, KINDS[entry.kind], creating=stored is None)
    engine = fit(plan, entry, service, declared)
    if engine is None or service is None:
        return None
    if stored is None:
        obj.media_service = service
    return Draft(obj, service, engine, changes, stored is None, len(plan.problems) == faults)


def finish(plan: Plan, entry: Entry, draft: Draft) -> None:
    """Note what ``draft`` changes."""
    obj, service, changes = draft.obj, draft.service, draft.changes
    plan.labelled(obj, changes)
    if draft.created:
        plan.create(obj)
        plan.grow(service, entry.kind, 1, entry.path)
    table = KINDS[entry.kind]
    plan.update(obj, [(table[name].column if name in table else "") or name for name in changes])
    if (changes.keys() - {"label"} or draft.created) and _is_on_node(obj):
        plan.touch(service)
    plan.finish(entry, obj, changes, "created" if draft.created else "updated", service.customer)


def _is_on_node(obj: Any) -> bool:
    """Whether the node's document changes with it; a kind of which it may not has ``is_on_node``."""
    return getattr(obj, "is_on_node", True)


def fit(plan: Plan, entry: Entry, service: MediaService | None, declared: Container[str]) -> Engine | None:
    """The service's engine where it can have such an object; notes why it cannot."""
    slug, path = entry.parts[0], f"{entry.path}.media_service"
    if service is None:
        if slug not in declared:
            fix = "Name an existing media service, or declare it as well."
            plan.problem(path, slug, "there is no such media service", fix)
        return None
    several = f"{words_of(entry.kind)}s"
    if service.deleted_at is not None or service.customer.deleted_at is not None:
        fix = f"Restore the media service, or take its {several} out of the document."
        plan.problem(path, slug, "this media service is deleted", fix)
        return None
    known, collection = engines(), COLLECTION_OF[entry.kind]
    engine = known.get(service.engine)
    if engine is None or collection not in engine.objects_of(service.service_type):
        title = service.engine if engine is None else engine.title
        if engine is not None and collection in engine.objects:
            title = f"{title} of the type {service.service_type}"
        able = [_able(other, collection) for other in known.values() if collection in other.objects]
        fix = f"Name a service of {' or '.join(able)}." if able else f"No engine of this release has {several}."
        plan.problem(path, slug, f"is a service of {title}, which has no {several}", fix)
        return None
    return engine


def _able(engine: Engine, collection: str) -> str:
    """The engine in words, with its types that have such objects where not all do."""
    types = [kind for kind in engine.service_types if collection in engine.objects_of(kind)]
    return engine.title if len(types) == len(engine.service_types) else f"{engine.title} ({', '.join(types)})"


def _absent(plan: Plan, entry: Entry, stored: Any) -> None:
    if not plan.permitted(entry, "delete"):
        return
    if stored is None:
        plan.finish(entry, None, {}, "unchanged", None)
        return
    delete(plan, entry.kind, stored, entry.path)
    plan.finish(entry, stored, dict(DELETED), "deleted", stored.media_service.customer)


def delete(plan: Plan, kind: str, obj: Any, path: str = "") -> None:
    """Delete an object at once and for good."""
    plan.remove(obj)
    if _is_on_node(obj):
        plan.touch(obj.media_service)
    plan.grow(obj.media_service, kind, -1, path)


def prunable(plan: Plan, obj: Any) -> bool:
    """The object is the actor's to prune. One whose service goes stays its row, and comes back with it."""
    service = obj.media_service
    kept = service.deleted_at is not None or service.customer.deleted_at is not None
    return not kept and in_reach(plan, service)


def will_have(
    plan: Plan, kind: str, services: Iterable[MediaService], columns: tuple[str, ...] = ()
) -> Iterator[tuple[MediaService, list[Any]]]:
    """Every object of ``kind`` that each service will have: what is stored, as this plan changes it. One query.

    ``columns``: of stored objects that the plan does not name, only these are read; without any, all.
    """
    model, services = OF_SERVICE[kind], list(services)
    planned = {obj.pk: obj for obj in plan.world.of_service[kind].values()}
    gone = {obj.pk for obj in plan.removed.get(model, [])}
    found: dict[int, list[Any]] = {}
    for part in chunks(service.pk for service in services if service.pk is not None):
        stored: Any = model._default_manager.filter(media_service_id__in=part).order_by(KEYS[kind][-1])
        for obj in stored.only("media_service_id", *columns) if columns else stored:
            if obj.pk not in gone:
                found.setdefault(obj.media_service_id, []).append(planned.get(obj.pk, obj))
    created: dict[int, list[Any]] = {}
    for obj in plan.created.get(model, []):
        created.setdefault(id(obj.media_service), []).append(obj)
    for service in services:
        yield service, [*found.get(service.pk, []), *created.get(id(service), [])]


def over(plan: Plan, what: str, kind: str, most: int, stored: Aggregate | None = None) -> list[tuple[Growth, int]]:
    """Services that grew above ``most`` of ``what``, each with how many it would have. One query.

    ``stored`` counts what the service's objects of ``kind`` have of it; without it they are what is counted.
    """
    grown = [growth for (_, name), growth in plan.growth.items() if name == what and growth.by > 0]
    counted: dict[int, int] = {}
    for part in chunks(growth.service.pk for growth in grown if growth.service.pk is not None):
        found = OF_SERVICE[kind]._default_manager.filter(media_service_id__in=part).order_by()
        rows = found.values_list("media_service_id").annotate(stored or Count("pk"))
        counted |= {pk: count or 0 for pk, count in rows}
    totals = [(growth, counted.get(growth.service.pk, 0) + growth.by) for growth in grown]
    return [(growth, total) for growth, total in totals if total > most]


def check_most(plan: Plan, kind: str, most: int) -> None:
    """Refuse more objects of ``kind`` than a service may have."""
    several = OF_SERVICE[kind]._meta.verbose_name_plural
    for growth, total in over(plan, kind, kind, most):
        message = f"{growth.service.slug} would have {total} {several}, at most {most} fit"
        plan.problem(growth.path, total, message, "Delete some that are not needed.")
