"""Which ports of which node are free, and how many services it has."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamfleet_panel.engines import engines
from streamfleet_panel.models import MediaService, Node, TransferredService


def key_of_node(node: Node) -> int:
    """What ``Ports`` knows the node by: its key, or, while it is new, a negative stand-in."""
    return node.pk if node.pk is not None else -id(node)


@dataclass
class Ports:
    """Ports in use and services counted, per node; loaded when the first new service or changed port asks."""

    used: dict[int, dict[int, str]] = field(default_factory=dict)
    count: dict[int, int] = field(default_factory=dict)
    # Per node and width: below it there is no such run of free ports.
    cursor: dict[tuple[int, int], int] = field(default_factory=dict)
    loaded: bool = False

    def load(self) -> None:
        """Read every service's node, ports and engine, and what is kept for those that are transferred: two queries."""
        if self.loaded:
            return
        self.loaded = True
        known = engines()
        rows = MediaService.objects.values_list("node_id", "port", "slug", "engine", "settings", "deleted_at")
        for node_id, port, slug, engine, settings, deleted_at in rows.iterator(chunk_size=5000):
            if deleted_at is None:
                self.count[node_id] = self.count.get(node_id, 0) + 1
            # Ports are kept through the grace period, so that a restored service comes back where it was.
            if port is not None:
                self.take(node_id, port, known[engine].ports if engine in known else 1, slug)
            for name in known[engine].port_fields if engine in known else ():
                if settings.get(name) is not None:
                    self.take(node_id, settings[name], 1, slug)

        held = TransferredService.objects.select_related("transfer", "service").only(
            "source_ports",
            "target_ports",
            "transfer__source",
            "transfer__target",
            "service__slug",
            "service__engine",
            "service__node",
        )
        for item in held:
            for node_id, ports in (
                (item.transfer.source_id, item.source_ports),
                (item.transfer.target_id, item.target_ports),
            ):
                if node_id != item.service.node_id:
                    self.count[node_id] = self.count.get(node_id, 0) + 1
                width = known[item.service.engine].ports if item.service.engine in known else 1
                for name, port in ports.items():
                    self.take(node_id, port, width if name == "port" else 1, item.service.slug)

    def holder(self, key: int, port: int, width: int) -> str | None:
        """Who has one of ``width`` ports from ``port``."""
        taken = self.used.get(key, {})
        return next((taken[number] for number in range(port, port + width) if number in taken), None)

    def take(self, key: int, port: int, width: int, slug: str) -> None:
        """Reserve ``width`` ports from ``port``."""
        taken = self.used.setdefault(key, {})
        for offset in range(max(width, 1)):
            taken[port + offset] = slug

    def free(self, key: int, port: int, width: int) -> None:
        """Give back ``width`` ports from ``port``."""
        taken = self.used.get(key, {})
        for offset in range(width):
            taken.pop(port + offset, None)
        self.cursor = {place: start for place, start in self.cursor.items() if place[0] != key}

    def next(self, key: int, first: int, last: int, width: int) -> int | None:
        """The lowest free ``width`` ports in a row between ``first`` and ``last``; None where there are none."""
        taken = self.used.setdefault(key, {})
        port = max(first, self.cursor.get((key, width), first))
        while port + width - 1 <= last:
            clash = next((offset for offset in reversed(range(width)) if port + offset in taken), None)
            if clash is None:
                self.cursor[key, width] = port + 1
                return port
            port += clash + 1
        return None
