"""Planning of media services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamfleet_panel import secrets
from streamfleet_panel.apply import service_ports
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import KINDS
from streamfleet_panel.apply.plan import DELETED, RESTORED, SECRET_CHANGE, Plan
from streamfleet_panel.apply.ports import Ports, key_of_node
from streamfleet_panel.apply.renditions import judge_renditions
from streamfleet_panel.apply.together import judge_together
from streamfleet_panel.apply.world import chunks
from streamfleet_panel.engines import ENGINE_LIMITS, RENDITION_LIMITS, Engine, Property, engines, generate_credential
from streamfleet_panel.models import Account, MediaService, Node, UniqueCredential

_TABLE = KINDS["media_service"]
# Columns that are not part of the node's document.
_SILENT = frozenset({"label", "max_mounts", "max_domains", *RENDITION_LIMITS, "suspended_until"})
_LIMITED = frozenset(
    {
        *("max_listeners", "max_bitrate_kbps", "monthly_transfer_mb", "disk_quota_mb", "max_mounts"),
        *(*RENDITION_LIMITS, "customer", "state"),
    }
)


def plan_service(plan: Plan, entry: Entry) -> None:
    """One media service of the document."""
    ports = plan.ports
    stored = plan.world.services.get(entry.key)
    if entry.absent:
        _absent(plan, entry, stored)
    elif stored is not None and not in_reach(plan, stored):
        if plan.permitted(entry, "create"):
            plan.problem(f"{entry.path}.slug", entry.key, "is taken", "Choose another slug.")
    elif stored is None:
        if plan.permitted(entry, "create"):
            _create(plan, entry, ports)
    elif plan.permitted(entry, "update"):
        _update(plan, entry, stored)


def in_reach(plan: Plan, service: MediaService) -> bool:
    """The service is the actor's to manage (deleted ones too: their owner may restore them)."""
    actor = plan.actor
    if actor.is_administrator:
        return True
    if actor.account is None:
        return False
    return actor.account.pk in (service.customer_id, service.customer.reseller_id)


def _owner(plan: Plan, entry: Entry) -> Account | None:
    """The owner that the entry names, in the actor's reach and not deleted; notes anything else."""
    named, value = plan.reference(entry, "customer")
    if not named:
        if "customer" not in entry.fields:
            plan.problem(
                f"{entry.path}.customer", None, "is missing", "A new media service needs its owner's user name."
            )
        return None
    account = plan.world.accounts.get(value) if value is not None else None
    actor = plan.actor
    reachable = account is not None and (
        actor.is_administrator
        or account.pk is None
        or (actor.account is not None and actor.account.pk in (account.pk, account.reseller_id))
    )
    if account is None or not reachable:
        plan.problem(
            f"{entry.path}.customer",
            value,
            "there is no such customer",
            "Name an existing account, or declare it as well.",
        )
        return None
    if account.deleted_at is not None:
        plan.problem(
            f"{entry.path}.customer", value, "this customer is deleted", "Restore the customer, or name another."
        )
        return None
    return account


def _create(plan: Plan, entry: Entry, ports: Ports) -> None:
    service = MediaService(slug=entry.key, name=entry.key)
    owner = _owner(plan, entry)
    engine = engines().get(entry.fields["engine"]) if isinstance(entry.fields.get("engine"), str) else None
    if "engine" not in entry.fields:
        known = ", ".join(engines())
        plan.problem(
            f"{entry.path}.engine", None, "is missing", f"A new media service needs it. Known engines: {known}."
        )
    changes = plan.fields(entry, service, _TABLE, creating=True, skip=_engine_fields(engine, entry))
    if owner is not None:
        service.customer = owner
        changes["customer"] = {"before": None, "after": owner.username}
    if engine is None:
        return
    if not service.service_type:
        service.service_type = engine.service_types[0]
    elif service.service_type not in engine.service_types:
        plan.problem(
            f"{entry.path}.service_type",
            service.service_type,
            f"is not a type of {engine.name}",
            f"Use {' or '.join(engine.service_types)}.",
        )
    changes["service_type"] = {"before": None, "after": service.service_type}
    _settings(plan, entry, service, engine, changes, creating=True)
    _credentials(plan, entry, service, engine, changes, creating=True)
    node = _place(plan, entry, service, engine, ports)
    if node is not None:
        service.node = node
        changes["node"] = {"before": None, "after": node.name}
        service_ports.settle(plan, entry, service, engine, changes, creating=True, old=None)
    _judge(plan, entry, service, engine, changes)
    plan.labelled(service, changes)
    if owner is None or node is None:
        return
    plan.world.services[entry.key] = service
    plan.create(service)
    plan.touch(service)
    plan.limit_services[id(service)] = (service, entry.path)
    plan.finish(entry, service, changes, "created", owner)


