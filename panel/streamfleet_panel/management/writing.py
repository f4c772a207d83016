"""What commands that change the panel's data have in common."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from streamfleet_panel import maintenance


class WritingCommand(BaseCommand):
    """One that calls ``check_writable`` before it changes anything.

    While an upgrade works the database may be put back to what it was, and what was written since would be lost without
    a word: a password that was reset would be the old one again, a token that was revoked would work.
    """

    #: Given by commands of the upgrade's own, never on a command line.
    stealth_options: tuple[str, ...] = ("by_upgrade",)

    def check_writable(self, options: dict[str, Any]) -> None:
        """Raises CommandError while the panel is read-only."""
        found = maintenance.current()
        if found is not None and not options.get("by_upgrade"):
            raise CommandError(
                f"{found.reason}: nothing can be changed until it has ended. Nothing was changed; try again then. If"
                " it was killed, run its playbook again"
            )
