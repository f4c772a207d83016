"""Planning of log-ins for media: whoever may change a customer's services may change them."""

from __future__ import annotations

from collections.abc import Container

from django.db.models import Count

from streamfleet_panel.apply.checks import Bad
from streamfleet_panel.apply.customers import in_reach
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import KINDS
from streamfleet_panel.apply.plan import DELETED, SECRET_CHANGE, Plan
from streamfleet_panel.apply.world import chunks, rows
from streamfleet_panel.models import Account, MediaService, MediaUser

MOST_MEDIA_USERS = 20
_TABLE = KINDS["media_user"]


def plan_media_user(plan: Plan, entry: Entry, declared: Container[str]) -> None:
    """One log-in of the document. ``declared``: customers that the document itself names; their faults are noted."""
    customer = plan.world.accounts.get(entry.parts[0])
    if customer is not None and not (customer.pk is None or in_reach(plan, customer)):
        customer = None
    stored = plan.world.media_users.get(entry.key) if customer is not None else None
    if entry.absent:
        _absent(plan, entry, stored)
        return
    if not plan.permitted(entry, "create" if stored is None else "update"):
        return
    user = stored or MediaUser(name=entry.parts[1])
    changes = plan.fields(entry, user, _TABLE, creating=stored is None)
    if customer is None:
        if entry.parts[0] not in declared:
            fix = "Name an existing customer, or declare it as well."
            plan.problem(f"{entry.path}.customer", entry.parts[0], "there is no such customer", fix)
        return
    if customer.deleted_at is not None:
        fix = "Restore the customer, or take its media users out of the document."
        plan.problem(f"{entry.path}.customer", customer.username, "this customer is deleted", fix)
        return
    _password(plan, entry, user, changes, creating=stored is None)
    plan.labelled(user, changes)
    if stored is None:
        user.customer = customer
        plan.create(user)
        plan.media_growth[id(customer)] = (
            customer,
            entry.path,
            plan.media_growth.get(id(customer), (None, "", 0))[2] + 1,
        )
    plan.update(user, changes.keys() - {"password"})
    if changes.keys() - {"label", "password"} or stored is None:
        plan.media_owners[id(customer)] = customer
    plan.finish(entry, user, changes, "created" if stored is None else "updated", customer)


def _password(plan: Plan, entry: Entry, user: MediaUser, changes: dict[str, dict[str, str]], *, creating: bool) -> None:
    if "password" not in entry.fields:
        return
    try:
        password = _TABLE["password"].clean(entry.fields["password"])
    except Bad as error:
        plan.problem(f"{entry.path}.password", None, error.message, error.fix)
        return
    if creating:
        changes["password"] = dict(SECRET_CHANGE)
        plan.passwords[entry.path] = (user, password)
        plan.new_passwords.add(entry.path)
    elif plan.options.update_password == "always":  # noqa: S105
        plan.passwords[entry.path] = (user, password)


def _absent(plan: Plan, entry: Entry, stored: MediaUser | None) -> None:
    if not plan.permitted(entry, "delete"):
        return
    if stored is None:
        plan.finish(entry, None, {}, "unchanged", None)
        return
    delete(plan, stored)
    plan.finish(entry, stored, dict(DELETED), "deleted", stored.customer)


def delete(plan: Plan, user: MediaUser) -> None:
    """Delete a log-in at once and for good."""
    plan.remove(user)
    plan.media_owners[id(user.customer)] = user.customer
    growth = plan.media_growth.get(id(user.customer), (user.customer, "", 0))
    plan.media_growth[id(user.customer)] = (growth[0], growth[1], growth[2] - 1)


def prunable(plan: Plan, user: MediaUser) -> bool:
    """The log-in is the actor's to prune. One whose customer goes stays its row, and comes back with it."""
    return user.customer.deleted_at is None and in_reach(plan, user.customer)


def check_room(plan: Plan) -> None:
    """Refuse more log-ins than a customer may have: one query."""
    grown = [growth for growth in plan.media_growth.values() if growth[2] > 0]
    counted: dict[int, int] = {}
    for part in chunks(customer.pk for customer, _, _ in grown if customer.pk is not None):
        found = MediaUser.objects.filter(customer_id__in=part).order_by()
        counted |= dict(found.values_list("customer_id").annotate(Count("pk")))
    for customer, path, by in grown:
        total = counted.get(customer.pk or 0, 0) + by
        if total > MOST_MEDIA_USERS:
            message = f"{customer.username} would have {total} media users, at most {MOST_MEDIA_USERS} fit"
            plan.problem(path, total, message, "Delete some that are not needed.")


def touch_nodes(plan: Plan) -> None:
    """The nodes on which the customers' libraries are: their documents change. One query, none if nothing changes."""
    owners = {owner.pk: owner for owner in plan.media_owners.values() if owner.pk is not None}
    if not owners:
        return
    services = MediaService.objects.filter(deleted_at=None).only("customer_id", "node_id")
    for service in rows(services, "customer_id", owners):
        plan.touch_node(plan.world.nodes_by_id[service.node_id])


def owner_of(obj: Account | MediaUser) -> Account | None:
    """The customer whose log-in ``obj`` is, if it is one."""
    return obj.customer if isinstance(obj, MediaUser) else None
