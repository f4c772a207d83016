"""Transfers of media services from one node to another: what may be asked for, and what each step makes of it.

The panel says whose services are and what each node has of them; files are copied by ``transfer.yml``, which asks for
the steps. A step that was done already may be asked for again.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from streamfleet_panel.access import Actor
from streamfleet_panel.apply.execute import audit_entry, bulk_update, lock_services
from streamfleet_panel.apply.plan import Plan
from streamfleet_panel.apply.ports import Ports
from streamfleet_panel.apply.problems import ApiError, Problem, invalid, shown
from streamfleet_panel.engines import Engine, engines
from streamfleet_panel.hold_times import HoldTimes
from streamfleet_panel.libraries import uses_library
from streamfleet_panel.models import Counter, MediaService, Node, ServiceStatus, ServiceTransfer, TransferredService

State = ServiceTransfer.State

log = logging.getLogger(__name__)

#: Services of one transfer: they are off the air together, for as long as it takes to look at the folders of each.
MOST = 200
#: For so long services stay off the air for their last changes. Then the clock gives them back to where they were.
HELD_AT_MOST = timedelta(minutes=15)
_HOLD_TIMES = HoldTimes()
#: Step → states in which it can be done, the state after it, and what it is called in a sentence.
STEPS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "hold": ((State.COPYING, State.HOLDING), {State.COPYING: State.HOLDING, State.HOLDING: State.HOLDING}),
    "resume": (
        (State.HOLDING, State.RETURNING, State.RELEASING),
        {State.HOLDING: State.COPYING, State.RETURNING: State.SWITCHED, State.RELEASING: State.SWITCHED},
    ),
    "switch": ((State.HOLDING,), {State.HOLDING: State.SWITCHED}),
    "undo": (
        (State.COPYING, State.HOLDING, State.SWITCHED, State.RETURNING),
        {
            State.COPYING: State.CLEARING,
            State.HOLDING: State.CLEARING,
            State.SWITCHED: State.RETURNING,
            State.RETURNING: State.RETURNING,
        },
    ),
    "back": ((State.RETURNING,), {State.RETURNING: State.CLEARING}),
    "release": ((State.SWITCHED,), {State.SWITCHED: State.RELEASING}),
    "finish": ((State.CLEARING, State.RELEASING), {}),
}
#: What a step leads to, for who asks for it once more.
DONE = {
    "resume": (State.COPYING,),
    "switch": (State.SWITCHED,),
    "undo": (State.CLEARING,),
    "back": (State.CLEARING,),
    "release": (State.RELEASING,),
}
_HELD = (State.HOLDING, State.RETURNING)
#: States in which the target is who has to report next; in the others it is the source.
_OF_TARGET = (State.SWITCHED, State.RETURNING, State.CLEARING)
#: Steps that end a hold, and say which.
ENDING = ("switch", "back", "resume")
#: Whether it is the source → state of the transfer → what the node has of its services, where that is not as usual.
#: A target that never had them has nothing to delete.
_ROLES: dict[bool, dict[str, str]] = {
    True: {State.HOLDING: "moved", State.SWITCHED: "moved", State.RETURNING: "moved", State.RELEASING: "deleted"},
    False: {State.RETURNING: "moved", State.CLEARING: "deleted"},
}


def begin(
    actor: Actor, slugs: Sequence[str], target_name: str, *, dry_run: bool = False
) -> tuple[ServiceTransfer | None, list[TransferredService], bool]:
    """Note a transfer of these services, or find the one that is noted; with its services, and whether it is new.

    With ``dry_run`` nothing is noted, and what would be is returned unsaved. None where all of them are there already.
    Raises ApiError with everything that stands in the way.
    """
    with transaction.atomic():
        Counter.lock()
        problems: list[Problem] = []
        services = _services(slugs, problems)
        target = Node.objects.filter(name=target_name).first()
        if target is None:
            known = ", ".join(Node.objects.order_by("name").values_list("name", flat=True)[:10]) or "none yet"
            problems.append(Problem("to", shown(target_name), "there is no such node", f"Known nodes: {known}."))
        if problems or target is None:
            raise invalid(problems)
        open_ones = {item.service_id: item for item in TransferredService.objects.select_related("transfer__target")}
        noted = {open_ones[service.pk].transfer_id for service in services if service.pk in open_ones}
        if len(noted) == 1 and all(service.pk in open_ones for service in services):
            found = ServiceTransfer.objects.select_related("source", "target").get(pk=noted.pop())
            if found.target_id == target.pk and found.items.count() == len(services):
                return found, items_of(found), False
        if not open_ones.keys() & {service.pk for service in services} and all(
            service.node_id == target.pk for service in services
        ):
            return None, [], False
        source = services[0].node
        _judge(services, source, target, open_ones, problems)
        items = [] if problems else _with_ports(services, target, problems)
        if problems:
            raise invalid(problems)
        made = ServiceTransfer(source=source, target=target, requested_by=actor.name)
        for item in items:
            item.transfer = made
        if not dry_run:
            made.save()
            for item in items:
                item.transfer = made
            TransferredService.objects.bulk_create(items)
            for item in items:
                _note(actor, "transfer begin", item, made)
    return made, items, True


def slugs_of(kind: str, name: str, target: str) -> list[str]:
    """The services of a customer, or of a node, that are to go to ``target``: not those that are there.

    Those that a transfer that is under way has brought there count, so that the same call finds it.
    """
    by = {"customer": "customer__username", "node": "node__name"}[kind]
    services = MediaService.objects.filter(deleted_at=None)
    away = services.exclude(node__name=target)
    found = set(away.filter(**{by: name}).values_list("slug", flat=True))
    begun = {"customer": "service__customer__username", "node": "transfer__source__name"}[kind]
    items = TransferredService.objects.filter(**{begun: name}, transfer__target__name=target)
    found |= set(items.values_list("service__slug", flat=True))
    if not found:
        found = set(services.filter(**{by: name}).values_list("slug", flat=True))
    if not found:
        problem = Problem(kind, shown(name), "has no service", "Check the spelling.")
        raise ApiError("invalid_document", f"{kind}: has no service", [problem])
    return sorted(found)


def _services(slugs: Sequence[str], problems: list[Problem]) -> list[MediaService]:
    found = {
        service.slug: service
        for service in MediaService.objects.filter(slug__in=slugs).select_related("customer__reseller", "node")
    }
    for number, slug in enumerate(slugs):
        if slug not in found:
            problems.append(
                Problem(f"services[{number}]", shown(slug), "there is no such service", "Check the spelling.")
            )
        elif found[slug].deleted_at is not None:
            problems.append(Problem(f"services[{number}]", slug, "is deleted", "Restore it first, or leave it out."))
    if not 1 <= len(slugs) <= MOST:
        message = f"names {len(slugs) or 'no'} services"
        problems.append(Problem("services", len(slugs), message, f"Name 1 to {MOST}, customer by customer."))
    return [found[slug] for slug in dict.fromkeys(slugs) if slug in found]


def _judge(
    services: Sequence[MediaService],
    source: Node,
    target: Node,
    open_ones: dict[int, TransferredService],
    problems: list[Problem],
) -> None:
    """Note what stands in the way of a transfer that is not noted yet."""
    failed = _failed(services)
    for number, service in enumerate(services):
        path = f"services[{number}]"
        if (item := open_ones.get(service.pk)) is not None:
            message = f"is being transferred to {item.transfer.target} already, and that is {item.transfer.state}"
            fix = "Finish that one (release or undo), or name the services of it and no other."
            problems.append(Problem(path, service.slug, message, fix))
        if service.node_id != source.pk:
            message = f"is on {service.node}, and {services[0].slug} on {source}"
            problems.append(Problem(path, service.slug, message, "Have a transfer for each node that services leave."))
        if service.slug in failed:
            # All are off the air together, and it cannot be taken off it: a failure of its own would be everybody's.
            message = f"failed on {service.node}: {failed[service.slug]}"
            problems.append(Problem(path, service.slug, message, "Mend it, suspend it, or leave it out."))
        engine = engines()[service.engine]
        if not engine.transfer:
            able = ", ".join(name for name, other in engines().items() if other.transfer)
            message = f"services of {engine.name} cannot be transferred: they share the ports of one server"
            problems.append(Problem(path, service.slug, message, f"Services of {able} can."))
        elif service.engine not in target.engines:
            runs = ", ".join(target.engines) or "no engine"
            message = f"{target} does not run {engine.name}; it runs {runs}"
            problems.append(Problem(path, service.slug, message, f"Install {engine.name} there, or name another node."))
    if any(engines()[service.engine].transfer == "keys" for service in services):
        _judge_ways(source, target, problems)
    if target.pk == source.pk:
        fix = "Name another node, or other services."
        problems.append(Problem("to", target.name, "some of these services are on this node", fix))
    if target.status != Node.Status.ACTIVE:
        message = f"this node is {target.status} and takes no services"
        problems.append(Problem("to", target.name, message, "Name another node."))
    if source.status == Node.Status.DISABLED:
        message = f"are on {source}, which is disabled, so nothing can be fetched from it"
        problems.append(Problem("services", None, message, f"Set the status of {source} to draining."))
    if target.max_media_services is not None:
        # With those that are to come by other transfers.
        coming = TransferredService.objects.filter(transfer__target=target).exclude(service__node=target).count()
        there = coming + MediaService.objects.filter(node=target, deleted_at=None).count()
        if there + len(services) > target.max_media_services:
            message = f"has {there} services, and max_media_services is {target.max_media_services}"
            problems.append(Problem("to", target.name, message, "Raise it, or name another node."))
    _judge_libraries(services, source, target, problems)


def _judge_ways(source: Node, target: Node, problems: list[Problem]) -> None:
    """Note what a node lacks, by which encoders and viewers of channels are sent on."""
    if not _is_numeric(target.address):
        # The server that sends on looks no names up.
        message = f"its address is the name {target.address}, and the former node sends encoders on to numbers alone"
        fix = "Set streamfleet_node_address of that host to its IP address and register it again, with install.yml."
        problems.append(Problem("to", target.name, message, fix))
    for node, path in ((source, "services"), (target, "to")):
        if not node.stream_host:
            # Web servers are asked by a name, and an address is no name of a stream's.
            message = f"{node} has no stream_host, by which viewers are sent on"
            fix = f"Set streamfleet_stream_host of {node} and register it again, with install.yml."
            problems.append(Problem(path, node.name, message, fix))


def _is_numeric(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _judge_libraries(services: Sequence[MediaService], source: Node, target: Node, problems: list[Problem]) -> None:
    """A customer's library goes as a whole, with all that play it, and into no other one."""
    going = {service.pk for service in services}
    owners = {service.customer_id for service in services if uses_library(service)}
    beside = MediaService.objects.filter(customer_id__in=owners, node__in=(source, target)).select_related("customer")
    for other in beside.order_by("slug"):
        if other.pk in going or not uses_library(other):
            continue
        if other.node_id == target.pk:
            message = f"{other.customer} has a media library on {target} already, with {other.slug}"
            fix = "Two libraries are not made one: take the stations there to another node, or delete them, first."
            problems.append(Problem("services", None, message, fix))
        elif other.deleted_at is None:
            message = f"{other.slug} plays the media library of {other.customer}, too, which goes as a whole"
            problems.append(Problem("services", None, message, f"Name {other.slug} as well, or give the customer."))


