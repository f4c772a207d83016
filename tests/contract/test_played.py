"""streamfleet_played_info."""

from __future__ import annotations

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner

MODULE = "streamfleet_played_info"


def test_a_station_that_has_played_nothing_yet(runner: Runner, panel: Panel, owner: str) -> None:
    slug = f"{owner[:50].rstrip('-')}-fm"
    service = {"slug": slug, "customer": owner, "engine": "icecast"}
    assert panel.request("POST", "/apply", {"document": {"media_services": [service]}})[0] == 200
    asked = {
        "all": {},
        "some": {"since": "2026-11-27T08:00:00Z", "limit": 10},
        "many": {"limit": 1001},
        "other": {"media_service": "none-such"},
        "never": {"since": "yesterday"},
    }
    tasks = [
        {"name": name, MODULE: {"media_service": slug, **options}, "ignore_errors": True}
        for name, options in asked.items()
    ]
    results = runner.tasks(tasks, check_mode=True)
    nothing = {"media_service": slug, "dj": None, "connected": [], "reported_at": None, "last": None}
    for name in ("all", "some"):
        found = results[name]
        assert (found["changed"], found["played"], found["air"]) == (False, [], nothing)
        assert found["passed_over"] == {"media_service": slug, "count": 0, "items": [], "reported_at": None}
    assert "limit: 1001 is not from 1 to 1000" in results["many"]["msg"]
    assert "There is no media service none-such" in results["other"]["msg"]
    assert "since" in results["never"]["msg"]
