"""The figures, from the database alone: a constant number of statements, however many services there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

import streamfleet_panel
from streamfleet_panel import fleet, libraries
from streamfleet_panel.fleet import NodeStanding
from streamfleet_panel.models import MB, MediaService, Usage
from streamfleet_panel.represent import is_fresh
from streamfleet_panel.transfer import transferred

#: Kinds of sources that nodes tell apart.
KINDS = ("encoder", "relay", "autodj")
#: States that a service can be in; ``pending``: its node has not told of it as it is; ``moved``: held for a transfer.
STATES = ("pending", "running", "stopped", "suspended", "disabled", "over_quota", "moved", "failed")


class Family(GaugeMetricFamily):
    """A gauge whose samples are left out where there is nothing to tell."""

    def add(self, labels: Iterable[str], value: float | None) -> None:
        """A sample; None: not known, or no limit."""
        if value is not None:
            self.add_metric(list(labels), value)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _mb(number: int | None) -> int | None:
    return None if number is None else number * MB


class Fleet(Collector):
    """Everything at one moment. Raises DatabaseError where the database does not answer."""

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would otherwise collect once more to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families, each with its samples."""
        now = timezone.now()
        services = list(fleet.services())
        yield InfoMetricFamily(
            "streamfleet_panel", "The panel that answers.", value={"version": streamfleet_panel.__version__}
        )
        yield from _of_nodes(fleet.nodes(now), services)
        told = Usage.objects.in_bulk([service.pk for service in services])
        yield from _of_services(services, told, now)
        yield from _of_libraries(services, told)
        jobs = Family("streamfleet_jobs", "Jobs of the panel (large documents, mail) by state.", labels=["state"])
        for state, number in fleet.jobs().items():
            jobs.add([state], number)
        yield jobs


def _of_nodes(standings: Iterable[NodeStanding], services: Iterable[MediaService]) -> Iterator[Metric]:
    info = InfoMetricFamily("streamfleet_node", "A node of the fleet.", labels=["node"])
    behind = Family("streamfleet_node_behind", "1: what the panel says of it is not applied yet.", labels=["node"])
    generation = Family("streamfleet_node_generation", "Changes of its document.", labels=["node"])
    observed = Family("streamfleet_node_observed_generation", "The change that it reported last.", labels=["node"])
    failures = Family(
        "streamfleet_node_converge_failures", "Tries to bring it up to date that failed since one succeeded.",
        labels=["node"],
    )  # fmt: skip
    collected = Family(
        "streamfleet_node_collected_timestamp_seconds", "When the worker last read its news.", labels=["node"]
    )
    states = Family(
        "streamfleet_node_services", "Media services of the node by state, as it reported it.", labels=["node", "state"]
    )
    counts = Counter((service.node_id, fleet.state_of(service)[0]) for service in services)
    for standing in standings:
        node, name = standing.node, [standing.node.name]
        info.add_metric(name, {"status": node.status, "stream_host": node.stream_host or ""})
        behind.add(name, int(standing.behind))
        generation.add(name, node.generation)
        observed.add(name, node.observed_generation)
        failures.add(name, standing.failures)
        read = node._state.fields_cache.get("collection")
        collected.add(name, _seconds(read.collected_at if read is not None else None))
        for state in STATES:
            states.add([*name, state], counts[node.pk, state])
    yield from (info, behind, generation, observed, failures, collected, states)


def _of_services(services: list[MediaService], told: Mapping[int, Usage], now: datetime) -> Iterator[Metric]:
    sent = transferred(service.pk for service in services)
    name = ["media_service"]
    info = InfoMetricFamily("streamfleet_service", "A media service.", labels=name)
    desired = Family("streamfleet_service_desired_running", "1: it is to be on the air.", labels=name)
    state = Family(
        "streamfleet_service_state", "1 for the state that its node reported of it; pending until then.",
        labels=[*name, "node", "state"],
    )  # fmt: skip
    listeners = Family("streamfleet_service_listeners", "Who listens now.", labels=name)
    most = Family("streamfleet_service_max_listeners", "Limit of listeners, where there is one.", labels=name)
    sources = Family(
        "streamfleet_service_sources", "Sources that send to it now, by kind: encoder, relay, autodj.",
        labels=[*name, "kind"],
    )  # fmt: skip
    bits = Family("streamfleet_service_source_bits_per_second", "What its sources send together.", labels=name)
    transfer = Family("streamfleet_service_month_transferred_bytes", "Sent this month of UTC.", labels=name)
    transfer_limit = Family(
        "streamfleet_service_month_transfer_limit_bytes", "Limit of a month, where there is one.", labels=name
    )
    files = Family("streamfleet_service_files_bytes", "Its own files: recordings, logs.", labels=name)
    reported = Family(
        "streamfleet_service_usage_timestamp_seconds", "When its node last told what it uses.", labels=name
    )
    for service in services:
        key, use, wanted = [service.slug], told.get(service.pk), service.desired_state()[0] == "running"
        labels = {"customer": service.customer.username, "node": service.node.name, "engine": service.engine}
        info.add_metric(key, {**labels, "type": service.service_type})
        desired.add(key, int(wanted))
        state.add([*key, service.node.name, fleet.state_of(service)[0]], 1)
        most.add(key, service.max_listeners)
        transfer.add(key, sent.get(service.pk, 0))
        transfer_limit.add(key, _mb(service.monthly_transfer_mb))
        if use is None:
            continue
        files.add(key, use.disk_bytes)
        reported.add(key, _seconds(use.reported_at))
        # Off the air nobody listens or sends, and its node tells nothing; of what is old nothing is known.
        if wanted and is_fresh(use, now):
            listeners.add(key, use.listeners)
            for kind, number in _by_kind(use.sources):
                sources.add([*key, kind], number)
            bits.add(key, _bits(use.sources))
        elif not wanted:
            listeners.add(key, 0)
    yield from (info, desired, state, listeners, most, sources, bits, transfer, transfer_limit, files, reported)


def _by_kind(sources: list[Mapping[str, object]] | None) -> Iterator[tuple[str, int]]:
    """Nothing of an engine that does not tell; else every kind, so that one that ends is seen to go to 0."""
    if sources is not None:
        counts = Counter(source.get("kind") for source in sources)
        yield from ((kind, counts[kind]) for kind in KINDS)


def _bits(sources: list[Mapping[str, object]] | None) -> int | None:
    """What was measured of them together; None where nothing was."""
    rates = [rate for source in sources or () if isinstance(rate := source.get("kbps"), int | float)]
    if sources is None or (sources and not rates):
        return None
    return round(sum(rates) * 1000)


def _of_libraries(services: list[MediaService], told: Mapping[int, Usage]) -> Iterator[Metric]:
    """Of each customer's library on each node, which the services of both share."""
    places = {(service.customer_id, service.node_id): service for service in services}
    stored: dict[tuple[int, int], int] = {}
    for service in services:
        use, place = told.get(service.pk), (service.customer_id, service.node_id)
        if use is not None and use.library_bytes is not None:
            stored[place] = max(stored.get(place, 0), use.library_bytes)
    quotas = libraries.of_services(services)
    size = Family("streamfleet_library_bytes", "A customer's media library on a node.", labels=["customer", "node"])
    limit = Family(
        "streamfleet_library_limit_bytes", "What it may hold, where there is a limit.", labels=["customer", "node"]
    )
    for place, service in sorted(places.items()):
        labels = [service.customer.username, service.node.name]
        if place in quotas:
            size.add(labels, stored.get(place))
            limit.add(labels, _mb(quotas[place]))
    yield from (size, limit)
