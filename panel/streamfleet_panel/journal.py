"""What happened, told to the system's log: journald, or syslog where it listens there. One JSON object a line.

Two identifiers, so that whoever reads can tell them from all else that the panel writes, and nobody can forge them by
what a web server or Django repeats of a request:

- ``streamfleet-audit``: the audit log, as it is stored. No secret is in it.
- ``streamfleet-login``: log-ins that were refused, ``{"event", "address", "via"}``. Not as whom: people type passwords
  into the field for names.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from logging.handlers import SysLogHandler
from typing import TYPE_CHECKING, Any, Protocol

from django.contrib.auth.signals import user_login_failed
from django.db import transaction

from streamfleet_panel.times import rfc3339

if TYPE_CHECKING:
    from django.http import HttpRequest

AUDIT = "streamfleet.audit"
LOGIN = "streamfleet.login"

#: Bytes of a line that every syslog takes.
LONGEST = 8000
#: Entries of one transaction that are told one by one; journald drops what comes faster than it is set to take.
MOST_LINES = 1000


class Entry(Protocol):
    """What is told of an entry of the audit log (``models.AuditLog``)."""

    pk: int
    at: datetime
    actor_name: str
    impersonator: str
    token_id: str
    via: str
    ip: str | None
    action: str
    kind: str
    key: str
    owner_name: str | None
    changes: dict[str, Any]


class SystemLog(SysLogHandler):
    """Lines under ``identifier``. Where no log listens they go to standard error: nothing fails for them."""

    append_nul = False

    def __init__(self, address: str, identifier: str) -> None:
        super().__init__(address, facility=SysLogHandler.LOG_AUTHPRIV)
        self.ident = f"{identifier}: "

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the library's name)
        """Say it where the panel says everything else."""
        sys.stderr.write(f"{self.ident}{self.format(record)}\n")


def tell(entries: Sequence[Entry]) -> None:
    """Tell of audit entries, once what they are about is in the database."""
    if entries:
        transaction.on_commit(lambda: _tell(entries), robust=True)


def login_refused(address: str, via: str) -> None:
    """Tell of a log-in that was refused; ``via``: portal or api."""
    if address:
        _write(LOGIN, {"event": "login_refused", "address": address, "via": via})


def watch_logins() -> None:
    """Tell of every log-in with a password that Django refuses."""
    user_login_failed.connect(_refused, dispatch_uid="streamfleet_panel.journal")


def _refused(sender: object, request: HttpRequest | None = None, **kwargs: object) -> None:
    if request is not None:
        login_refused(request.META.get("REMOTE_ADDR", ""), "portal")


def _tell(entries: Sequence[Entry]) -> None:
    if len(entries) > MOST_LINES:
        counts = Counter(f"{entry.kind} {entry.action}" for entry in entries)
        first, last = entries[0], entries[-1]
        brief = {"first": first.pk, "last": last.pk, "counts": dict(sorted(counts.items()))}
        _write(AUDIT, {"event": "audit_bulk", **brief, **_who(first)})
        return
    for entry in entries:
        _write(AUDIT, {"event": "audit", **describe(entry)})


def describe(entry: Entry) -> dict[str, Any]:
    """An entry as the API has it. Asks no database for its owner."""
    return {
        "id": entry.pk,
        **_who(entry),
        "action": entry.action,
        "kind": entry.kind,
        "key": entry.key,
        "owner": entry.owner_name,
        "changes": entry.changes,
    }


def _who(entry: Entry) -> dict[str, Any]:
    return {
        "at": rfc3339(entry.at),
        "actor": entry.actor_name,
        "impersonator": entry.impersonator or None,
        "token": entry.token_id or None,
        "via": entry.via,
        "ip": entry.ip,
    }


def _write(logger: str, event: Mapping[str, Any]) -> None:
    line = json.dumps(event, separators=(",", ":"), default=str)
    if len(line) > LONGEST:
        # Which fields have changed; the database has the rest.
        line = json.dumps({**event, "changes": sorted(event.get("changes") or ())}, separators=(",", ":"), default=str)
    logging.getLogger(logger).info("%s", line)
