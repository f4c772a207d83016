"""What tests of the panel share.

``apply_as(username, document, …)`` applies as an account (None: the system); WORLD is a small fleet of two resellers
and their customers; ``stand`` has such a fleet made once for many tests; ``Api`` is a client of API v1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.test import Client

from streamfleet_panel import access
from streamfleet_panel.apply import Options, apply_document
from streamfleet_panel.auth import OwaspArgon2Hasher
from streamfleet_panel.models import Account, ApiToken, Node

WORLD: dict[str, list[dict[str, Any]]] = {
    "reseller_plans": [
        {
            "name": "gold",
            "max_customers": 5,
            "max_media_services": 6,
            "max_listeners": 1000,
            "max_mounts": 20,
            "max_mounts_per_service": 5,
            "max_bitrate_kbps": 320,
        },
        {"name": "free"},
    ],
    "nodes": [
        {
            "name": "node1",
            "address": "192.0.2.10",
            "engines": ["icecast", "nginx_rtmp"],
            "stream_host": "stream.example.net",
            "port_range_start": 8100,
            "port_range_end": 8299,
        },
        {"name": "node2", "address": "192.0.2.11", "engines": ["nginx_rtmp"], "status": "draining"},
    ],
    "customers": [
        {"username": "root", "account_type": "administrator"},
        {"username": "boss", "account_type": "administrator"},
        {"username": "shop", "reseller_plan": "gold", "email": "shop@example.net"},
        {"username": "rival", "reseller_plan": "free"},
        {"username": "alice", "reseller": "shop", "email": "alice@example.net"},
        {"username": "carol", "reseller": "shop"},
        {"username": "eve", "reseller": "rival"},
        {"username": "bob"},
    ],
    "media_services": [
        {
            "slug": "rock",
            "customer": "alice",
            "engine": "icecast",
            "max_listeners": 100,
            "max_mounts": 2,
            "max_bitrate_kbps": 128,
        },
        {"slug": "tv", "customer": "alice", "engine": "nginx_rtmp", "max_bitrate_kbps": 320},
        {
            "slug": "shop-fm",
            "customer": "shop",
            "engine": "icecast",
            "max_listeners": 10,
            "max_mounts": 1,
            "max_bitrate_kbps": 64,
        },
        {"slug": "eve-fm", "customer": "eve", "engine": "icecast"},
        {"slug": "bob-tv", "customer": "bob", "engine": "nginx_rtmp"},
    ],
    "playlists": [
        {"media_service": "rock", "name": "day", "folder": "music/rock"},
        {"media_service": "rock", "name": "jingles", "type": "jingle", "files": ["a.mp3", "b.mp3"], "every_tracks": 4},
        {"media_service": "shop-fm", "name": "day", "folder": "."},
        {"media_service": "eve-fm", "name": "day", "folder": "eve"},
    ],
}


def apply_as(username: str | None, document: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Apply as an account (None: the system); the answer as the API gives it."""
    actor = access.system()
    if username is not None:
        actor = access.actor_of(Account.objects.select_related("reseller", "reseller_plan").get(username=username))
    outcome = apply_document(document, actor, Options(**options))
    assert outcome is not None
    return outcome.as_dict()


class QuickHasher(OwaspArgon2Hasher):
    """Argon2id as the panel has it, with the least that Argon2 takes."""

    time_cost = 1
    memory_cost = 8


Rows = dict[str, list[tuple[Any, ...]]]
_MADE: dict[str, tuple[Rows, Rows]] = {}


def stand(name: str, make: Callable[[], object]) -> None:
    """Have in the database what ``make`` makes there, in a test's transaction; ``name`` is its own.

    ``make`` is called once a process. In the tests after that the rows that it left are put back as they were, for
    few of them are about how they came there. What ``make`` begins with must be the same each time.
    """
    if name not in _MADE:
        before = _all_rows()
        make()
        after = _all_rows()
        _MADE[name] = before, {table: rows for table, rows in after.items() if rows != before[table]}
        return
    before, made = _MADE[name]
    # MariaDB would hold rows to their order.
    with connection.constraint_checks_disabled(), connection.cursor() as cursor:
        for table, rows in made.items():
            quoted = connection.ops.quote_name(table)
            if before[table]:
                cursor.execute(f"DELETE FROM {quoted}")  # noqa: S608  (a table's name)
            if rows:
                places = ", ".join(["%s"] * len(rows[0]))
                cursor.executemany(f"INSERT INTO {quoted} VALUES ({places})", rows)  # noqa: S608


def _all_rows() -> Rows:
    """Every row of every table, as the database gives it."""
    found: Rows = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(only_existing=True):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            found[table] = list(cursor.fetchall())
    return found


@dataclass
class Api:
    """A client of API v1. Every call returns (status, body)."""

    client: Client
    token: str

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes | str) else json.dumps(body) if body is not None else ""
        response = self.client.generic(
            method,
            f"/api/v1{path}",
            data,
            content_type="application/json",
            headers={"authorization": f"Bearer {self.token}", **headers},
        )
        text = response.content.decode()
        return response.status_code, json.loads(text) if text else None


def token_for(
    username: str | None = None, *, node: str | None = None, worker: bool = False, metrics: bool = False
) -> str:
    """A new token's secret."""
    scope = "worker" if worker else "metrics" if metrics else f"node:{node}" if node else "account"
    token = ApiToken(
        name="test",
        scope=scope,
        account=Account.objects.get(username=username) if username else None,
        node=Node.objects.get(name=node) if node else None,
    )
    secret = token.new_secret()
    token.save()
    return secret
