"""streamfleet_usage_info, on what came as nodes tell it."""

from __future__ import annotations

import json
import time

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner

MODULE = "streamfleet_usage_info"

TELL = """
import json
from streamfleet_panel import collected
from streamfleet_panel.models import MediaService, Node
node = Node.objects.get(name="base1")
item = json.loads('ITEM')
item["uid"] = MediaService.objects.get(slug=item["slug"]).customer.uid
feeds = {"usage": [(item["slug"], item)]}
assert collected.store(node.pk, collected.place_of(node.pk).number, collected.Batch(feeds, {}, False))
"""


def test_use(runner: Runner, panel: Panel) -> None:
    document = {
        "customers": [{"username": "used"}],
        "media_services": [
            {"slug": slug, "customer": "used", "engine": "icecast", "node": "base1", "max_listeners": 50}
            for slug in ("used-fm", "used-am")
        ],
    }
    assert panel.request("POST", "/apply", {"document": document})[0] == 200
    source = {"mount": "/stream", "kind": "encoder", "since": 1795777200, "announced_kbps": 128, "kbps": 131}
    item = {
        "slug": "used-fm", "listeners": 12, "month": time.strftime("%Y-%m", time.gmtime()), "listeners_peak": 40,
        "sources": [source], "disk_bytes": 5 << 20, "library_bytes": None, "drops": [],
    }  # fmt: skip
    panel.manage("shell", "-v", "0", "-c", TELL.replace("ITEM", json.dumps(item)))
    asked = {
        "all": ({"customer": "used"}, ["used-am", "used-fm"]),
        "one": ({"media_service": "used-fm", "engine": "icecast", "node": "base1"}, ["used-fm"]),
        "found": ({"customer": "used", "search": "AM"}, ["used-am"]),
        "none": ({"media_service": "nobody"}, []),
    }
    results = runner.tasks([{"name": name, MODULE: options} for name, (options, _) in asked.items()], check_mode=True)
    for name, (_, meant) in asked.items():
        assert not results[name].get("failed"), results[name]
        assert not results[name]["changed"]
        assert [item["media_service"] for item in results[name]["usage"]] == meant, name
    shown = results["one"]["usage"][0]
    assert (shown["listeners"], shown["listeners_peak"], shown["max_listeners"]) == (12, 40, 50)
    assert (shown["own_files_mb"], shown["library_mb"]) == (5, None)
    assert shown["sources"] == [{**source, "since": "2026-11-27T11:00:00Z"}]
    other = results["found"]["usage"][0]
    assert (other["listeners"], other["sources"], other["reported_at"]) == (None, None, None)
