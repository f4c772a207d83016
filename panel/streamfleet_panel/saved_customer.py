"""One customer, or one of his services, as a backup's database had them: a document, and what no document holds.

The rows come from whichever database the backup was made of, of this version or an older one, and may be texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db.models import DateTimeField, ForeignKey, JSONField, Model
from django.utils import timezone

from streamfleet_panel import secrets
from streamfleet_panel.access import Actor, Role, writable
from streamfleet_panel.apply.fields import COLLECTION_OF, KEYS, KINDS, OF_SERVICE
from streamfleet_panel.apply.plan import plain
from streamfleet_panel.engines import engines
from streamfleet_panel.models import Account, MediaService, MediaUser, Node, ResellerPlan

Found = TypeVar("Found", bound=Model)

#: Where nodes keep what is a customer's, and what is a service's (docs/contracts.md).
LIBRARY, KEPT = "/var/lib/streamfleet/media/{uid}", "/var/lib/streamfleet/services/{slug}"
#: What a customer may change himself. Of what is here, all else is billing's and stays.
_THEIRS = Actor(role=Role.CUSTOMER, name="")


class NotSaved(ValueError):
    """The backup lacks what is asked for, or it cannot come here; the message says why and what to do."""


@dataclass(frozen=True)
class Wanted:
    """``username`` or ``slug``: whose, or which; ``node``: for services that are not here; ``keys``: the backup's."""

    username: str = ""
    slug: str = ""
    node: str = ""
    keys: Sequence[str] = ()


@dataclass
class Saved:
    """What the backup has. ``services``: with what belongs to each, by kind; ``node_names``: by their ids there."""

    account: Account
    services: list[MediaService]
    belonging: dict[str, list[Any]]
    media_users: list[MediaUser]
    names: dict[str, dict[int, str]]
    keys: Sequence[str] = ()
    wanted: Wanted = field(default_factory=Wanted)


def read(tables: Mapping[str, Sequence[Mapping[str, Any]]], wanted: Wanted) -> Saved:
    """What ``tables`` (table → rows) have of it. Raises NotSaved."""
    accounts = {account.pk: account for account in _objects(Account, tables)}
    services = {service.pk: service for service in _objects(MediaService, tables)}
    if wanted.slug:
        chosen = [service for service in services.values() if service.slug == wanted.slug]
        if not chosen or chosen[0].deleted_at is not None:
            raise NotSaved(f"the backup has no media service {wanted.slug}. Choose an older one, or another slug.")
        account = accounts[chosen[0].customer_id]
    else:
        named = [account for account in accounts.values() if account.username == wanted.username]
        if not named or named[0].deleted_at is not None:
            raise NotSaved(f"the backup has no customer {wanted.username}. Choose an older one, or another user name.")
        account = named[0]
        mine = (service for service in services.values() if service.customer_id == account.pk)
        chosen = [service for service in mine if service.deleted_at is None]
    if account.is_administrator:
        raise NotSaved(f"{account.username} is an administrator, who is restored with the panel only (restore.yml).")
    ids = {service.pk for service in chosen}
    belonging = {
        kind: [obj for obj in _objects(model, tables) if getattr(obj, "media_service_id") in ids]  # noqa: B009
        for kind, model in OF_SERVICE.items()
    }
    users = [] if wanted.slug else [user for user in _objects(MediaUser, tables) if user.customer_id == account.pk]
    names = {
        "node": {node.pk: node.name for node in _objects(Node, tables)},
        "account": {each.pk: each.username for each in accounts.values()},
        "reseller_plan": {plan.pk: plan.name for plan in _objects(ResellerPlan, tables)},
    }
    return Saved(account, chosen, belonging, users, names, wanted.keys, wanted)


def _objects(model: type[Found], tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Found]:
    """Unsaved objects of a table. A column that a row lacks has its default; one that is not known is nothing."""
    return [
        model(
            **{
                column.attname: _value(column, row[str(column.column)])
                for column in model._meta.concrete_fields
                if column.column in row
            }
        )
        for row in tables.get(model._meta.db_table, ())
    ]


def _value(column: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column, JSONField):
        return json.loads(value)
    if isinstance(column, ForeignKey):
        return column.target_field.to_python(value)
    value = column.to_python(value)
    if isinstance(column, DateTimeField) and isinstance(value, datetime) and timezone.is_naive(value):
        # Databases without time zones hold UTC.
        return value.replace(tzinfo=UTC)
    return value


