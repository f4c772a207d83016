"""The number of statements does not grow with the number of objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streamfleet_panel import collected, nodedoc, queueing
from streamfleet_panel.collected import Batch
from streamfleet_panel.models import MediaService, Node, QueuedTrack
from streamfleet_panel.transfer import month_of
from tests_support import Api

pytestmark = pytest.mark.django_db


def document(count: int, prefix: str, **fields: Any) -> dict[str, Any]:
    return {
        "customers": [
            {"username": f"{prefix}{n}", "reseller": "rival", "email": f"{prefix}{n}@example.net", **fields}
            for n in range(count)
        ],
        "media_services": [
            {"slug": f"{prefix}{n}", "customer": f"{prefix}{n}", "engine": engine, **more, **fields}
            for n in range(count)
            for engine, more in ([("icecast", {"autodj": {}}), ("nginx_rtmp", {})][n % 2],)
        ],
        "playlists": [
            {
                "media_service": f"{prefix}{n}",
                "name": name,
                "folder": ".",
                "active": [{"start": "00:00", "end": "00:00"}],
            }
            for n in range(0, count, 2)
            for name in ("day", "night")
        ],
        "djs": [
            {"media_service": f"{prefix}{n}", "username": name} for n in range(0, count, 2) for name in ("anna", "ben")
        ],
        "schedules": [
            {"media_service": f"{prefix}{n}", "name": name, **who, "start": "09:00", "end": "10:00"}
            for n in range(0, count, 2)
            for name, who in (("early", {"dj": "anna"}), ("late", {"playlist": "day"}))
        ],
        "relays": [
            {"media_service": f"{prefix}{n}", "name": name, "direction": "out", "address": url, "password": "of-other"}
            for n in range(0, count, 2)
            for name, url in (("one", "icecast://one.example/live"), ("two", "icecasts://two.example/live"))
        ],
        "domains": [
            {"media_service": f"{prefix}{n}", "name": f"{name}.{prefix}{n}.example.com"}
            for n in range(count)
            for name in ("one", "two")
        ],
        "mounts": [
            {"media_service": f"{prefix}{n}", "name": name} for n in range(0, count, 2) for name in ("/low", "/high")
        ],
        "media_users": [
            {"customer": f"{prefix}{n}", "name": name} for n in range(0, count, 2) for name in ("desk", "studio")
        ],
    }


def statements(action: Callable[[], Any]) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        action()
    return len(captured)


def test_apply(world: None, run: Callable[..., dict[str, Any]]) -> None:
    counts: dict[str, list[int]] = {}
    for count, prefix in ((10, "a"), (40, "b")):
        first = document(count, prefix)
        changed = document(count, prefix, name="new")
        gone = {"customers": [{"username": f"{prefix}{n}", "state": "absent"} for n in range(count)]}
        back = document(count, prefix)
        fewer = {**back, **{kind: back[kind][::2] for kind in ("playlists", "djs", "schedules", "relays", "domains")}}
        moved = {"schedules": [{**item, "start": "08:00"} for item in back["schedules"]]}
        weighed = {"playlists": [{**item, "weight": 5} for item in back["playlists"]]}
        limited = {"media_users": [{**item, "read_only": True} for item in back["media_users"]]}
        ranked = {"djs": [{**item, "priority": 5, "password": "a-new-password"} for item in back["djs"]]}
        patient = {"relays": [{**item, "silence_seconds": 30} for item in back["relays"]]}
        unserved = {"domains": [{**item, "enabled": False} for item in back["domains"]]}
        slower = {"mounts": [{**item, "bitrate_kbps": 64} for item in back["mounts"]]}
        dropped = {
            kind: [{**item, "state": "absent"} for item in back[kind]]
            for kind in ("playlists", "djs", "schedules", "relays", "domains", "mounts", "media_users")
        }
        steps: dict[str, Callable[[], Any]] = {
            "dry": lambda first=first: run(first, dry_run=True),
            "create": lambda first=first: run(first),
            "unchanged": lambda first=first: run(first),
            "objects": lambda first=first: run(first, return_objects=True),
            "update": lambda changed=changed: run(changed),
            "label": lambda changed=changed: run(changed, label="x"),
            "delete": lambda gone=gone: run(gone),
            "restore": lambda back=back: run(back),
            "playlists": lambda weighed=weighed: run(weighed),
            "djs": lambda ranked=ranked: run(ranked),
            "media users": lambda limited=limited: run(limited),
            "schedules": lambda moved=moved: run(moved),
            "relays": lambda patient=patient: run(patient),
            "domains": lambda unserved=unserved: run(unserved),
            "mounts": lambda slower=slower: run(slower),
            "prune what belongs to others": lambda fewer=fewer: run(fewer, label="x", prune=True, max_delete=1000),
            "drop what belongs to others": lambda dropped=dropped: run(dropped),
            "prune": lambda: run({}, label="x", prune=True, max_delete=1000),
        }
        for name, step in steps.items():
            counts.setdefault(name, []).append(statements(step))
    for name, (few, many) in counts.items():
        assert few == many, f"{name}: {few} statements for 10 objects of each kind, {many} for 40"
    assert max(max(pair) for pair in counts.values()) <= 41


def test_lists(api: Callable[..., Api], run: Callable[..., dict[str, Any]]) -> None:
    run(document(60, "x"))
    root = api("root")
    for route in (
        "customers",
        "media-services",
        "playlists",
        "djs",
        "schedules",
        "relays",
        "domains",
        "mounts",
        "media-users",
        "nodes",
        "audit-log",
        "reseller-plans",
        "tokens",
    ):
        root("GET", f"/{route}")
        few = statements(lambda route=route: root("GET", f"/{route}?limit=2"))
        many = statements(lambda route=route: root("GET", f"/{route}?limit=1000"))
        assert few == many, route


def test_queues(world: None, api: Callable[..., Api], run: Callable[..., dict[str, Any]]) -> None:
    """Of what waits, what is done, what is taken out, and what is awaited."""
    run({"media_services": [{"slug": "rock", "autodj": {}}]})
    alice = api("alice")
    rock = MediaService.objects.get(slug="rock")
    # What is read once a process.
    alice("POST", "/media-services/rock/queue", {"files": ["a.mp3"]})
    counts: dict[str, list[int]] = {}
    for count in (2, 40):
        QueuedTrack.objects.all().delete()
        done = {"state": QueuedTrack.State.PLAYED, "done_at": timezone.now()}
        forgotten = [QueuedTrack(media_service=rock, path="a.mp3", **done) for _ in range(queueing.MOST_DONE + count)]
        QueuedTrack.objects.bulk_create(forgotten)
        files = [f"{number}.mp3" for number in range(count)]
        queue = "/media-services/rock/queue"
        ids: list[str] = []

        def put(queue: str = queue, files: list[str] = files, ids: list[str] = ids) -> None:
            ids.extend(item["id"] for item in alice("POST", queue, {"files": files})[1]["items"])

        steps: dict[str, Callable[[], Any]] = {
            "put": put,
            "put before": lambda queue=queue, files=files: alice("POST", queue, {"files": files, "position": 1}),
            "list": lambda queue=queue: alice("GET", queue),
            "awaited": collected.awaited,
            "some out": lambda queue=queue, ids=ids: alice("DELETE", f"{queue}?ids={','.join(ids)}"),
            "all out": lambda queue=queue: alice("DELETE", queue),
        }
        for name, step in steps.items():
            counts.setdefault(name, []).append(statements(step))
        assert (len(ids), queueing.done(rock).count()) == (count, queueing.MOST_DONE)
    for name, (few, many) in counts.items():
        assert few == many, f"{name}: {few} statements for 2 entries, {many} for 40"
    assert counts["awaited"][0] == 2


def test_transfers(world: None, api: Callable[..., Api], run: Callable[..., dict[str, Any]]) -> None:
    """The list of those that are under way, switched ones with what their node has said, libraries and domains."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA87XWuBJn2PerAcsbHAuAzufLtl4aLjavEPODNG1Rzn"
    run({"nodes": [{"name": "far", "address": "192.0.2.20", "engines": ["icecast"], "host_key": key}]})
    slugs = [f"t{number}" for number in range(12)]
    services = [
        {"slug": slug, "customer": f"c{slug}", "engine": "icecast", "node": "node1", "autodj": {}} for slug in slugs
    ]
    domains = [{"media_service": slug, "name": f"{slug}.example.com"} for slug in slugs]
    run({"customers": [{"username": f"c{slug}"} for slug in slugs], "media_services": services, "domains": domains})
    root = api("root")
    for slug in slugs:
        _status, begun = root("POST", "/transfers", {"services": [slug], "to": "far"})
        place = f"/transfers/{begun['transfer']['id']}/steps"
        held = root("POST", place, {"step": "hold"})[1]["transfer"]["hold"]
        assert root("POST", place, {"step": "switch", "hold": held})[0] == 200
    far = Node.objects.get(name="far")
    told = nodedoc.document(far)
    states = {
        item["slug"]: {"generation": item["generation"], "state": "running", "message": ""} for item in told["services"]
    }
    nodedoc.store_status(far, {"epoch": told["epoch"], "generation": told["generation"], "services": states})
    few = statements(lambda: root("GET", "/transfers?limit=2"))
    many = statements(lambda: root("GET", "/transfers?limit=1000"))
    items = root("GET", "/transfers?limit=1000")[1]["items"]
    shown = [(item["services"][0]["slug"], item["services"][0]["domains"], item["unsettled"]) for item in items]
    assert sorted(shown) == sorted((slug, [f"{slug}.example.com"], "") for slug in slugs)
    assert [[library["customer"] for library in item["libraries"]] for item in items] == [
        [f"c{slug}"] for slug, _names, _why in shown
    ]
    # The token, the transfers, how many they are, and five for what belongs to them.
    assert (few, many) == (8, 8)


