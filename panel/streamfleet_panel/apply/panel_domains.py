"""Planning of resellers' own names for the panel. Whether one is proved is not for a document to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from django.conf import settings

from streamfleet_panel.apply.customers import in_reach
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.domains import is_among, own_names
from streamfleet_panel.apply.fields import KINDS
from streamfleet_panel.apply.plan import DELETED, Plan
from streamfleet_panel.apply.world import rows
from streamfleet_panel.models import Account, PanelDomain

_TABLE = KINDS["panel_domain"]


def plan_panel_domains(plan: Plan, entries: Sequence[Entry], declared: Container[str]) -> None:
    """All of the document. ``declared``: accounts that the document itself names; their faults are noted."""
    taken = own_names(plan) if entries else frozenset()
    for entry in entries:
        _plan_one(plan, entry, declared, taken)


def _plan_one(plan: Plan, entry: Entry, declared: Container[str], taken: Container[str]) -> None:
    reseller = plan.world.accounts.get(entry.parts[0])
    if reseller is not None and not (reseller.pk is None or in_reach(plan, reseller)):
        reseller = None
    stored = plan.world.panel_domains.get(entry.key) if reseller is not None else None
    if entry.absent:
        if plan.permitted(entry, "delete"):
            if stored is not None:
                plan.remove(stored)
            owner = stored.reseller if stored is not None else None
            plan.finish(entry, stored, dict(DELETED) if stored else {}, "deleted" if stored else "unchanged", owner)
        return
    if not plan.permitted(entry, "create" if stored is None else "update"):
        return
    claim = stored or PanelDomain(name=entry.parts[1])
    changes = plan.fields(entry, claim, _TABLE, creating=stored is None)
    if reseller is None:
        if entry.parts[0] not in declared:
            fix = "Name an existing reseller, or declare it as well."
            plan.problem(f"{entry.path}.reseller", entry.parts[0], "there is no such reseller", fix)
        return
    if reseller.deleted_at is not None:
        fix = "Restore the reseller, or take its panel domains out of the document."
        plan.problem(f"{entry.path}.reseller", reseller.username, "this reseller is deleted", fix)
        return
    if not reseller.is_reseller:
        message, fix = "this account has no reseller plan, so it is no reseller", "Name a reseller, or give it a plan."
        plan.problem(f"{entry.path}.reseller", reseller.username, message, fix)
        return
    plan.labelled(claim, changes)
    if stored is None:
        if not settings.WHITE_LABEL:
            message = "this installation has the panel under its own names alone"
            plan.problem(entry.path, claim.name, message, "Take the panel domain out of the document.")
        ours = is_among(claim.name, taken)
        if ours is not None:
            message = f"is a name of this installation ({ours}), or below one"
            plan.problem(f"{entry.path}.name", claim.name, message, "Name a domain of the reseller's own.")
        claim.reseller = reseller
        plan.create(claim)
    plan.update(claim, changes)
    plan.finish(entry, claim, changes, "created" if stored is None else "updated", reseller)


def prunable(plan: Plan, claim: PanelDomain) -> bool:
    """It is the actor's to prune. One whose reseller goes stays its row, and comes back with it."""
    return claim.reseller.deleted_at is None and in_reach(plan, claim.reseller)


def check_room(plan: Plan) -> None:
    """Refuse more than a reseller's plan allows: one query."""
    created: list[PanelDomain] = plan.created.get(PanelDomain, [])
    if not created:
        return
    paths = {id(result.obj): path for path, result in plan.by_path.items()}
    growing: dict[int, tuple[Account, str]] = {
        id(claim.reseller): (claim.reseller, paths[id(claim)]) for claim in created
    }
    total: Counter[int] = Counter(id(claim.reseller) for claim in created)
    gone = {claim.pk for claim in plan.removed.get(PanelDomain, [])}
    by_pk = {reseller.pk: reseller for reseller, _ in growing.values() if reseller.pk is not None}
    for claim in rows(PanelDomain.objects.only("reseller_id"), "reseller_id", by_pk):
        if claim.pk not in gone:
            total[id(by_pk[claim.reseller_id])] += 1
    for key, (reseller, path) in growing.items():
        offer = reseller.reseller_plan
        most = offer.max_panel_domains if offer is not None else 0
        if most is not None and total[key] > most:
            message = f"{reseller.username} would have {total[key]} panel domains, the plan {offer} allows {most}"
            plan.problem(path, total[key], message, "Delete one that is not needed, or raise max_panel_domains.")