def ports_of(service: MediaService, engine: Engine | None = None) -> dict[str, int]:
    """The service's ports by the fields that hold them."""
    engine = engine or engines()[service.engine]
    found = {"port": service.port, **{name: service.settings.get(name) for name in engine.port_fields}}
    return {name: port for name, port in found.items() if port is not None}


def _with_ports(services: Sequence[MediaService], target: Node, problems: list[Problem]) -> list[TransferredService]:
    """The services with their ports on the target: those that they have, where these are free there."""
    ports = Ports()
    ports.load()
    items = []
    for number, service in enumerate(services):
        engine = engines()[service.engine]
        here, there = ports_of(service, engine), {}
        for name, port in here.items():
            width = engine.ports if name == "port" else 1
            first, last = target.port_range_start, target.port_range_end
            chosen: int | None = port
            if not first <= port <= last - width + 1 or ports.holder(target.pk, port, width) is not None:
                chosen = ports.next(target.pk, first, last, width)
            if chosen is None:
                message = f"no port is free on {target} ({first}-{last})"
                problems.append(Problem(f"services[{number}]", service.slug, message, "Widen the node's port range."))
                break
            ports.take(target.pk, chosen, width, service.slug)
            there[name] = chosen
        items.append(TransferredService(service=service, source_ports=here, target_ports=there))
    return items


