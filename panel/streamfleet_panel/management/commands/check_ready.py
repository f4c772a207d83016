"""``streamfleet-panel check_ready``: is everything there that the panel needs to serve?"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from streamfleet_panel import secrets
from streamfleet_panel.engines import EngineSpecError, engines
from streamfleet_panel.models import Installation, MediaService


class Command(BaseCommand):
    """Checks database, migrations, engines and keys. Exit code 1 with the reason where one is wrong."""

    help = "Check that the panel can serve; prints JSON."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            executor = MigrationExecutor(connection)
            pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
            if pending:
                raise CommandError(f"{len(pending)} migrations are pending; run: streamfleet-panel migrate")
            epoch = str(Installation.current().epoch)
            self._check_charset()
            sample = MediaService.objects.exclude(credentials_encrypted="").first()
        except DatabaseError as error:
            raise CommandError(f"The database does not answer: {type(error).__name__}") from None
        try:
            names = list(engines())
            if sample is not None:
                _ = sample.credentials
            secrets.decrypt(secrets.encrypt({"check": "ready"}))
        except (EngineSpecError, secrets.SecretsError, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(json.dumps({"ready": True, "epoch": epoch, "engines": names, "database": connection.vendor}))

    def _check_charset(self) -> None:
        """A MariaDB database that cannot hold every character would refuse names late, in the middle of an apply."""
        if connection.vendor != "mysql":
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@character_set_database")
            charset = cursor.fetchone()[0]
        if charset != "utf8mb4":
            raise CommandError(f"The database's character set is {charset}; create it with CHARACTER SET utf8mb4")
