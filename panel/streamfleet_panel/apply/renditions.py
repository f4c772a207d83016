"""What is encoded for a service, against what may be.

Engines encode for all services in one process, so nothing but this bounds what one of them costs: how many pictures
there are and how large. How many come in a second the encoder decides, and engines take over; so they are counted as if
they were 30.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.plan import Plan
from streamfleet_panel.engines import Engine
from streamfleet_panel.models import MediaService

#: Pictures a second, and a picture's width in heights, that renditions are counted with.
PICTURES, WIDTH = 30, 16 / 9


def megapixels(renditions: Iterable[Mapping[str, Any]]) -> float:
    """Millions of pixels that are encoded in a second, to a tenth."""
    area = sum(int(item["height"]) ** 2 for item in renditions) * WIDTH
    return round(area * PICTURES / 1e6, 1)


def judge_renditions(plan: Plan, entry: Entry, service: MediaService, engine: Engine) -> None:
    """Refuse more than the service may have; the problem is at what the document names."""
    field = engine.renditions_field(service.service_type)
    if field is None:
        return
    items = engine.settings(service.settings)[field]
    size = megapixels(items)
    for limit, found, words in (
        ("max_renditions", len(items), f"{len(items)} renditions are"),
        ("max_transcode_mpixels", size, f"{size:g} megapixels a second (16:9, {PICTURES} pictures a second) are"),
    ):
        most = getattr(service, limit)
        if most is not None and found > most:
            plan.problem(
                f"{entry.path}.{field if field in entry.fields else limit}",
                found,
                f"{words} more than {limit} allows ({most})",
                f"Name fewer or smaller renditions, or raise {limit}.",
            )