def _update(plan: Plan, entry: Entry, service: MediaService) -> None:
    engine = engines().get(service.engine)
    if engine is None:
        plan.problem(
            f"{entry.path}.engine",
            service.engine,
            "this service's engine is not part of this release",
            "Install a release that has the engine, or delete the service.",
        )
        return
    restoring = service.deleted_at is not None
    changes: dict[str, dict[str, Any]] = {}
    if service.customer.deleted_at is not None:
        plan.problem(
            f"{entry.path}.slug",
            entry.key,
            f"belongs to {service.customer.username}, who is deleted",
            "Restore the customer as well, or take the service out of the document.",
        )
        return
    if restoring:
        if not plan.permitted(entry, "restore"):
            return
        if "customer" in entry.fields and entry.fields["customer"] != service.customer.username:
            plan.problem(
                f"{entry.path}.slug",
                entry.key,
                "is kept for the owner of the deleted service until its grace period is over",
                "Choose another slug.",
            )
            return
        service.deleted_at = None
        changes.update(RESTORED)
        plan.update(service, ["deleted_at"])
    for name, current in (("customer", service.customer.username), ("node", service.node.name)):
        if name in entry.fields and entry.fields[name] != current:
            if name == "node" and not plan.actor.is_administrator:
                plan.not_yours(entry, name, entry.fields[name])
            else:
                plan.fixed(entry, name, current, entry.fields[name])
    old_port = service.port
    old_until = service.suspended_until
    changes |= plan.fields(entry, service, _TABLE, creating=False, skip=_engine_fields(engine, entry))
    if "suspended" in changes and not service.suspended and service.suspended_until == old_until and old_until:
        # Whoever lifts a suspension lifts its end as well; else the next one would end by an old date.
        service.suspended_until = None
        plan.update(service, ["suspended_until"])
    _settings(plan, entry, service, engine, changes, creating=False)
    service_ports.settle(plan, entry, service, engine, changes, creating=False, old=old_port)
    _credentials(plan, entry, service, engine, changes, creating=False)
    if changes:
        _judge(plan, entry, service, engine, changes)
    plan.labelled(service, changes)
    columns = changes.keys() & {*_TABLE, "label"} - {"customer", "node"}
    if changes.keys() & engine.fields.keys():
        columns |= {"settings"}
    if changes.keys() & engine.credentials.keys():
        columns |= {"credentials_encrypted"}
    plan.update(service, columns)
    if changes.keys() - _SILENT:
        plan.touch(service)
    if _LIMITED & changes.keys():
        plan.limit_services[id(service)] = (service, entry.path)
    plan.finish(entry, service, changes, "updated", service.customer)


def _absent(plan: Plan, entry: Entry, stored: MediaService | None) -> None:
    if not plan.permitted(entry, "delete"):
        return
    if stored is None or stored.deleted_at is not None or not in_reach(plan, stored):
        plan.finish(entry, None, {}, "unchanged", None)
        return
    delete_service(plan, stored)
    plan.finish(entry, stored, dict(DELETED), "deleted", stored.customer)


def delete_service(plan: Plan, service: MediaService) -> None:
    """Take a service off the air, into grace."""
    service.deleted_at = plan.now
    plan.update(service, ["deleted_at"])
    plan.touch(service)