def test_services_are_locked_in_one_order_by_all_who_lock_several(
    world: None, run: Callable[..., dict[str, Any]]
) -> None:
    """Otherwise two of them may wait for each other: a batch of a node, and a document that changes all of it."""
    slugs = [f"z{number}" for number in range(4)]
    services = [{"slug": slug, "customer": "bob", "engine": "icecast", "node": "node1"} for slug in slugs]
    run({"media_services": services})
    pks = dict(MediaService.objects.filter(slug__in=slugs).values_list("slug", "pk"))
    node = MediaService.objects.get(slug="z0").node_id
    usage = [(slug, {"slug": slug}) for slug in reversed(slugs)]
    counted = {"month": month_of(timezone.now()), "counter": "a" * 32, "bytes": 1}
    lines = [("", {"slug": slug, **counted}) for slug in ("z3", "z1")]
    with CaptureQueriesContext(connection) as captured:
        collected.store(node, collected.place_of(node).number, Batch({"usage": usage, "transfer": lines}, {}, False))
    said = [query["sql"].replace('"', "").replace("`", "") for query in captured]
    ordered = re.compile(r"SELECT panel_mediaservice\.id AS \w+ FROM .* ORDER BY (1|panel_mediaservice\.id) ASC")
    (locked,) = [number for number, sql in enumerate(said) if ordered.match(sql)]
    if connection.features.has_select_for_update:
        assert "FOR UPDATE" in said[locked]
    stored = [number for number, sql in enumerate(said) if re.search(r"\bpanel_(usage|transfer)\b", sql)]
    assert locked < min(stored), said
    # Who changes them goes through them in the same order, however the document names them.
    with CaptureQueriesContext(connection) as captured:
        run({"media_services": [{"slug": slug, "name": "new"} for slug in reversed(slugs)]})
    upsert = re.compile(r"INSERT INTO .panel_mediaservice. ")
    (write,) = [query["sql"] for query in captured if upsert.match(query["sql"])]
    assert re.findall(r"\bz[0-3]\b", write) == sorted(slugs, key=lambda slug: pks[slug])