def step(
    actor: Actor,
    found: ServiceTransfer,
    name: str,
    hold: int | None = None,
    *,
    force: bool = False,
    held_at: datetime | None = None,
) -> ServiceTransfer | None:
    """Do a step of a transfer; None where that was its end. Raises ApiError 409 where it is not the time for it.

    ``hold``: of the steps that end one, its number; of the clock's, ``held_at``: nothing is done to what is not held
    since then. ``force``: it is released with services that failed on the target.
    """
    if name not in STEPS:
        problem = Problem("step", shown(name), "is not a step", f"Use one of {', '.join(STEPS)}.")
        raise ApiError("invalid_document", "step: is not a step", [problem])
    with transaction.atomic():
        Counter.lock()
        now = timezone.now()
        one = ServiceTransfer.objects.select_related("source", "target").filter(pk=found.pk).first()
        if one is None:
            if name == "finish":
                return None
            raise ApiError("not_found", f"There is no transfer {found.pk}")
        before = one.state
        states, after = STEPS[name]
        if _is_done(one, name, hold):
            return one
        if held_at is not None and one.held_at != held_at:
            return one
        if before not in states:
            raise ApiError("conflict", f"The transfer is {before}, and {name} is for one that is {' or '.join(states)}")
        lock_services(one.items.values_list("service_id", flat=True))
        items = items_of(one)
        if name == "finish":
            _finish(actor, one, items)
            return None
        if held_at is None and name in ENDING and before in _HELD and hold != one.hold:
            message = f"This is hold {one.hold}, and {name} is asked for of hold {hold}: another run holds the services"
            raise ApiError("conflict", message)
        _judge_step(one, items, name, force)
        one.state = after[before]
        one.held_at = now if one.state in _HELD else None
        # With the switch, too: who ends the hold before it is not told that the services went back.
        one.hold += name in ("hold", "undo", "switch")
        if name == "switch":
            one.reached = True
            _place(items, one.target, {item.service_id: item.target_ports for item in items})
        elif name == "back":
            _place(items, one.source, {item.service_id: item.source_ports for item in items})
        _bump(one, items)
        awaited = one.target_id if one.state in _OF_TARGET else one.source_id
        one.generation = Node.objects.values_list("generation", flat=True).get(pk=awaited)
        one.save()
        for item in items:
            _note(actor, f"transfer {name}", item, one)
    return one