def _engine_fields(engine: Engine | None, entry: Entry) -> Any:
    """Which unknown names are left to the engine's own check: its fields; all of them where the engine is not known."""
    if engine is None:
        every = {name for other in engines().values() for name in (*other.fields, *other.credentials)}
        return every.__contains__
    return lambda name: name in engine.fields or name in engine.credentials


def _check(plan: Plan, entry: Entry, prop: Property, value: Any) -> bool:
    """Whether ``value`` fits the property; notes every fault, without the value where it is a secret."""
    faults = list(prop.faults(value))
    for below, wrong, message in faults:
        plan.problem(
            f"{entry.path}.{prop.name}{below}",
            None if prop.secret else wrong,
            message,
            f"{prop.name}: {prop.description}",
        )
    return not faults


def _settings(
    plan: Plan, entry: Entry, service: MediaService, engine: Engine, changes: dict[str, Any], *, creating: bool
) -> None:
    """Fields of the engine. Stored with nested defaults filled in, so equal meanings are equal."""
    stored = dict(service.settings)
    for name, prop in engine.fields.items():
        if name not in entry.fields:
            continue
        value = entry.fields[name]
        current = prop.normal(stored[name]) if name in stored else prop.default
        if not creating and name in stored and value == stored[name]:
            continue
        if not prop.is_for(service.service_type):
            _not_for(plan, entry, service, prop, value)
            continue
        if not prop.fits(value):
            _check(plan, entry, prop, value)
            continue
        after = prop.normal(value)
        if not creating and after == current:
            continue
        changes[name] = {"before": None if creating else current, "after": after}
        stored[name] = after
    service.settings = stored
    for name, prop in engine.fields.items():
        lacks = prop.needed and prop.is_for(service.service_type) and stored.get(name) is None
        # What was named and is wrong has been noted above.
        if lacks and entry.fields.get(name) is None:
            message = f"is missing: a service of type {service.service_type} needs it"
            plan.problem(f"{entry.path}.{name}", None, message, f"{name}: {prop.description}")


def _not_for(plan: Plan, entry: Entry, service: MediaService, prop: Property, value: Any) -> None:
    """Refuse a field of other types of services, unless it says what goes without saying."""
    if value is not None and (not prop.fits(value) or prop.normal(value) != prop.default):
        plan.problem(
            f"{entry.path}.{prop.name}",
            None if prop.secret else value,
            f"is not for services of type {service.service_type}",
            f"Leave {prop.name} out; services of type {' or '.join(sorted(prop.types))} have it.",
        )


def _credentials(
    plan: Plan, entry: Entry, service: MediaService, engine: Engine, changes: dict[str, Any], *, creating: bool
) -> None:
    """Credentials: given ones replace, omitted ones are kept; what the service lacks is made.

    It may lack one that came with a later release. Nothing needs that before a field of the engine is set.
    """
    given = engine.credentials.keys() & entry.fields.keys()
    if not given and not creating and not engine.fields.keys() & changes.keys():
        return
    current = service.credentials
    after = dict(current)
    for name in sorted(given):
        value = entry.fields[name]
        if value == after.get(name) and (value is not None or not engine.credentials[name].generate):
            continue
        if not engine.credentials[name].is_for(service.service_type):
            _not_for(plan, entry, service, engine.credentials[name], value)
            continue
        if _check(plan, entry, engine.credentials[name], value):
            after[name] = value
    for name, prop in engine.credentials.items():
        if prop.generate and prop.is_for(service.service_type) and not after.get(name):
            after[name] = generate_credential()
    for name in sorted(after.keys() | current.keys()):
        if after.get(name) != current.get(name):
            changes[name] = dict(SECRET_CHANGE)
    if after != current:
        service.credentials_encrypted = secrets.encrypt(after)
        if any(prop.unique for prop in engine.credentials.values()):
            plan.rekeyed[id(service)] = (service, entry.path)


