"""The node document, whole: what the converge action is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext

from streamfleet_panel import nodedoc
from streamfleet_panel.models import Installation, MediaService, Node

pytestmark = pytest.mark.django_db


def test_golden(world: None, run: Callable[..., dict[str, Any]]) -> None:
    mounts = [{"name": "/a", "default": True}, {"name": "/b", "format": "aac", "fallback": "/a"}]
    run(
        {
            "media_services": [
                {
                    "slug": "rock",
                    "name": "Rock & {{ roll }}",
                    "mounts": mounts,
                    "source_password": "source-pw-1",
                    "admin_password": "admin-pw-1",
                    "autodj": {"timezone": "Europe/Prague"},
                    "autodj_password": "autodj-pw-1",
                },
                {"slug": "tv", "stream_key": "k" * 20, "suspended": True, "suspend_reason": "unpaid"},
                {"slug": "bob-tv", "state": "absent"},
                {"slug": "eve-fm", "state": "absent"},
                {"slug": "shop-fm", "state": "absent"},
            ],
            "playlists": [
                {
                    "media_service": "rock",
                    "name": "night",
                    "enabled": False,
                    "type": "scheduled",
                    "folder": ".",
                    "order": "sequential",
                    "active": [{"days": ["sat", "fri"], "start": "22:00", "end": "02:00"}],
                },
            ],
            "djs": [
                {"media_service": "rock", "username": "ben", "password": "dj-ben-password", "priority": 30},
                {
                    "media_service": "rock",
                    "username": "anna",
                    "name": "Anna & {{ co }}",
                    "password": "dj-anna-password",
                    "enabled": False,
                    "scheduled_only": True,
                    "active": [{"start": "20:00", "end": "22:00"}],
                    "grace_seconds": 0,
                    "record": True,
                },
            ],
            "schedules": [
                {
                    "media_service": "rock",
                    "name": "show",
                    "dj": "anna",
                    "days": ["sun", "sat"],
                    "start": "09:00",
                    "end": "10:00",
                },
                {
                    "media_service": "rock",
                    "name": "eve",
                    "enabled": False,
                    "playlist": "night",
                    "start": "18:00",
                    "end": "00:00",
                    "start_date": "2026-12-24",
                    "end_date": "2026-12-24",
                },
            ],
            "relays": [
                {
                    "media_service": "rock",
                    "name": "other",
                    "direction": "out",
                    "address": "icecasts://other.example:8443/live",
                    "password": "relay-password",
                },
                {
                    "media_service": "rock",
                    "name": "network",
                    "direction": "in",
                    "address": "http://network.example/live",
                },
            ],
        }
    )
    document = nodedoc.document(Node.objects.get(name="node1"))
    uid = MediaService.objects.get(slug="rock").customer.uid
    rock = document["services"][2]
    assert [service["slug"] for service in document["services"]] == ["bob-tv", "eve-fm", "rock", "shop-fm", "tv"]
    assert rock == {
        "slug": "rock",
        "name": "Rock & {{ roll }}",
        "customer": "alice",
        "uid": uid,
        "engine": "icecast",
        "service_type": "radio",
        "generation": 2,
        "state": "running",
        "reason": "",
        "restart": 0,
        "library_mb": None,
        "port": 8100,
        "limits": {
            "max_listeners": 100,
            "max_bitrate_kbps": 128,
            "monthly_transfer_mb": None,
            "disk_quota_mb": None,
        },
        "settings": {
            "mounts": [
                {
                    "name": "/a",
                    "format": "mp3",
                    "bitrate_kbps": None,
                    "max_listeners": None,
                    "fallback": None,
                    "fallback_when_full": False,
                    "default": True,
                },
                {
                    "name": "/b",
                    "format": "aac",
                    "bitrate_kbps": None,
                    "max_listeners": None,
                    "fallback": "/a",
                    "fallback_when_full": False,
                    "default": False,
                },
            ],
            "genre": None,
            "description": None,
            "website": None,
            "autodj": {
                "enabled": True,
                "class": "full",
                "timezone": "Europe/Prague",
                "crossfade_seconds": 3,
                "smart_crossfade": True,
                "minimum_track_seconds": 10,
                "seed": None,
            },
            "live_port": 8103,
        },
        "credentials": {
            "source_password": "source-pw-1",
            "admin_password": "admin-pw-1",
            "listener_password": None,
            "autodj_password": "autodj-pw-1",
        },
        "previous_credentials": {},
        "playlists": [
            {
                "name": "day",
                "enabled": True,
                "type": "rotation",
                "folder": "music/rock",
                "files": None,
                "order": "shuffle",
                "weight": 1,
                "active": None,
                "every_tracks": None,
                "every_minutes": None,
            },
            {
                "name": "jingles",
                "enabled": True,
                "type": "jingle",
                "folder": None,
                "files": ["a.mp3", "b.mp3"],
                "order": "shuffle",
                "weight": 1,
                "active": None,
                "every_tracks": 4,
                "every_minutes": None,
            },
            {
                "name": "night",
                "enabled": False,
                "type": "scheduled",
                "folder": ".",
                "files": None,
                "order": "sequential",
                "weight": 1,
                "active": [{"days": ["fri", "sat"], "start": "22:00", "end": "02:00"}],
                "every_tracks": None,
                "every_minutes": None,
            },
        ],
        "djs": [
            {
                "username": "anna",
                "name": "Anna & {{ co }}",
                "password": "dj-anna-password",
                "priority": 10,
                "enabled": False,
                "scheduled_only": True,
                "active": [{"days": None, "start": "20:00", "end": "22:00"}],
                "grace_seconds": 0,
                "record": True,
                "kick": 0,
            },
            {
                "username": "ben",
                "name": "",
                "password": "dj-ben-password",
                "priority": 30,
                "enabled": True,
                "scheduled_only": False,
                "active": None,
                "grace_seconds": 10,
                "record": False,
                "kick": 0,
            },
        ],
        "schedules": [
            {
                "name": "eve",
                "enabled": False,
                "playlist": "night",
                "dj": None,
                "days": None,
                "start": "18:00",
                "end": "00:00",
                "start_date": "2026-12-24",
                "end_date": "2026-12-24",
            },
            {
                "name": "show",
                "enabled": True,
                "playlist": None,
                "dj": "anna",
                "days": ["sat", "sun"],
                "start": "09:00",
                "end": "10:00",
                "start_date": None,
                "end_date": None,
            },
        ],
        "queue": [],
        "skip": 0,
        "domains": [],
        "relays": [
            {
                "name": "network",
                "direction": "in",
                "address": "http://network.example/live",
                "mount": "/a",
                "username": None,
                "password": None,
                "enabled": True,
                "djs_first": True,
                "silence_seconds": 15,
                "reconnect_seconds": 30,
            },
            {
                "name": "other",
                "direction": "out",
                "address": "icecasts://other.example:8443/live",
                "mount": "/a",
                "username": None,
                "password": "relay-password",
                "enabled": True,
                "djs_first": True,
                "silence_seconds": 15,
                "reconnect_seconds": 30,
            },
        ],
    }
    assert document["services"][3]["settings"]["autodj"] is None
    assert document["services"][3]["settings"]["live_port"] is None
    # A video channel has no companions, and so none of what belongs to them.
    assert not {"playlists", "djs", "schedules", "relays"} & document["services"][4].keys()
    assert document["services"][4]["state"] == "suspended"
    assert document["services"][4]["reason"] == "unpaid"
    assert document["services"][0]["state"] == "deleted"
    del document["services"]
    assert document == {
        "schema": 1,
        "epoch": str(Installation.current().epoch),
        "node": "node1",
        "generation": 2,
        "stream_host": "stream.example.net",
        "former_stream_hosts": [],
        "media_users": [],
    }


def test_states_in_their_order(world: None, run: Callable[..., dict[str, Any]]) -> None:
    service = MediaService.objects.select_related("customer__reseller").get(slug="rock")
    assert service.desired_state() == ("running", "")
    service.stopped = True
    assert service.desired_state() == ("stopped", "")
    service.over_quota, service.over_quota_reason = True, "transfer used up"
    assert service.desired_state() == ("over_quota", "transfer used up")
    service.suspended, service.suspend_reason = True, "unpaid"
    assert service.desired_state() == ("suspended", "unpaid")
    service.enabled = False
    assert service.desired_state() == ("disabled", "")
    service.customer.status = "disabled"
    assert service.desired_state() == ("disabled", "account disabled")
    service.deleted_at = service.created_at
    assert service.desired_state()[0] == "deleted"


def test_constant_queries(
    world: None, run: Callable[..., dict[str, Any]], django_assert_max_num_queries: Callable[..., CaptureQueriesContext]
) -> None:
    services = [{"slug": f"s{n}", "customer": "bob", "engine": "icecast", "autodj": {}} for n in range(50)]
    playlists = [{"media_service": f"s{n}", "name": "all", "folder": "."} for n in range(50)]
    djs = [{"media_service": f"s{n}", "username": "anna"} for n in range(50)]
    noon = {"dj": "anna", "start": "12:00", "end": "13:00"}
    schedules = [{"media_service": f"s{n}", "name": "noon", **noon} for n in range(50)]
    ends = {"direction": "in", "address": "https://network.example/live.mp3"}
    relays = [{"media_service": f"s{n}", "name": "network", **ends} for n in range(50)]
    run({"media_services": services, "playlists": playlists, "djs": djs, "schedules": schedules, "relays": relays})
    node = Node.objects.get(name="node1")
    with django_assert_max_num_queries(10):
        assert len(nodedoc.document(node)["services"]) == 55
    report = {
        "epoch": str(Installation.current().epoch),
        "generation": node.generation,
        "services": {f"s{n}": {"generation": node.generation, "state": "running"} for n in range(50)},
    }
    for _ in range(2):
        with django_assert_max_num_queries(10):
            nodedoc.store_status(node, report)
        for item in report["services"].values():
            item["state"] = "stopped"