def _is_done(one: ServiceTransfer, name: str, hold: int | None) -> bool:
    """Whether this is the state that the step leads to: its answer was lost."""
    if name == "resume" and one.state == State.SWITCHED:
        return hold == one.hold
    return one.state in DONE.get(name, ()) and one.state not in STEPS[name][0]


def _judge_step(one: ServiceTransfer, items: list[TransferredService], name: str, force: bool) -> None:
    """Raises ApiError 409 for a step that would leave the services where they cannot be."""
    if name == "hold" and one.state == State.COPYING and (failed := _failed([item.service for item in items])):
        each = "; ".join(f"{slug} failed on {one.source}: {message}" for slug, message in failed.items())
        raise ApiError("conflict", f"{each}. Mend or suspend these, or undo the transfer and leave them out")
    if name == "switch" and one.target.status != Node.Status.ACTIVE:
        raise ApiError("conflict", f"{one.target} is {one.target.status} and takes no services")
    if one.state in (State.SWITCHED, State.RETURNING) and name in ("undo", "back") and _is_off(one.source):
        message = f"{one.source} is disabled, so the services cannot go back there: release them, or enable it"
        raise ApiError("conflict", message)
    if name == "release":
        reports = reports_of(items)
        if why := _unreported(one, items, reports):
            raise ApiError("conflict", f"{one.source} has the only copy that is known to be good: {why}")
        if (why := unsettled(one, items, reports)) and not force:
            fix = "Mend or suspend what failed, or release with force (transfer.yml: -e transfer_confirm=yes)"
            raise ApiError("conflict", f"{one.source} has the only copy that is known to be good: {why}. {fix}")


