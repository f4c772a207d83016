"""``streamfleet-panel restored``: the database was put back from a backup, so others know more than it does."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction
from django.db.models import F

from streamfleet_panel.models import Counter, Installation, Node
from streamfleet_panel.models.counter import UID_LAST

#: Uids that are left out: customers made after the backup had some, and their files lie on nodes.
SKIPPED_UIDS = 1000


class Command(BaseCommand):
    """Makes the database another one in the eyes of nodes, has all of them converged, and leaves out uids.

    Nodes refuse generations that go back, unless the epoch is another one. No customer gets a uid whose files may
    still lie on a node.
    """

    help = "After the database was put back from a backup: a new epoch, a converge of all nodes; prints JSON."

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            counter = Counter.lock()
            counter.value = min(counter.value + SKIPPED_UIDS, UID_LAST + 1)
            counter.save(update_fields=["value"])
            installation = Installation.current()
            installation.epoch = uuid.uuid4()
            installation.save(update_fields=["epoch"])
            nodes = Node.objects.update(generation=F("generation") + 1, observed_generation=0)
        self.stdout.write(json.dumps({"epoch": str(installation.epoch), "nodes": nodes, "next_uid": counter.value}))
