"""Which ports of which node are free, and how many services it has."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamfleet_panel.engines import engines
from streamfleet_panel.models import MediaService


@dataclass
class Ports:
    """Ports in use and services counted, per node; loaded when the first new service or changed port asks."""

    used: dict[int, dict[int, str]] = field(default_factory=dict)
    count: dict[int, int] = field(default_factory=dict)
    # Per node and width: below it there is no such run of free ports.
    cursor: dict[tuple[int, int], int] = field(default_factory=dict)
    loaded: bool = False

    def load(self) -> None:
        """Read every service's node, port and engine: one query."""
        if self.loaded:
            return
        self.loaded = True
        known = engines()
        rows = MediaService.objects.values_list("node_id", "port", "slug", "engine", "deleted_at")
        for node_id, port, slug, engine, deleted_at in rows.iterator(chunk_size=5000):
            if deleted_at is None:
                self.count[node_id] = self.count.get(node_id, 0) + 1
            if port is not None:
                # A port is kept through the grace period, so that a restored service comes back where it was.
                width = known[engine].ports if engine in known else 1
                taken = self.used.setdefault(node_id, {})
                for offset in range(max(width, 1)):
                    taken[port + offset] = slug

    def holder(self, key: int, port: int, width: int, slug: str) -> str | None:
        """Who has one of ``width`` ports from ``port``, other than ``slug``."""
        taken = self.used.get(key, {})
        for offset in range(width):
            other = taken.get(port + offset)
            if other is not None and other != slug:
                return other
        return None

    def take(self, key: int, port: int, width: int, slug: str) -> None:
        """Reserve ``width`` ports from ``port``."""
        taken = self.used.setdefault(key, {})
        for offset in range(width):
            taken[port + offset] = slug

    def free(self, key: int, slug: str) -> None:
        """Give back what ``slug`` holds."""
        taken = self.used.get(key, {})
        for port in [port for port, holder in taken.items() if holder == slug]:
            del taken[port]
        self.cursor = {place: port for place, port in self.cursor.items() if place[0] != key}

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