def _is_off(node: Node) -> bool:
    return bool(node.status == Node.Status.DISABLED)


def reports_of(items: Iterable[TransferredService]) -> dict[int, ServiceStatus]:
    """What nodes have reported of the services, by their ids."""
    found = ServiceStatus.objects.filter(service__in=[item.service_id for item in items])
    return {report.service_id: report for report in found}


def unsettled(one: ServiceTransfer, items: Sequence[TransferredService], reports: Mapping[int, ServiceStatus]) -> str:
    """Why it is not known of switched services that the target has them as they are meant to be; empty where it is."""
    if one.state != State.SWITCHED:
        return ""
    if why := _unreported(one, items, reports):
        return why
    failed = [(item.service.slug, reports[item.service_id]) for item in items]
    return "; ".join(f"{slug} failed on {one.target}: {it.message}" for slug, it in failed if it.state == "failed")


def _unreported(one: ServiceTransfer, items: Sequence[TransferredService], reports: Mapping[int, ServiceStatus]) -> str:
    """Why it is not known how switched services are on the target; empty where it has said so."""
    if _is_off(one.target):
        return f"{one.target} is disabled"
    if one.target.observed_generation < one.generation:
        return f"{one.target} has not reported since the switch (generation {one.generation})"
    for item in items:
        report = reports.get(item.service_id)
        if report is None or report.generation < one.generation:
            return f"{one.target} has not reported {item.service.slug} since the switch"
    return ""


def _failed(services: Sequence[MediaService]) -> dict[str, str]:
    """Of those that their node has reported as failed, slug → what it says of it."""
    reports = ServiceStatus.objects.filter(service__in=[service.pk for service in services], state="failed")
    return dict(reports.order_by("service__slug").values_list("service__slug", "message"))


def items_of(one: ServiceTransfer) -> list[TransferredService]:
    """The transfer's services."""
    return items_of_all([one])[one.pk]


def items_of_all(ones: Iterable[ServiceTransfer]) -> dict[int, list[TransferredService]]:
    """Transfers' services, by the ids of these. One query."""
    found: dict[int, list[TransferredService]] = {one.pk: [] for one in ones}
    items = TransferredService.objects.filter(transfer__in=found).order_by("service__slug")
    for item in items.select_related("service__customer__reseller", "service__node"):
        found[item.transfer_id].append(item)
    return found


def leaving_of(one: ServiceTransfer) -> Node:
    """The node that removes, or will remove, what it has of the services."""
    back = one.state in (State.COPYING, State.HOLDING, State.RETURNING, State.CLEARING)
    leaving: Node = one.target if back else one.source
    return leaving


def _finish(actor: Actor, one: ServiceTransfer, items: list[TransferredService]) -> None:
    """The node that has removed them is told of them no more. One that is disabled, or never had them, is not waited
    for."""
    leaving = Node.objects.get(pk=leaving_of(one).pk)
    if one.reached and leaving.observed_generation < one.generation and not _is_off(leaving):
        message = f"{leaving} has not reported yet that it took the services off (generation {one.generation})"
        raise ApiError("conflict", message)
    for item in items:
        _note(actor, "transfer finish", item, one)
    Node.objects.filter(pk=leaving.pk).update(generation=F("generation") + 1)
    one.delete()


def _place(items: list[TransferredService], node: Node, ports: dict[int, dict[str, int]]) -> None:
    """Have the services be on the node, with these ports. What the other node has reported says nothing of this one."""
    for item in items:
        service, given = item.service, ports[item.service_id]
        service.node = node
        service.port = given.get("port")
        settings = {name: port for name, port in given.items() if name != "port"}
        service.settings = {**service.settings, **settings}
    bulk_update(MediaService, [item.service for item in items], ["node", "port", "settings"])
    ServiceStatus.objects.filter(service__in=[item.service_id for item in items]).delete()


