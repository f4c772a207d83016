"""Planning of reseller plans and nodes: few, administrators' own, deleted at once."""

from __future__ import annotations

from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import KINDS, REQUIRED
from streamfleet_panel.apply.plan import DELETED, Plan
from streamfleet_panel.models import Account, MediaService, Node, ResellerPlan

_LIMITS = frozenset(name for name in KINDS["reseller_plan"] if name != "name")
_NODE_DOCUMENT = frozenset({"stream_host", "former_stream_hosts"})


def named(names: list[str]) -> str:
    """Up to five names, then how many more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def plan_reseller_plan(plan: Plan, entry: Entry) -> None:
    """One reseller plan of the document."""
    stored = plan.world.plans.get(entry.key)
    if entry.absent:
        if stored is None:
            if plan.permitted(entry, "delete"):
                plan.finish(entry, None, {}, "unchanged", None)
        elif plan.permitted(entry, "delete"):
            delete_plan(plan, stored)
            plan.finish(entry, stored, dict(DELETED), "deleted", None)
        return
    if not plan.permitted(entry, "create" if stored is None else "update"):
        return
    obj = stored or ResellerPlan(name=entry.key)
    changes = plan.fields(entry, obj, KINDS["reseller_plan"], creating=stored is None)
    plan.labelled(obj, changes)
    if stored is None:
        plan.world.plans[entry.key] = obj
        plan.create(obj)
    else:
        plan.update(obj, changes)
        if _LIMITS & changes.keys():
            for reseller in Account.objects.filter(reseller_plan=obj, deleted_at=None):
                linked = plan.world.accounts_by_id.setdefault(reseller.pk, reseller)
                linked._state.fields_cache["reseller_plan"] = obj
                plan.world.accounts.setdefault(linked.username, linked)
                plan.limit_resellers[id(linked)] = (linked, entry.path)
    plan.finish(entry, obj, changes, "created" if stored is None else "updated", None)


def delete_plan(plan: Plan, stored: ResellerPlan) -> None:
    """Delete a plan at the end, if nobody has it any more (see ``check_removed``)."""
    plan.remove(stored)


def plan_node(plan: Plan, entry: Entry) -> None:
    """One node of the document."""
    stored = plan.world.nodes.get(entry.key)
    if entry.absent:
        if plan.permitted(entry, "delete"):
            if stored is not None:
                plan.remove(stored)
            plan.finish(entry, stored, dict(DELETED) if stored else {}, "deleted" if stored else "unchanged", None)
        return
    if not plan.permitted(entry, "create" if stored is None else "update"):
        return
    obj = stored or Node(name=entry.key)
    before = list(obj.engines)
    changes = plan.fields(entry, obj, KINDS["node"], creating=stored is None)
    if stored is None:
        for name in REQUIRED["node"]:
            if name not in entry.fields:
                plan.problem(f"{entry.path}.{name}", None, "is missing", "A new node needs it.")
    if obj.port_range_start > obj.port_range_end:
        plan.problem(
            f"{entry.path}.port_range_end",
            obj.port_range_end,
            f"is below port_range_start ({obj.port_range_start})",
            "Give a range whose end is not below its start.",
        )
    plan.labelled(obj, changes)
    gone = [name for name in before if name not in obj.engines]
    if stored is not None and gone:
        users = list(MediaService.objects.filter(node=stored, engine__in=gone).values_list("slug", flat=True)[:7])
        if users:
            plan.problem(
                f"{entry.path}.engines",
                obj.engines,
                f"lacks {', '.join(gone)}, which services of the node need: {named(users)}",
                "Delete those services first; deleted ones count until their grace period is over.",
            )
    if stored is None:
        plan.world.nodes[entry.key] = obj
        plan.create(obj)
    else:
        plan.update(obj, changes)
    if stored is None or _NODE_DOCUMENT & changes.keys():
        plan.touch_node(obj)
    plan.finish(entry, obj, changes, "created" if stored is None else "updated", None)


def check_removed(plan: Plan) -> None:
    """Refuse to delete plans and nodes that somebody still uses, and name the users."""
    gone_plans = plan.removed.get(ResellerPlan, [])
    gone_nodes = plan.removed.get(Node, [])
    paths = {id(result.obj): result.path for result in plan.results if result.action == "deleted"}
    if gone_plans:
        world = plan.world
        plan_ids = [obj.pk for obj in gone_plans]
        stored = Account.objects.filter(reseller_plan_id__in=plan_ids).only("pk", "username", "reseller_plan_id")
        final = {account.username: world.accounts_by_id.get(account.pk, account).reseller_plan_id for account in stored}
        for account in world.accounts.values():
            if account.reseller_plan is not None:
                final[account.username] = account.reseller_plan.pk
        for obj in gone_plans:
            users = sorted(username for username, plan_id in final.items() if plan_id == obj.pk)
            _refuse(plan, paths.get(id(obj), ""), obj.name, "reseller plan", users)
    if gone_nodes:
        by_node: dict[int, list[str]] = {}
        ids = [obj.pk for obj in gone_nodes]
        for node_id, slug in (
            MediaService.objects.filter(node_id__in=ids).values_list("node_id", "slug").order_by("slug")
        ):
            by_node.setdefault(node_id, []).append(slug)
        for service in plan.created.get(MediaService, []):
            if service.node in gone_nodes:
                by_node.setdefault(service.node.pk, []).append(service.slug)
        for obj in gone_nodes:
            _refuse(plan, paths.get(id(obj), ""), obj.name, "node", by_node.get(obj.pk, []))


def _refuse(plan: Plan, path: str, name: str, kind: str, users: list[str]) -> None:
    if users:
        plan.problem(
            path,
            name,
            f"this {kind} is in use by {named(users)}",
            "Take it from them first; what was deleted counts until its grace period is over.",
        )
