"""``streamfleet-panel move_database``: everything that the panel has, copied into another database."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from streamfleet_panel import moving


class Command(BaseCommand):
    """Copies the panel's database into another one, and compares both. The panel goes on using the one that it has.

    Reads ``{"to": URL, "replace": bool}`` from standard input, where no password is seen, and prints ``{"tables",
    "rows"}``. Nobody may write meanwhile.
    """

    help = (
        "Copy all data into another database. Reads and prints JSON; run by database_move.yml, which holds all writers."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            order = json.load(sys.stdin)
            url, replace = str(order["to"]), bool(order["replace"])
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f"standard input is not the JSON that this command reads: {error!r}") from None
        try:
            moving.connect(url)
            tables = moving.Move().run(replace)
        except moving.MoveError as error:
            raise CommandError(str(error)) from None
        rows = sum(table.rows for table in tables.values())
        self.stdout.write(json.dumps({"tables": len(tables), "rows": rows}))
