"""What is stored now, as far as a document touches it: loaded in a constant number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Model, QuerySet

from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import KEYS, OF_SERVICE, key_of
from streamfleet_panel.models import Account, MediaService, MediaUser, Node, PanelDomain, ResellerPlan

M = TypeVar("M", bound=Model)


def chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    """``values`` in lists that fit into one query of this database (all in one, on every usual build)."""
    unique = list(dict.fromkeys(values))
    size = (connection.features.max_query_params or 200_000) - 10
    for start in range(0, len(unique), size):
        yield unique[start : start + size]


def rows(queryset: QuerySet[M], lookup: str, values: Iterable[Any]) -> list[M]:
    """The rows of ``queryset`` whose ``lookup`` is among ``values``."""
    found: list[M] = []
    for part in chunks(values):
        found.extend(queryset.filter(**{f"{lookup}__in": part}))
    return found


class World:
    """Plans and nodes whole (there are few), the others by the keys that the document names.

    All objects are linked: ``service.customer``, ``account.reseller``, ``account.reseller_plan``, ``service.node``,
    ``playlist.media_service`` are set, so that reading them costs no query. ``of_service``: by kind, and by their keys,
    what belongs to services.
    """

    def __init__(self, entries: list[Entry], label: str | None, *, prune: bool, also: Iterable[str] = ()) -> None:
        self.plans: dict[str, ResellerPlan] = {plan.name: plan for plan in ResellerPlan.objects.all()}
        self.nodes: dict[str, Node] = {node.name: node for node in Node.objects.all()}
        self.plans_by_id = {plan.pk: plan for plan in self.plans.values()}
        self.nodes_by_id = {node.pk: node for node in self.nodes.values()}
        named = {kind: {entry.parts for entry in entries if entry.kind == kind} for kind in OF_SERVICE}
        slugs = [entry.key for entry in entries if entry.kind == "media_service"]
        also_slugs = [slug for parts in named.values() for slug, _ in parts]
        also_slugs += [entry.parts[0] for entry in entries if entry.kind == "mount"]
        services = rows(MediaService.objects.all(), "slug", [*slugs, *also_slugs])
        if prune:
            known = {service.pk for service in services}
            mine = MediaService.objects.filter(label=label, deleted_at=None)
            services.extend(service for service in mine if service.pk not in known)
        stored = {kind: _of_service(kind, services, parts) for kind, parts in named.items()}
        if prune:
            for kind, objects in stored.items():
                known = {obj.pk for obj in objects}
                ours = OF_SERVICE[kind]._default_manager.filter(label=label, media_service__deleted_at=None)
                objects.extend(obj for obj in ours if obj.pk not in known)
            known = {service.pk for service in services}
            theirs = {obj.media_service_id for objects in stored.values() for obj in objects}
            services += rows(MediaService.objects.all(), "pk", theirs - known)
        names = [*also, *(entry.key for entry in entries if entry.kind == "customer")]
        media_users = {entry.parts for entry in entries if entry.kind == "media_user"}
        names += sorted({customer for customer, _ in media_users})
        panel_domains = {entry.parts for entry in entries if entry.kind == "panel_domain"}
        names += sorted({reseller for reseller, _ in panel_domains})
        for entry in entries:
            for reference in ("customer", "reseller"):
                value = entry.fields.get(reference)
                if isinstance(value, str):
                    names.append(value)
        accounts = rows(Account.objects.all(), "username", names)
        known = {account.pk for account in accounts}
        if prune:
            accounts.extend(a for a in Account.objects.filter(label=label, deleted_at=None) if a.pk not in known)
            known = {account.pk for account in accounts}
        logins = _logins(accounts, media_users, label if prune else None)
        claims = _panel_domains(accounts, panel_domains, label if prune else None)
        theirs = {login.customer_id for login in logins} | {claim.reseller_id for claim in claims}
        accounts += rows(Account.objects.all(), "pk", theirs - known)
        known = {account.pk for account in accounts}
        accounts += rows(Account.objects.all(), "pk", {s.customer_id for s in services} - known)
        known = {account.pk for account in accounts}
        accounts += rows(Account.objects.all(), "pk", {a.reseller_id for a in accounts if a.reseller_id} - known)
        self.accounts: dict[str, Account] = {account.username: account for account in accounts}
        self.accounts_by_id: dict[int, Account] = {account.pk: account for account in accounts}
        self.services: dict[str, MediaService] = {service.slug: service for service in services}
        for account in accounts:
            cache = account._state.fields_cache
            cache["reseller"] = self.accounts_by_id.get(account.reseller_id) if account.reseller_id else None
            cache["reseller_plan"] = (
                self.plans_by_id.get(account.reseller_plan_id) if account.reseller_plan_id else None
            )
        for service in services:
            cache = service._state.fields_cache
            cache["customer"] = self.accounts_by_id[service.customer_id]
            cache["node"] = self.nodes_by_id[service.node_id]
        for login in logins:
            login._state.fields_cache["customer"] = self.accounts_by_id[login.customer_id]
        self.media_users: dict[str, MediaUser] = {key_of("media_user", login): login for login in logins}
        for claim in claims:
            claim._state.fields_cache["reseller"] = self.accounts_by_id[claim.reseller_id]
        self.panel_domains: dict[str, PanelDomain] = {key_of("panel_domain", claim): claim for claim in claims}
        by_id = {service.pk: service for service in services}
        self.of_service: dict[str, dict[str, Any]] = {}
        for kind, objects in stored.items():
            for obj in objects:
                obj._state.fields_cache["media_service"] = by_id[obj.media_service_id]
            self.of_service[kind] = {key_of(kind, obj): obj for obj in objects}


def _logins(accounts: Iterable[Account], wanted: set[tuple[str, ...]], label: str | None) -> list[MediaUser]:
    """The media users that are ``wanted`` by the parts of their keys, and those with the label, if one is given."""
    named = {customer for customer, _ in wanted}
    usernames = {account.pk: account.username for account in accounts if account.username in named}
    found = [
        login
        for login in rows(MediaUser.objects.all(), "customer_id", usernames)
        if (usernames[login.customer_id], login.name) in wanted
    ]
    if label is not None:
        known = {login.pk for login in found}
        ours = MediaUser.objects.filter(label=label, customer__deleted_at=None)
        found.extend(login for login in ours if login.pk not in known)
    return found


def _panel_domains(accounts: Iterable[Account], wanted: set[tuple[str, ...]], label: str | None) -> list[PanelDomain]:
    """The panel domains that are ``wanted`` by the parts of their keys, and those with the label, if one is given."""
    named = {reseller for reseller, _ in wanted}
    usernames = {account.pk: account.username for account in accounts if account.username in named}
    stored = rows(PanelDomain.objects.all(), "reseller_id", usernames)
    found = [claim for claim in stored if (usernames[claim.reseller_id], claim.name) in wanted]
    if label is not None:
        known = {claim.pk for claim in found}
        ours = PanelDomain.objects.filter(label=label, reseller__deleted_at=None)
        found.extend(claim for claim in ours if claim.pk not in known)
    return found


def _of_service(kind: str, services: Iterable[MediaService], wanted: set[tuple[str, ...]]) -> list[Any]:
    """The objects of ``kind`` that are ``wanted`` by the parts of their keys.

    Two queries: lists of files are long, so only those of wanted playlists are read.
    """
    manager, own = OF_SERVICE[kind]._default_manager, KEYS[kind][-1]
    named = {slug for slug, _ in wanted}
    slugs = {service.pk: service.slug for service in services if service.slug in named}
    found: list[Any] = rows(manager.only("media_service", own), "media_service_id", slugs)
    pks = [obj.pk for obj in found if (slugs[obj.media_service_id], getattr(obj, own)) in wanted]
    return rows(manager.all(), "pk", pks)
