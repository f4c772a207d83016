"""Planning of accounts: customers, resellers, administrators."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db.models import Q

from streamfleet_panel.apply.checks import Bad
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import KINDS
from streamfleet_panel.apply.hosts import named
from streamfleet_panel.apply.plan import DELETED, RESTORED, SECRET_CHANGE, Plan, Result
from streamfleet_panel.apply.world import rows
from streamfleet_panel.models import Account, MediaService

_TABLE = KINDS["customer"]


def in_reach(plan: Plan, account: Account) -> bool:
    """The account is in the actor's reach (deleted ones too: their owner may restore them)."""
    actor = plan.actor
    if actor.is_administrator:
        return True
    if actor.account is None:
        return False
    return actor.account.pk in (account.pk, account.reseller_id)


def plan_customer(plan: Plan, entry: Entry) -> None:
    """One account of the document: everything but its reseller, which may come later in the same document."""
    stored = plan.world.accounts.get(entry.key)
    if entry.absent:
        _absent(plan, entry, stored)
        return
    if stored is not None and not in_reach(plan, stored):
        if plan.permitted(entry, "create"):
            plan.problem(f"{entry.path}.username", entry.key, "is taken", "Choose another user name.")
        return
    if not plan.permitted(entry, "create" if stored is None else "update"):
        return
    creating = stored is None
    account = stored or Account(username=entry.key)
    own = plan.actor.account is not None and account.pk == plan.actor.account.pk
    was_enabled = not creating and account.is_enabled
    changes = plan.fields(entry, account, _TABLE, creating=creating, own=own)
    restoring = not creating and account.deleted_at is not None
    if restoring:
        account.deleted_at = None
        changes = {**RESTORED, **changes}
        plan.update(account, ["deleted_at"])
    _reseller_plan(plan, entry, account, changes, creating=creating)
    if creating:
        # Unusable ("!" is no hash) until a real one is set, before the row is written.
        account.password = UNUSABLE_PASSWORD_PREFIX + secrets.token_hex(16)
    _password(plan, entry, account, changes, creating=creating or restoring)
    _welcome(plan, entry, account, creating=creating)
    if own and (account.status != "enabled" or account.account_type != "administrator") and plan.actor.is_administrator:
        plan.problem(
            entry.path,
            entry.key,
            "an administrator cannot disable or demote the own account",
            "Let another administrator do it.",
        )
    plan.labelled(account, changes)
    if creating:
        plan.world.accounts[entry.key] = account
        plan.create(account)
    else:
        plan.update(account, changes.keys() & {*_TABLE, "label"} - {"password", "send_welcome_email", "reseller"})
    plan.finish(entry, account, changes, "created" if creating else "updated", account)
    account.__dict__["_plan_was_enabled"] = was_enabled


def _reseller_plan(plan: Plan, entry: Entry, account: Account, changes: dict[str, Any], *, creating: bool) -> None:
    named_, value = plan.reference(entry, "reseller_plan")
    if not named_:
        return
    current = account.reseller_plan.name if account.reseller_plan is not None else None
    if value == current:
        return
    if not plan.actor.is_administrator:
        plan.not_yours(entry, "reseller_plan", value)
        return
    target = None
    if value is not None:
        target = plan.world.plans.get(value)
        if target is None:
            known = ", ".join(sorted(plan.world.plans)[:10]) or "none yet"
            plan.problem(
                f"{entry.path}.reseller_plan", value, "there is no such reseller plan", f"Known plans: {known}."
            )
            return
    account.reseller_plan = target
    changes["reseller_plan"] = {"before": current, "after": value}
    if target is not None:
        plan.limit_resellers[id(account)] = (account, f"{entry.path}.reseller_plan")


def _password(plan: Plan, entry: Entry, account: Account, changes: dict[str, Any], *, creating: bool) -> None:
    if "password" not in entry.fields:
        return
    try:
        password = _TABLE["password"].clean(entry.fields["password"])
    except Bad as error:
        plan.problem(f"{entry.path}.password", None, error.message, error.fix)
        return
    if creating:
        changes["password"] = dict(SECRET_CHANGE)
        plan.passwords[entry.path] = (account, password)
        plan.new_passwords.add(entry.path)
    elif plan.options.update_password == "always":  # noqa: S105
        plan.passwords[entry.path] = (account, password)


def _welcome(plan: Plan, entry: Entry, account: Account, *, creating: bool) -> None:
    if "send_welcome_email" not in entry.fields:
        return
    try:
        wanted = _TABLE["send_welcome_email"].clean(entry.fields["send_welcome_email"])
    except Bad as error:
        plan.problem(f"{entry.path}.send_welcome_email", entry.fields["send_welcome_email"], error.message, error.fix)
        return
    if wanted and creating:
        if account.email is None:
            plan.problem(
                f"{entry.path}.send_welcome_email", True, "needs an e-mail address to send to", "Give email as well."
            )
        else:
            plan.welcome.append(account)


