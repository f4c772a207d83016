"""``streamfleet-panel set_up``: everything that an installation needs of the database, in one process."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from streamfleet_panel.models import Account


class Command(BaseCommand):
    """Brings the database to this version, makes the first administrator, issues tokens.

    Reads from standard input ``{"administrator": {"username", "email", "password"} | null, "tokens": [{"name", "scope",
    "account"}]}`` and prints ``{"changed", "migrated", "tokens": [secret, …]}``, tokens in the order asked for. An
    administrator who is there is left alone; a token that is there gets a new secret. An upgrade runs it while all
    else is read-only.
    """

    help = "Migrate, make the first administrator, issue tokens. Reads and prints JSON; run by the role panel."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            order = json.load(sys.stdin)
            administrator, tokens = order["administrator"], list(order["tokens"])
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f"standard input is not the JSON that this command reads: {error!r}") from None
        migrated = "Applying" in self._output("migrate", interactive=False)
        # Whoever has all tokens has an installation: it is in another database.
        if migrated and not administrator and not tokens and not Account.objects.exists():
            raise CommandError(
                "the database is empty, and this host has the tokens of an installation. Bring its data there"
                " (database_move.yml, restore.yml), name the database that has it, or, to begin anew, remove"
                " /etc/streamfleet/panel/install_token"
            )
        made = False
        if administrator and Account.objects.exists():
            # A host that was installed anew over data that had stayed: its nodes may have been, too.
            self._output("restored", converge_only=True)
        if administrator:
            made = json.loads(self._output("bootstrap_admin", by_upgrade=True, **administrator))["changed"]
        secrets = [
            json.loads(self._output("issue_token", replace=True, by_upgrade=True, **token))["token"] for token in tokens
        ]
        changed = migrated or made or bool(secrets)
        self.stdout.write(json.dumps({"changed": changed, "migrated": migrated, "tokens": secrets}))

    def _output(self, command: str, /, **options: Any) -> str:
        output = io.StringIO()
        call_command(command, stdout=output, **options)
        return output.getvalue()
