"""``streamfleet-panel note_rehearsal``: the restore of a host's backup was tried on a scratch host."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from streamfleet_panel.access import system
from streamfleet_panel.apply.execute import audit_entry

ACTOR = "rehearsal of a backup"
#: What is noted, beside whether it succeeded.
NOTED = (
    *("on", "snapshot", "snapshot_time", "compared", "equal", "elsewhere", "database", "stream", "why"),
    *("begun", "ended"),
)
LONGEST = 1000


class Command(BaseCommand):
    """Writes it into the audit log, which administrators read, and which is told to the system's log.

    Reads from standard input what restore_rehearsal.yml tells: ``{"host", "succeeded": true | false, …}``, where all of
    ``NOTED`` may be there; prints ``{"changed": true, "action": "rehearsed | rehearsal_failed"}``.
    """

    help = "Note that the restore of a host's backup was tried. Reads and prints JSON; run by restore_rehearsal.yml."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            told = json.load(sys.stdin)
            host, succeeded = told["host"], told["succeeded"]
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f"standard input is not the JSON that this command reads: {error!r}") from None
        if not isinstance(host, str) or not host or len(host) > 200:
            raise CommandError(f"host is {host!r}: give a host's name in the inventory, of 200 characters at most.")
        if not isinstance(succeeded, bool):
            raise CommandError(f"succeeded is {succeeded!r}: give true or false.")
        action = "rehearsed" if succeeded else "rehearsal_failed"
        changes = {name: {"before": None, "after": _brief(told[name])} for name in NOTED if told.get(name)}
        audit_entry(system(ACTOR), action, "backup", host, changes).save()
        self.stdout.write(json.dumps({"changed": True, "action": action}))


def _brief(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(str, value))[:LONGEST]
    return value if isinstance(value, int) else str(value)[:LONGEST]
