"""What tests of the panel share.

``apply_as(username, document, …)`` applies as an account (None: the system); WORLD is a small fleet of two resellers
and their customers; ``Api`` is a client of API v1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.test import Client

from streamfleet_panel import access
from streamfleet_panel.apply import Options, apply_document
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


def token_for(username: str | None = None, *, node: str | None = None, worker: bool = False) -> str:
    """A new token's secret."""
    scope = "worker" if worker else f"node:{node}" if node else "account"
    token = ApiToken(
        name="test",
        scope=scope,
        account=Account.objects.get(username=username) if username else None,
        node=Node.objects.get(name=node) if node else None,
    )
    secret = token.new_secret()
    token.save()
    return secret
