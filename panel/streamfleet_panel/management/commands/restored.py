"""``streamfleet-panel restored``: the database was put back from a backup, so others know more than it does."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.db.models import F

from streamfleet_panel.models import ConvergeRun, Counter, Installation, Node
from streamfleet_panel.models.counter import UID_LAST

#: Uids that are left out: customers made after the backup had some, and their files lie on nodes.
SKIPPED_UIDS = 1000


class Command(BaseCommand):
    """Makes the database another one in the eyes of nodes, has all of them converged, and leaves out uids.

    Nodes refuse generations that go back, unless the epoch is another one. No customer gets a uid whose files may
    still lie on a node. ``--converge-only``: for when nodes have been registered
    anew, with the addresses that they have; what was converged before that may have been the hosts that they were.
    """

    help = "After the database was put back from a backup: a new epoch, a converge of all nodes; prints JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--converge-only", action="store_true", help="have all nodes converged, once their addresses are known anew"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            counter = Counter.lock()
            installation = Installation.current()
            if not options["converge_only"]:
                counter.value = min(counter.value + SKIPPED_UIDS, UID_LAST + 1)
                counter.save(update_fields=["value"])
                installation.epoch = uuid.uuid4()
                installation.save(update_fields=["epoch"])
            nodes = Node.objects.update(generation=F("generation") + 1, observed_generation=0)
            # Those wait for hosts that were not reached by the addresses of the backup.
            ConvergeRun.objects.filter(state=ConvergeRun.State.PENDING).update(next_attempt_at=None)
        self.stdout.write(json.dumps({"epoch": str(installation.epoch), "nodes": nodes, "next_uid": counter.value}))
