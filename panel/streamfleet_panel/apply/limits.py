"""What resellers may hand out in all: judged on the state that the document would leave."""

from __future__ import annotations

from typing import Any

from streamfleet_panel.apply.plan import Plan
from streamfleet_panel.engines import engines
from streamfleet_panel.models import Account, MediaService

# Limit of the plan → field of the service that is summed.
_SUMS = {
    "max_listeners": "max_listeners",
    "max_disk_mb": "disk_quota_mb",
    "max_transfer_mb": "monthly_transfer_mb",
    "max_mounts": "max_mounts",
}
_EACH = {
    "max_bitrate_kbps": "max_bitrate_kbps",
    "max_mounts_per_service": "max_mounts",
    "max_renditions": "max_renditions",
    "max_transcode_mpixels": "max_transcode_mpixels",
}


def _reseller_of(account: Account) -> Account | None:
    """Whose plan the account's services count for: itself where it is a reseller, else its reseller."""
    return account if account.is_reseller else account.reseller


def check(plan: Plan) -> None:
    """Compare touched services and resellers with their plans. Two queries, however many there are."""
    touched: dict[int, tuple[Account, str]] = dict(plan.limit_resellers)
    for service, path in plan.limit_services.values():
        reseller = _reseller_of(service.customer)
        if reseller is not None and service.deleted_at is None:
            _each(plan, service, reseller, path)
            touched[id(reseller)] = (reseller, path)
    touched = {
        key: (reseller, path)
        for key, (reseller, path) in touched.items()
        if reseller.reseller_plan and not reseller.deleted_at
    }
    if touched:
        _sums(plan, touched)


def _each(plan: Plan, service: MediaService, reseller: Account, path: str) -> None:
    offer = reseller.reseller_plan
    if offer is None:
        return
    if offer.allowed_engines is not None and service.engine not in offer.allowed_engines:
        plan.problem(
            f"{path}.engine",
            service.engine,
            f"is not allowed by the plan {offer.name} of {reseller.username}",
            f"Allowed engines: {', '.join(offer.allowed_engines) or 'none'}.",
        )
    for limit, name in _EACH.items():
        _within(plan, f"{path}.{name}", service, name, getattr(offer, limit), offer.name, limit)


def _counts(service_engine: str, name: str, service_type: str | None = None) -> bool:
    """Whether the field means anything for the engine, or for services of this type of it.

    Where the engine has no such limit, having none is no claim to unlimited: a plan that is to bound every listener
    names the engines that count them (``allowed_engines``).
    """
    engine = engines().get(service_engine)
    return engine is None or engine.holds(name, service_type)


def _within(plan: Plan, path: str, service: MediaService, name: str, most: int | None, offer: str, limit: str) -> None:
    if most is None or not _counts(service.engine, name, service.service_type):
        return
    value = getattr(service, name)
    if value is None:
        plan.problem(path, None, f"unlimited is above {limit} of the plan {offer} ({most})", f"Give at most {most}.")
    elif value > most:
        plan.problem(path, value, f"is above {limit} of the plan {offer} ({most})", f"Give at most {most}.")


def _sums(plan: Plan, touched: dict[int, tuple[Account, str]]) -> None:
    ids = [reseller.pk for reseller, _ in touched.values() if reseller.pk is not None]
    # Customers and services as stored, then as the document would leave them.
    customers: dict[int, set[Any]] = {key: set() for key in touched}
    by_pk = {reseller.pk: key for key, (reseller, _) in touched.items() if reseller.pk is not None}
    stored = Account.objects.filter(reseller_id__in=ids, deleted_at=None).values_list("pk", "reseller_id")
    for pk, reseller_id in stored:
        if pk not in plan.world.accounts_by_id:
            customers[by_pk[reseller_id]].add(pk)
    for account in plan.world.accounts.values():
        if account.reseller is not None and id(account.reseller) in touched and account.deleted_at is None:
            customers[id(account.reseller)].add(account.pk or -id(account))
    columns = ["pk", "customer_id", "customer__reseller_id", "engine", *dict.fromkeys(_SUMS.values())]
    services: dict[int, list[tuple[str, dict[str, int | None]]]] = {key: [] for key in touched}
    known = {service.pk for service in plan.world.services.values() if service.pk is not None}
    wanted = MediaService.objects.filter(deleted_at=None)
    if ids:
        rows = (wanted.filter(customer_id__in=ids) | wanted.filter(customer__reseller_id__in=ids)).values_list(*columns)
        for pk, customer_id, reseller_id, engine, *values in rows:
            if pk in known:
                continue
            moved = plan.world.accounts_by_id.get(customer_id)
            owner = _reseller_of(moved) if moved is not None else None
            key = id(owner) if moved is not None else by_pk.get(customer_id, by_pk.get(reseller_id))
            if key in services:
                services[key].append((engine, dict(zip(columns[4:], values, strict=True))))
    for service in plan.world.services.values():
        owner = _reseller_of(service.customer)
        if owner is not None and id(owner) in services and service.deleted_at is None:
            values_ = {name: getattr(service, name) for name in _SUMS.values()}
            services[id(owner)].append((service.engine, values_))
    for key, (reseller, path) in touched.items():
        offer = reseller.reseller_plan
        if offer is None:
            continue
        _total(plan, path, "max_customers", len(customers[key]), offer.max_customers, reseller, offer.name)
        _total(plan, path, "max_media_services", len(services[key]), offer.max_media_services, reseller, offer.name)
        for limit, name in _SUMS.items():
            most = getattr(offer, limit)
            if most is None:
                continue
            counted = [values[name] for engine, values in services[key] if _counts(engine, name)]
            if any(value is None for value in counted):
                plan.problem(
                    f"{path}.{name}",
                    None,
                    f"a service of {reseller.username} is unlimited, "
                    f"the plan {offer.name} allows {most} in all ({limit})",
                )
            else:
                total = sum(value for value in counted if value is not None)
                _total(plan, f"{path}.{name}", limit, total, most, reseller, offer.name)


def _total(plan: Plan, path: str, limit: str, total: int, most: int | None, reseller: Account, offer: str) -> None:
    if most is not None and total > most:
        plan.problem(
            path,
            total,
            f"{reseller.username} would use {total} in all, the plan {offer} allows {most} ({limit})",
            f"Stay within {most}, or raise {limit} of the plan.",
        )
