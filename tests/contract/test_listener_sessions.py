"""streamfleet_listener_session_info, on sessions that came as nodes tell them; and the transfer of a service."""

from __future__ import annotations

import json
import time

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner

MODULE = "streamfleet_listener_session_info"

TELL = """
import json
from streamfleet_panel import collected
from streamfleet_panel.models import Node
node = Node.objects.get(name="base1")
feeds = {name: [("", item) for item in items] for name, items in json.loads('FEEDS').items()}
assert collected.store(node.pk, collected.place_of(node.pk).number, collected.Batch(feeds, {}, False))
"""

TELL_RUNNING = """
import json
from streamfleet_panel import collected
from streamfleet_panel.models import MediaService, Node
node = Node.objects.get(name="base1")
item = json.loads('ITEM')
item["uid"] = MediaService.objects.get(slug=item["slug"]).customer.uid
feeds = {"running": [(item["slug"], item)]}
assert collected.store(node.pk, collected.place_of(node.pk).number, collected.Batch(feeds, {}, False))
"""


def test_sessions_and_transfer(runner: Runner, panel: Panel) -> None:
    document = {
        "customers": [{"username": "heard"}],
        "media_services": [
            {"slug": slug, "customer": "heard", "engine": "icecast", "node": "base1"}
            for slug in ("heard-fm", "heard-am")
        ],
    }
    assert panel.request("POST", "/apply", {"document": document})[0] == 200
    now = time.time()
    sessions = [
        {
            "id": f"{number:032x}", "slug": slug, "source": source, "mount": "/stream", "address": address,
            "agent": "VLC/3", "started": now - 100, "ended": now - number, "bytes": 4000,
        }
        for number, (slug, source, address) in enumerate(
            [
                ("heard-fm", "web", "203.0.113.7"),
                ("heard-fm", "direct", "2001:db8::7"),
                ("heard-am", "direct", "203.0.113.7"),
            ]
        )
    ]  # fmt: skip
    month = time.strftime("%Y-%m", time.gmtime())
    sent = {"slug": "heard-fm", "month": month, "bytes": 5 << 20, "counter": "a" * 32}
    feeds = json.dumps({"sessions": sessions, "transfer": [sent]})
    here = {"source": "web", "mount": "/stream", "address": "", "agent": "Kodi", "started": now - 9, "bytes": None}
    told = {"slug": "heard-fm", "sessions": [here]}
    panel.manage("shell", "-v", "0", "-c", TELL_RUNNING.replace("ITEM", json.dumps(told)))
    for _ in range(2):
        panel.manage("shell", "-v", "0", "-c", TELL.replace("FEEDS", feeds))
    asked = {
        "all": ({"media_service": "heard-fm"}, ["0", "1"]),
        "direct": ({"source": "direct", "since": "2026-01-01T00:00:00Z"}, ["1", "2"]),
        "one": ({"address": "203.0.113.7", "mount": "/stream", "search": "vlc"}, ["0", "2"]),
        "latest": ({"limit": 1}, ["0"]),
        "before": ({"until": "2026-01-01T00:00:00Z"}, []),
        "none": ({"media_service": "nobody"}, []),
    }
    wrong = {"now": {"running": True}, "time": {"since": "yesterday"}, "none at all": {"limit": 0}}
    results = runner.tasks(
        [{"name": name, MODULE: options} for name, (options, _) in asked.items()]
        + [{"name": name, MODULE: options, "ignore_errors": True} for name, options in wrong.items()]
        + [{"name": "running", MODULE: {"media_service": "heard-fm", "running": True}}]
        + [{"name": "service", "streamfleet_media_service_info": {"slug": "heard-fm"}}],
        check_mode=True,
    )
    for name, (_, meant) in asked.items():
        assert not results[name].get("failed"), results[name]
        assert [item["id"][-1] for item in results[name]["listener_sessions"]] == meant, name
    assert results["all"]["listener_sessions"][1]["address"] == "2001:db8::7"
    (running,) = results["running"]["listener_sessions"]
    assert (running["agent"], running["ended_at"], running["bytes"]) == ("Kodi", None, None)
    assert running["seconds"] >= 9
    assert "running: needs a service" in results["now"]["msg"]
    assert results["time"]["failed"]
    assert "since" in results["time"]["msg"]
    assert results["none at all"]["msg"] == "limit is 0; give at least 1."
    shown = results["service"]["media_services"][0]
    assert (shown["transferred_mb"], shown["over_quota"]) == (5, False)