def link_reseller(plan: Plan, entry: Entry) -> None:
    """Second pass: whose customer the account is, and whether the whole makes sense."""
    account = plan.world.accounts.get(entry.key)
    if entry.absent or account is None or not _mine_or_new(plan, account):
        return
    result = next_result(plan, entry)
    if result is None:
        return
    changes = result.changes
    creating = account.pk is None
    named_, value = plan.reference(entry, "reseller")
    current = account.reseller.username if account.reseller is not None else None
    if not plan.actor.is_administrator and plan.actor.account is not None:
        # A reseller's customers are its own; it need not say so and cannot say otherwise.
        own = account.pk == plan.actor.account.pk
        wanted = current if own or not creating else plan.actor.account.username
        if named_ and value != wanted:
            plan.not_yours(entry, "reseller", value)
            return
        named_, value = True, wanted
    if named_ and value != current:
        target = None
        if value is not None:
            target = plan.world.accounts.get(value)
            if target is None or target.deleted_at is not None:
                plan.problem(f"{entry.path}.reseller", value, "there is no such account", "Name an existing reseller.")
                return
        account.reseller = target
        changes["reseller"] = {"before": current, "after": value}
        plan.update(account, ["reseller"])
        if result.action == "unchanged":
            result.action = "updated"
    _consistent(plan, entry, account)
    reseller = account.reseller
    if reseller is not None and (result.action == "created" or {"reseller", "state"} & changes.keys()):
        plan.limit_resellers[id(reseller)] = (reseller, entry.path)
        if not creating and "reseller" in changes:
            for service in MediaService.objects.filter(customer=account, deleted_at=None).select_related("node"):
                linked = plan.world.services.setdefault(service.slug, service)
                linked._state.fields_cache["customer"] = account
                plan.limit_services.setdefault(id(linked), (linked, entry.path))


def _mine_or_new(plan: Plan, account: Account) -> bool:
    return account.pk is None or in_reach(plan, account)


def next_result(plan: Plan, entry: Entry) -> Result | None:
    """The result that the first pass recorded for the entry; None where it was refused."""
    return plan.by_path.get(entry.path)


def _consistent(plan: Plan, entry: Entry, account: Account) -> None:
    path, fix = entry.path, "Set one of the two to null."
    reseller = account.reseller
    if account.is_administrator and account.reseller_plan is not None:
        plan.problem(f"{path}.reseller_plan", account.reseller_plan.name, "an administrator has no reseller plan", fix)
    if account.is_administrator and reseller is not None:
        plan.problem(f"{path}.reseller", reseller.username, "an administrator belongs to no reseller", fix)
    if reseller is None:
        return
    if account.reseller_plan is not None:
        plan.problem(f"{path}.reseller", reseller.username, "a reseller cannot belong to a reseller", fix)
    if reseller is account:
        plan.problem(f"{path}.reseller", reseller.username, "an account cannot belong to itself", "Set it to null.")
    elif not reseller.is_reseller:
        plan.problem(
            f"{path}.reseller",
            reseller.username,
            "this account is not a reseller: it has no reseller plan",
            f"Give {reseller.username} a reseller_plan, or name another account.",
        )


def _absent(plan: Plan, entry: Entry, stored: Account | None) -> None:
    if not plan.permitted(entry, "delete"):
        return
    if stored is None or stored.deleted_at is not None or not in_reach(plan, stored):
        plan.finish(entry, None, {}, "unchanged", None)
        return
    delete_account(plan, entry.path, stored)
    plan.finish(entry, stored, dict(DELETED), "deleted", stored)


def delete_account(plan: Plan, path: str, account: Account) -> None:
    """Take an account and (in ``cascade``) its services off, into grace."""
    if plan.actor.account is not None and account.pk == plan.actor.account.pk:
        plan.problem(path, account.username, "an account cannot delete itself", "Let somebody else do it.")
        return
    account.deleted_at = plan.now
    plan.update(account, ["deleted_at"])
    plan.deleted_accounts.append((account, path))


def cascade(plan: Plan) -> None:
    """Delete the services of deleted accounts; refuse where a reseller still has customers."""
    if not plan.deleted_accounts:
        return
    paths = {account.pk: path for account, path in plan.deleted_accounts}
    left: dict[int, list[str]] = {}
    for customer in rows(Account.objects.filter(deleted_at=None), "reseller_id", paths):
        final = plan.world.accounts_by_id.get(customer.pk, customer)
        if final.deleted_at is None and final.reseller_id is not None:
            left.setdefault(final.reseller_id, []).append(final.username)
    for account in plan.created.get(Account, []):
        if account.reseller is not None and account.reseller.pk in paths:
            left.setdefault(account.reseller.pk, []).append(account.username)
    for account, path in plan.deleted_accounts:
        if account.pk in left:
            plan.problem(
                path,
                account.username,
                f"this reseller still has customers: {named(sorted(left[account.pk]))}",
                "Delete them or give them to another reseller first.",
            )
    for service in rows(MediaService.objects.filter(deleted_at=None).order_by("slug"), "customer_id", paths):
        linked = plan.world.services.setdefault(service.slug, service)
        cache = linked._state.fields_cache
        cache["customer"] = plan.world.accounts_by_id[linked.customer_id]
        cache["node"] = plan.world.nodes_by_id[linked.node_id]
        if linked.deleted_at is not None:
            continue
        linked.deleted_at = plan.now
        plan.update(linked, ["deleted_at"])
        plan.touch(linked)
        plan.cascaded.append(
            Result(
                "media_service",
                linked.slug,
                paths[linked.customer_id],
                "deleted",
                dict(DELETED),
                linked,
                linked.customer,
                pruned=not paths[linked.customer_id],
            )
        )


def flips(plan: Plan) -> None:
    """Find accounts that became enabled or disabled, by themselves or through their reseller: their services change."""
    for account in plan.world.accounts.values():
        was = account.__dict__.pop("_plan_was_enabled", None)
        if was is not None and account.pk is not None and was != account.is_enabled:
            plan.flipped.append(account)
    if plan.flipped:
        # A disabled reseller takes its customers' services along.
        ids = [account.pk for account in plan.flipped]
        affected = Q(customer_id__in=ids) | Q(customer__reseller_id__in=ids)
        for node_id in (
            MediaService.objects.filter(affected, deleted_at=None).values_list("node_id", flat=True).distinct()
        ):
            plan.touch_node(plan.world.nodes_by_id[node_id])