def _bump(one: ServiceTransfer, items: list[TransferredService]) -> None:
    """Both nodes have another document, and the services are of the newest of theirs."""
    both = (one.source_id, one.target_id)
    Node.objects.filter(pk__in=both).update(generation=F("generation") + 1)
    newest = dict(Node.objects.filter(pk__in=both).values_list("pk", "generation"))
    for item in items:
        item.service.generation = newest[item.service.node_id]
    bulk_update(MediaService, [item.service for item in items], ["generation"])


def _note(actor: Actor, action: str, item: TransferredService, one: ServiceTransfer) -> None:
    changes = {"node": {"before": one.source.name, "after": one.target.name}}
    audit_entry(actor, action, "media_service", item.service.slug, changes, item.service.customer).save()


def tick(actor: Actor) -> int:
    """Give services back to where they were on the air, whose transfer was killed while they were held."""
    resumed = 0
    held = {one.pk: one for one in ServiceTransfer.objects.filter(state__in=_HELD)}
    since = {pk: one.held_at for pk, one in held.items() if one.held_at is not None}
    for pk in _HOLD_TIMES.over(since, timezone.now(), HELD_AT_MOST):
        one = held[pk]
        try:
            after = step(actor, one, "resume", held_at=one.held_at)
        except ApiError as error:
            # It may have ended meanwhile. The others do not wait for it.
            log.warning("transfer %s is not resumed: %s", one.pk, error)
        else:
            resumed += after is not None and after.held_at is None
    return resumed


# --- What a node has of services that are not, or not as usual, its own ---------------------------------------------


def roles_on(node: Node) -> tuple[dict[int, tuple[str, TransferredService]], dict[int, tuple[str, TransferredService]]]:
    """Of services of the node, those that it holds off the air; of others, what it has of them. Both by their ids.

    ``moved``: off the air, and what comes for it goes to the other node; ``deleted``: it removes them.
    """
    own: dict[int, tuple[str, TransferredService]] = {}
    others: dict[int, tuple[str, TransferredService]] = {}
    concerned = TransferredService.objects.filter(Q(transfer__source=node) | Q(transfer__target=node))
    for item in concerned.select_related("transfer__source", "transfer__target", "service__customer__reseller"):
        on_source = item.transfer.source_id == node.pk
        role = _ROLES[on_source].get(item.transfer.state)
        if role is not None and (on_source or item.transfer.reached):
            (own if item.service.node_id == node.pk else others)[item.service_id] = (role, item)
    return own, others


def forward_of(node: Node, item: TransferredService) -> dict[str, Any] | None:
    """Where what comes for the service on the node goes: ``{"address", "ports": [[here, there], …]}``.

    With an engine whose services share its ports ``{"node", "address", "stream_host", "host_ports": {"RTMP": 1935},
    "open"}`` as soon as it is the target's; not ``open`` while it is held: viewers are sent on, encoders come again.
    """
    if item.transfer.source_id != node.pk:
        return None
    target, engine = item.transfer.target, engines()[item.service.engine]
    if engine.transfer == "ports":
        return {"address": target.address, "ports": pairs_of(item)}
    if item.transfer.state not in (State.SWITCHED, State.RETURNING):
        return None
    return {
        "node": target.name,
        "address": target.address,
        "stream_host": target.stream_host or target.address,
        "host_ports": {**engine.host_ports, **engine.told_ports(target.facts)},
        "open": item.transfer.state == State.SWITCHED,
    }


def digests_of(item: TransferredService, now: datetime) -> dict[str, list[dict[str, str | None]]]:
    """By which the former node knows whoever shows a key that works; of nothing that is off the air.

    From a digest comes neither the key, nor that by which the node that has the service knows it: only who shows the
    key itself is sent on. Empty with an engine whose services have ports of their own.
    """
    service = item.service
    engine = engines()[service.engine]
    if engine.transfer != "keys" or service.desired_state()[0] != "running":
        return {}
    found: dict[str, list[dict[str, str | None]]] = {}
    for name in (name for name, prop in engine.credentials.items() if prop.unique):
        valid = [
            (old["value"], old["expires"])
            for old in service.previous_credentials.get(name, [])
            if datetime.fromisoformat(old["expires"]) > now
        ]
        keys: dict[str, str | None] = {**dict(valid), service.credentials[name]: None}
        found[name] = [{"digest": _digest(key), "expires": expires} for key, expires in keys.items()]
    return found


