"""``streamfleet-panel bootstrap_admin``: the first administrator."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from streamfleet_panel.access import system
from streamfleet_panel.apply import ApiError, apply_document
from streamfleet_panel.management.writing import WritingCommand
from streamfleet_panel.models import Account


class Command(WritingCommand):
    """Creates the first administrator where there is none of that name; never changes one that is there."""

    # Given by other commands, never on a command line.
    stealth_options = ("password", *WritingCommand.stealth_options)
    help = "Create the first administrator. Idempotent; prints JSON with changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", default="admin")
        parser.add_argument("--email", default=None)
        parser.add_argument(
            "--password-file", default=None, help="File with the password; - for standard input. "
            "Default: the variable STREAMFLEET_PANEL_ADMIN_PASSWORD."
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        username = options["username"]
        if Account.objects.filter(username=username, account_type=Account.Type.ADMINISTRATOR).exists():
            self.stdout.write(json.dumps({"changed": False, "username": username}))
            return
        self.check_writable(options)
        fields = {"username": username, "account_type": "administrator", "password": self._password(options)}
        if options["email"]:
            fields["email"] = options["email"]
        try:
            apply_document({"customers": [fields]}, system("bootstrap"))
        except ApiError as error:
            raise CommandError(error.message) from None
        self.stdout.write(json.dumps({"changed": True, "username": username}))

    def _password(self, options: dict[str, Any]) -> str:
        if options.get("password"):
            return str(options["password"])
        source = options["password_file"]
        if source == "-":
            return sys.stdin.readline().rstrip("\n")
        if source:
            try:
                return Path(source).read_text(encoding="utf-8").rstrip("\n")
            except OSError as error:
                raise CommandError(f"--password-file: {error}") from None
        password = os.environ.get("STREAMFLEET_PANEL_ADMIN_PASSWORD")
        if not password:
            raise CommandError("No password: give --password-file, or STREAMFLEET_PANEL_ADMIN_PASSWORD")
        return password