def document(saved: Saved) -> dict[str, list[dict[str, Any]]]:
    """The document that makes them what they were. Raises NotSaved.

    Of what is here only what the customer may change himself is named, and no secret: what billing has decided since,
    and what was given another password since, stays.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    _customer(saved, found)
    for service in saved.services:
        found.setdefault("media_services", []).append(_service(saved, service))
    slugs = {service.pk: service.slug for service in saved.services}
    for kind, objects in saved.belonging.items():
        stored = OF_SERVICE[kind]._default_manager.filter(media_service__slug__in=slugs.values())
        last = KEYS[kind][-1]
        here = set(stored.values_list("media_service__slug", last))
        for obj in objects:
            slug, name = slugs[obj.media_service_id], getattr(obj, last)
            item = {"media_service": slug, last: name, **_plain_fields(kind, obj)}
            if (slug, name) not in here and "password" in KINDS[kind]:
                item["password"] = secrets.decrypt(obj.credentials_encrypted, saved.keys).get("password")
            found.setdefault(COLLECTION_OF[kind], []).append(item)
    for user in saved.media_users:
        item = {"customer": saved.account.username, "name": user.name, **_plain_fields("media_user", user)}
        found.setdefault("media_users", []).append(item)
    return found


def _customer(saved: Saved, found: dict[str, list[dict[str, Any]]]) -> None:
    account = saved.account
    here = Account.objects.filter(username=account.username).first()
    if here is not None and here.uid != account.uid:
        raise NotSaved(
            f"{account.username} has the uid {here.uid} here and had {account.uid} in the backup: it is another"
            " customer of that name, or another installation's backup. Rename one of the two, or move files by hand."
        )
    other = Account.objects.filter(uid=account.uid).exclude(username=account.username).first()
    if other is not None:
        raise NotSaved(
            f"the uid {account.uid} of {account.username} is that of {other.username} here: the backup is of another"
            " installation."
        )
    if saved.wanted.slug:
        if here is None:
            raise NotSaved(
                f"{account.username}, whose service {saved.wanted.slug} is, is not here. Restore the customer instead."
            )
        return
    if here is not None:
        item = _plain_fields("customer", account, writable(_THEIRS, "customer", own=True))
    else:
        item = _plain_fields("customer", account)
        for name, key in (("reseller", "account"), ("reseller_plan", "reseller_plan")):
            pk = getattr(account, f"{name}_id")
            if pk is not None:
                item[name] = saved.names[key][pk]
    found["customers"] = [{"username": account.username, **item}]


def _service(saved: Saved, service: MediaService) -> dict[str, Any]:
    engine = engines().get(service.engine)
    if engine is None:
        raise NotSaved(f"{service.slug} is of the engine {service.engine}, which this release does not have.")
    settings = {name: value for name, value in service.settings.items() if name in engine.fields}
    stored = MediaService.objects.filter(slug=service.slug).select_related("node").first()
    if stored is not None:
        if stored.engine != service.engine or stored.service_type != service.service_type:
            raise NotSaved(
                f"{service.slug} is a service of {stored.engine} ({stored.service_type}) here and was one of"
                f" {service.engine} ({service.service_type}): another one has taken its name. Delete that one first."
            )
        # Whether it is still the same customer's is for the planner to say.
        item = {"customer": saved.account.username, **_plain_fields("media_service", service, frozenset({"name"}))}
        return {"slug": service.slug, **item, **{k: v for k, v in settings.items() if k not in engine.port_fields}}
    name = saved.wanted.node or saved.names["node"].get(service.node_id, "")
    node = Node.objects.filter(name=name).first()
    if node is None:
        raise NotSaved(f"the node {name}, on which {service.slug} was, is not here. Say on which it shall be.")
    item = _plain_fields("media_service", service) | settings
    taken = _ports(node)
    if service.port is None or taken & set(range(service.port, service.port + max(1, engine.ports))):
        del item["port"]
    for port in engine.port_fields:
        if settings.get(port) in taken:
            del item[port]
    if not service.suspended:
        del item["suspended_until"]
    credentials = secrets.decrypt(service.credentials_encrypted, saved.keys)
    item |= {name: value for name, value in credentials.items() if name in engine.credentials}
    return {"slug": service.slug, "customer": saved.account.username, "node": node.name, **item}


def _ports(node: Node) -> set[int]:
    """Ports that services of the node have."""
    found: set[int] = set()
    for service in MediaService.objects.filter(node=node):
        engine = engines().get(service.engine)
        if engine is None:
            continue
        if service.port is not None:
            found.update(range(service.port, service.port + max(1, engine.ports)))
        found.update(service.settings[name] for name in engine.port_fields if service.settings.get(name))
    return found


def _plain_fields(kind: str, obj: Any, only: Iterable[str] | None = None) -> dict[str, Any]:
    """Fields of the kind but its key, references and secrets."""
    skip = set(KEYS[kind])
    return {
        name: plain(getattr(obj, name))
        for name, spec in KINDS[kind].items()
        if name not in skip and not spec.special and not spec.secret and (only is None or name in only)
    }


def files(saved: Saved, nodes: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """Node → ``{"only": [path], "missing": [path]}``: what is to come back there; of the latter only what is missing.

    ``nodes``: slug → the node on which the service is, or will be. Of a customer the whole library; of one service what
    its playlists name and what was recorded of it, since other stations of the customer play from the same library.
    With what services have kept they go on while they run.
    """
    found: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    library = LIBRARY.format(uid=saved.account.uid)
    for service in saved.services:
        paths = found.setdefault(nodes[service.slug], set())
        kept.setdefault(nodes[service.slug], set()).add(KEPT.format(slug=service.slug))
        if not saved.wanted.slug:
            paths.add(library)
            continue
        paths.add(f"{library}/recordings/{service.slug}")
        for playlist in saved.belonging["playlist"]:
            named = playlist.files if playlist.folder is None else [playlist.folder]
            paths |= {library if name == "." else f"{library}/{name}" for name in named or ()}
    return {node: {"only": sorted(paths), "missing": sorted(kept[node])} for node, paths in sorted(found.items())}