def _place(plan: Plan, entry: Entry, service: MediaService, engine: Engine, ports: Ports) -> Node | None:
    """The node of a new service: the one named, else the active one with the engine and the fewest services."""
    ports.load()
    named, value = plan.reference(entry, "node")
    if named and value is not None:
        if not plan.actor.is_administrator:
            plan.not_yours(entry, "node", value)
            return None
        node = plan.world.nodes.get(value)
        reason = None
        if node is None:
            known = ", ".join(sorted(plan.world.nodes)[:10]) or "none yet"
            plan.problem(f"{entry.path}.node", value, "there is no such node", f"Known nodes: {known}.")
            return None
        if node.status != Node.Status.ACTIVE:
            reason = f"is {node.status} and takes no new services"
        elif engine.name not in node.engines:
            reason = f"does not run {engine.name}; it runs {', '.join(node.engines) or 'no engine'}"
        elif _full(node, ports):
            reason = f"is full: max_media_services is {node.max_media_services}"
        if reason is not None:
            plan.problem(f"{entry.path}.node", value, f"this node {reason}", "Name another node, or leave it out.")
            return None
        ports.count[key_of_node(node)] = ports.count.get(key_of_node(node), 0) + 1
        return node
    fit = [
        node
        for node in plan.world.nodes.values()
        if node.status == Node.Status.ACTIVE and engine.name in node.engines and not _full(node, ports)
    ]
    if not fit:
        plan.problem(
            f"{entry.path}.node",
            None,
            f"no active node runs {engine.name} and has room",
            "Add a node with this engine, or raise max_media_services of one.",
        )
        return None
    best = min(fit, key=lambda node: (ports.count.get(key_of_node(node), 0), node.name))
    ports.count[key_of_node(best)] = ports.count.get(key_of_node(best), 0) + 1
    return best


def _full(node: Node, ports: Ports) -> bool:
    return node.max_media_services is not None and ports.count.get(key_of_node(node), 0) >= node.max_media_services


def _judge(
    plan: Plan, entry: Entry, service: MediaService, engine: Engine, changes: Mapping[str, Mapping[str, Any]]
) -> None:
    """What fields mean together: limits and the engine, mounts and their limits, suspension."""
    for name in ENGINE_LIMITS:
        if name in changes and changes[name]["after"] is not None and not engine.holds(name):
            held = ", ".join(sorted(engine.limits)) or "none of these limits"
            plan.problem(
                f"{entry.path}.{name}",
                changes[name]["after"],
                f"is a limit that {engine.name} does not hold",
                f"Leave {name} out, or give null; {engine.name} holds {held}.",
            )
    if engine.mounts_field is not None:
        mounts = engine.settings(service.settings)[engine.mounts_field]
        field = f"{entry.path}.{engine.mounts_field}"
        named = engine.mounts_field in entry.fields
        many = field if named else f"{entry.path}.max_mounts"
        judge_mounts(plan, service, mounts, [f"{field}[{index}]" for index in range(len(mounts))], many, field)
        _bitrates(plan, entry, service, engine.mounts_field, mounts)
    judge_renditions(plan, entry, service, engine)
    judge_together(plan, entry, service, engine, changes)
    if service.suspended_until is not None and not service.suspended and "suspended_until" in entry.fields:
        plan.problem(
            f"{entry.path}.suspended_until",
            entry.fields["suspended_until"],
            "the service is not suspended",
            "Set suspended: true as well, or suspended_until: null.",
        )


def judge_mounts(
    plan: Plan, service: MediaService, mounts: Sequence[Mapping[str, Any]], paths: list[str], many: str, default: str
) -> None:
    """What mounts mean together.

    ``paths``: where each is declared; ``many`` and ``default``: where too many of them are, and too many defaults.
    """
    if service.max_mounts is not None and len(mounts) > service.max_mounts:
        plan.problem(
            many,
            len(mounts),
            f"{len(mounts)} mounts are more than max_mounts allows ({service.max_mounts})",
            "Name fewer mounts, or raise max_mounts.",
        )
    names = [mount["name"] for mount in mounts]
    fallbacks = {mount["name"]: mount.get("fallback") for mount in mounts}
    for index, mount in enumerate(mounts):
        here = paths[index]
        if mount["name"] in names[:index]:
            plan.problem(f"{here}.name", mount["name"], "is the name of another mount too", "Name each mount once.")
        fallback = mount.get("fallback")
        if fallback is not None and fallback not in names:
            plan.problem(
                f"{here}.fallback", fallback, "is not a mount of this service", f"Use one of {', '.join(names)}."
            )
        seen, step = set(), mount["name"]
        while step is not None and step not in seen:
            seen.add(step)
            step = fallbacks.get(step)
        if step == mount["name"]:
            plan.problem(
                f"{here}.fallback", fallback, "leads back to the mount itself", "End the chain at another mount."
            )
    if sum(1 for mount in mounts if mount.get("default")) > 1:
        plan.problem(default, None, "names more than one default mount", "Mark one mount as the default.")
    _one_encoding(plan, service, mounts, default)


