"""A small world for the pages: one node, two resellers, customers of each, one administrator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client

from streamfleet_panel import access
from streamfleet_panel.apply import apply_document
from streamfleet_panel.models import MB, Account, ListenerSession, MediaService
from tests_support import stand

PASSWORD = "correct horse"

DOCUMENT = {
    "reseller_plans": [{"name": "small", "max_customers": 3, "max_media_services": 3, "max_listeners": 500}],
    "nodes": [
        {
            "name": "node1",
            "address": "192.0.2.10",
            "engines": ["icecast", "nginx_rtmp"],
            "stream_host": "stream.example.net",
            "port_range_start": 8100,
            "port_range_end": 8199,
        }
    ],
    "customers": [
        {"username": "root", "account_type": "administrator", "password": PASSWORD},
        {"username": "root2", "account_type": "administrator"},
        {"username": "shop", "reseller_plan": "small", "email": "shop@example.net"},
        {"username": "rival", "reseller_plan": "small"},
        {
            "username": "alice",
            "reseller": "shop",
            "password": PASSWORD,
            "email": "alice@example.net",
            "name": "Alice <b>&",
        },
        {"username": "carol", "reseller": "shop"},
        {"username": "bob", "email": "bob@example.net"},
        {"username": "eve", "reseller": "rival"},
    ],
    "media_services": [
        {"slug": "rock-fm", "name": "Rock <i>FM</i>", "customer": "alice", "engine": "icecast", "max_listeners": 100},
        {"slug": "alice-tv", "name": "Alice TV", "customer": "alice", "engine": "nginx_rtmp"},
        {"slug": "bob-tv", "name": "Bob TV", "customer": "bob", "engine": "nginx_rtmp"},
        {"slug": "eve-fm", "name": "Eve FM", "customer": "eve", "engine": "icecast", "max_listeners": 5, "autodj": {}},
    ],
    "playlists": [
        {"media_service": "rock-fm", "name": "day", "folder": "music/<b>rock", "weight": 3},
        {"media_service": "eve-fm", "name": "secret-list", "folder": "."},
    ],
    "djs": [{"media_service": "eve-fm", "username": "eves-dj", "password": "eves-password"}],
    "schedules": [
        {"media_service": "eve-fm", "name": "eves-hour", "dj": "eves-dj", "start": "09:00", "end": "10:00"},
    ],
    "relays": [
        {
            "media_service": "eve-fm",
            "name": "eves-network",
            "direction": "in",
            "address": "https://network.example/live.mp3",
        }
    ],
    "domains": [{"media_service": "eve-fm", "name": "eves.example.com"}],
    "panel_domains": [{"reseller": "shop", "name": "panel.shop.example"}],
    "media_users": [{"customer": "carol", "name": "desk"}],
}


def _make() -> None:
    apply_document(DOCUMENT, access.system())
    ListenerSession.objects.create(
        media_service=MediaService.objects.get(slug="eve-fm"),
        name="0" * 32,
        source="web",
        mount="/stream",
        address="203.0.113.7",
        agent="<b>VLC",
        started_at=datetime(2026, 11, 26, 12, 0, tzinfo=UTC),
        ended_at=datetime(2026, 11, 26, 13, 0, 5, tzinfo=UTC),
        bytes=55 * MB,
    )


@pytest.fixture
def world(db: None) -> None:
    """Everything of DOCUMENT, made by the planner, and a listener."""
    stand("pages", _make)


@pytest.fixture
def as_(world: None) -> Callable[..., Client]:
    """A client of whoever is named; "" is nobody."""

    def login(username: str, **options: bool) -> Client:
        client = Client(**options)  # type: ignore[arg-type]
        if username:
            client.force_login(Account.objects.get(username=username), backend="streamfleet_panel.auth.AccountBackend")
        return client

    return login