def _digest(key: str) -> str:
    return hashlib.sha256(b"sent on " + key.encode()).hexdigest()


def pairs_of(item: TransferredService) -> list[list[int]]:
    """Every port of the service, on the source and on the target."""
    width = engines()[item.service.engine].ports
    pairs = []
    for name, here in item.source_ports.items():
        there = item.target_ports[name]
        pairs += [[here + offset, there + offset] for offset in range(width if name == "port" else 1)]
    return sorted(pairs)


def beside(items: Iterable[TransferredService]) -> list[MediaService]:
    """All services of the customers whose libraries go along, those that are transferred too. One query."""
    owners = {item.service.customer_id for item in items if uses_library(item.service)}
    return list(MediaService.objects.filter(customer_id__in=owners).only("customer_id", "node_id").order_by())


def libraries_of(
    one: ServiceTransfer, items: Sequence[TransferredService], others: Iterable[MediaService]
) -> list[dict[str, Any]]:
    """Media libraries that go along: ``{"customer", "uid", "keep"}``; ``keep``: the source needs it, and leaves it.

    The target has none but what the transfer has brought: it removes that, whoever is there besides.
    ``others``: what is ``beside`` them.
    """
    owners = {item.service.customer_id: item.service.customer for item in items if uses_library(item.service)}
    going = {item.service_id for item in items}
    leaving = leaving_of(one).pk
    # A station whose AutoDJ is off, or that is deleted and can be restored, has its files there all the same.
    there = [other for other in others if other.node_id == leaving == one.source_id]
    kept = {other.customer_id for other in there if other.pk not in going}
    found = [{"customer": owner.username, "uid": owner.uid, "keep": owner.pk in kept} for owner in owners.values()]
    return sorted(found, key=lambda item: str(item["customer"]))


# --- What documents may not do meanwhile ----------------------------------------------------------------------------


def check(plan: Plan) -> None:
    """Refuse what may not happen to services that are being transferred: deletion, other ports, a new player."""
    updated = [service for service, _columns in plan.updated.get(MediaService, {}).values()]
    created: list[MediaService] = plan.created.get(MediaService, [])
    nodes: list[Node] = plan.removed.get(Node, [])
    if not (updated or created or nodes) or not (items := _open()):
        return
    paths = {id(result.obj): result.path for result in plan.results}
    for node in nodes:
        if any(node.pk in (item.transfer.source_id, item.transfer.target_id) for item in items.values()):
            fix = "Release or undo its transfers first."
            message = "services are being transferred from or to this node"
            plan.problem(paths.get(id(node), ""), node.name, message, fix)
    owners = {item.service.customer_id: item for item in items.values() if uses_library(item.service)}
    for service in [*updated, *created]:
        path = paths.get(id(service), "")
        own = items.get(service.pk) if service.pk is not None else None
        if own is None:
            other = owners.get(service.customer.pk) if service.customer.pk is not None else None
            if other is not None and _gets_in_the_way(service, other):
                message = f"the media library of {service.customer} is being transferred, with {other.service.slug}"
                plan.problem(path, service.slug, message, "Wait for the end of that transfer, or name another node.")
            continue
        ports = own.target_ports if service.node.pk == own.transfer.target_id else own.source_ports
        if service.deleted_at is not None:
            message = f"is being transferred to {own.transfer.target}, and cannot be deleted meanwhile"
            plan.problem(path, service.slug, message, "Release or undo the transfer first.")
        elif ports_of(service) != ports:
            message = f"is being transferred to {own.transfer.target}, and its ports cannot change meanwhile"
            plan.problem(path, service.slug, message, "Release or undo the transfer first.")


def _gets_in_the_way(service: MediaService, other: TransferredService) -> bool:
    """Whether a service that is not transferred plays the library that goes along with ``other``."""
    places = (other.transfer.source_id, other.transfer.target_id)
    return service.deleted_at is None and service.node.pk in places and uses_library(service)


def _open() -> dict[int, TransferredService]:
    found = TransferredService.objects.select_related("transfer__target", "service")
    return {item.service_id: item for item in found}