def _one_encoding(plan: Plan, service: MediaService, mounts: Sequence[Mapping[str, Any]], path: str) -> None:
    """Where a companion feeds one encoding only, the mounts that it feeds are of one."""
    engine = engines()[service.engine]
    settings = engine.settings(service.settings)
    encodings = {(mount.get("format"), mount.get("bitrate_kbps")) for mount in mounts if not mount.get("fallback")}
    for companion in engine.companions:
        formats = companion.feeds_one_of(settings)
        if formats is None or (len(encodings) == 1 and {format for format, _kbps in encodings} <= {*formats}):
            continue
        when = ", ".join(f"{companion.name}.{key} {value}" for key, value in companion.one_encoding["when"].items())
        found = ", ".join(f"{format} {kbps or 'of no bitrate_kbps'}" for format, kbps in sorted(encodings, key=str))
        plan.problem(
            path,
            None,
            f"with {when} the mounts without a fallback must be of one encoding, of {', '.join(formats)}; these are "
            f"{found or 'none'}",
            "Give them one format and one bitrate_kbps, or another class.",
        )


def too_fast(plan: Plan, mount: Mapping[str, Any], most: int, path: str) -> None:
    """Refuse a mount that declares a bitrate above what the service may have."""
    bitrate = mount.get("bitrate_kbps")
    if bitrate and bitrate > most:
        wrong = f"is above max_bitrate_kbps of the service ({most})"
        plan.problem(f"{path}.bitrate_kbps", bitrate, wrong, "Lower the mount's bitrate, or raise max_bitrate_kbps.")


def _bitrates(plan: Plan, entry: Entry, service: MediaService, name: str, mounts: list[Mapping[str, Any]]) -> None:
    """Mounts declare no more than the service may have. Default mounts of the engine are nobody's declaration."""
    most, named = service.max_bitrate_kbps, name in entry.fields
    if most is None or not (named or ("max_bitrate_kbps" in entry.fields and name in service.settings)):
        return
    for index, mount in enumerate(mounts):
        if named:
            too_fast(plan, mount, most, f"{entry.path}.{name}[{index}]")
        elif (mount.get("bitrate_kbps") or 0) > most:
            plan.problem(
                f"{entry.path}.max_bitrate_kbps",
                most,
                f"is below the bitrate of {mount['name']} ({mount['bitrate_kbps']})",
                "Lower the mount's bitrate, or raise max_bitrate_kbps.",
            )


def check_unique(plan: Plan) -> None:
    """Refuse a stream key (or the like) that another service has: one query."""
    digests: dict[str, tuple[MediaService, str]] = {}
    for service, path in plan.rekeyed.values():
        for digest in UniqueCredential.digests(service):
            other = digests.setdefault(digest, (service, path))
            if other[0] is not service:
                _not_unique(plan, service, path)
    for part in chunks(digests):
        for row in UniqueCredential.objects.filter(digest__in=part):
            service, path = digests[row.digest]
            if row.service_id != service.pk:
                _not_unique(plan, service, path)


def _not_unique(plan: Plan, service: MediaService, path: str) -> None:
    names = [name for name, prop in engines()[service.engine].credentials.items() if prop.unique]
    plan.problem(f"{path}.{names[0]}", None, "is in use", "Choose another, or leave it out to have one made.")
