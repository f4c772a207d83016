"""``streamfleet-panel fleet_report``: nodes that are behind, services that failed, jobs; for ``streamfleet status``."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

import streamfleet_panel
from streamfleet_panel import fleet


class Command(BaseCommand):
    """Reads the database and nothing else. Exit code 1 where it does not answer."""

    help = "Say how nodes, media services and jobs are; prints JSON."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = fleet.report()
        except DatabaseError as error:
            raise CommandError(f"The database does not answer: {type(error).__name__}") from None
        self.stdout.write(json.dumps({"version": streamfleet_panel.__version__, **found}))
