"""``streamfleet-panel issue_token``: a token for a machine or an account, by name."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from streamfleet_panel.access import system
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.management.writing import WritingCommand
from streamfleet_panel.models import MACHINES, Account, ApiToken, Counter, Node


class Command(WritingCommand):
    """One token for each name and bearer.

    With --file, the file keeps the secret and is the proof that it is still known.
    """

    help = "Issue a token. Idempotent by name; prints JSON with changed (and the token, unless it went into a file)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--scope", default="account", help="account, node:<name>, worker or metrics.")
        parser.add_argument("--account", default=None, help="User name, for scope account.")
        parser.add_argument(
            "--file", default=None, help="Write the secret here, mode 0600 unless --mode says otherwise."
        )
        parser.add_argument("--mode", default="0600")
        parser.add_argument(
            "--replace",
            action="store_true",
            help="Make a new secret where the token exists; the old one stops working.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.check_writable(options)
        account, node = self._bearer(options["scope"], options["account"])
        path = Path(options["file"]) if options["file"] else None
        with transaction.atomic():
            Counter.lock()
            token = ApiToken.objects.filter(
                name=options["name"], scope=options["scope"], account=account, node=node
            ).first()
            known = token is not None and not options["replace"] and self._known(token, path)
            secret = ""
            if not known:
                token = token or ApiToken(name=options["name"], scope=options["scope"], account=account, node=node)
                token.created_by = "command line"
                secret = token.new_secret()
                token.save()
                audit_entry(system("command line"), "created", "token", token.token_id, {}, account).save()
                if path is not None:
                    # Inside the transaction: a secret that could not be written down is not issued.
                    self._write(path, secret, int(options["mode"], 8))
        assert token is not None
        result: dict[str, Any] = {"changed": not known, "id": token.token_id, "name": token.name, "scope": token.scope}
        if secret and path is None:
            result["token"] = secret
        self.stdout.write(json.dumps(result))

    def _bearer(self, scope: str, username: str | None) -> tuple[Account | None, Node | None]:
        if scope == "account":
            account = Account.objects.filter(username=username or "", deleted_at=None).first()
            if account is None:
                raise CommandError(f"--account: there is no account {username!r}; a token of scope account needs one")
            return account, None
        if username is not None:
            raise CommandError("--account goes with scope account only")
        if scope in MACHINES:
            return None, None
        match = re.fullmatch(r"node:(.+)", scope)
        node = Node.objects.filter(name=match.group(1)).first() if match else None
        if node is None:
            raise CommandError(
                f"--scope: {scope!r} is not account, worker, metrics or node:<name of a registered node>"
            )
        return None, node

    def _known(self, token: ApiToken, path: Path | None) -> bool:
        """The secret is where it was written. Without a file it cannot be told; it was shown once."""
        if path is None:
            return True
        try:
            return token.is_valid(path.read_text(encoding="utf-8").strip())
        except OSError:
            return False

    def _write(self, path: Path, secret: str, mode: int) -> None:
        try:
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(secret + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(path)
        except OSError as error:
            raise CommandError(f"--file: {error}") from None
