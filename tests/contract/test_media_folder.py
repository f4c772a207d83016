"""streamfleet_media_folder against a real panel; what it sends is in tests/live/test_media_folder.py.

Tests playbooks: media_folder.yml. That it brings music to the air is in tests/demo.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import ROOT, Runner, Step

MODULE = "streamfleet_media_folder"


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    (folder / "day").mkdir(parents=True)
    (folder / "day" / "a.mp3").write_text("not looked into")
    return folder


def test_what_is_wrong_is_named_before_anything_is_sent(
    runner: Runner, owner: str, music: Path, tmp_path: Path
) -> None:
    me = {"customer": owner, "src": str(music)}
    (tmp_path / "empty").mkdir()
    runner.steps(
        Step(MODULE, {**me, "customer": "nobody"}, error="customer: 'nobody' is not known to the panel"),
        Step(MODULE, {**me, "src": "/no/such/folder"}, error="src: '/no/such/folder' is no folder on the controller"),
        Step(MODULE, {**me, "dest": "../other"}, error="dest: '../other' is no folder of a media library"),
        Step(MODULE, {**me, "src": str(tmp_path / "empty"), "delete": True}, error="holds nothing that can be played"),
        Step(MODULE, {**me, "token": "sft_wrong"}, error="token"),
        Step(MODULE, me, error=f"customer: '{owner}' has no media library here"),
    )


def test_a_library_to_come_is_predicted(runner: Runner, panel: Panel, owner: str, music: Path) -> None:
    (result,) = runner.tasks(
        [{"name": "check", MODULE: {"customer": owner, "src": str(music), "dest": "day"}, "check_mode": True}]
    ).values()
    uid = panel.request("GET", f"/customers/{owner}")[1]["uid"]
    assert result["changed"]
    assert result["sent"] == ["day/a.mp3"]
    assert result["library"] == f"/var/lib/streamfleet/media/{uid}"


def test_a_library_is_looked_into(runner: Runner, panel: Panel, owner: str) -> None:
    """streamfleet_media_folder_info; what it finds is in tests/live/test_media_folder.py."""
    service = {"slug": f"{owner[:40].rstrip('-')}-in", "customer": owner, "engine": "icecast", "autodj": {}}
    assert panel.request("POST", "/apply", {"document": {"media_services": [service]}})[0] == 200
    module = f"{MODULE}_info"
    tasks = {
        "found": {"customer": owner},
        "nobody": {"customer": "nobody"},
        "outside": {"customer": owner, "folder": "../other"},
        "many": {"customer": owner, "limit": 10001},
    }
    results = runner.tasks([{"name": name, module: args, "ignore_errors": True} for name, args in tasks.items()])
    uid = panel.request("GET", f"/customers/{owner}")[1]["uid"]
    found = results["found"]
    assert (found["library"], found["exists"], found["files"]) == (f"/var/lib/streamfleet/media/{uid}", False, [])
    assert (found["count"], found["changed"]) == (0, False)
    assert "customer: 'nobody' is not known to the panel" in results["nobody"]["msg"]
    assert "folder: '../other' is no folder of a media library" in results["outside"]["msg"]
    assert "limit: 10001 is not from 0 to 10000" in results["many"]["msg"]


def test_the_playbook_finds_the_nodes_or_says_why_not(runner: Runner, panel: Panel, owner: str, music: Path) -> None:
    answers = {"media_folder_customer": owner, "media_folder_src": str(music)}

    def refused(**changes: str) -> str:
        code, results, _ = runner.playbook(ROOT / "playbooks" / "media_folder.yml", {**answers, **changes})
        assert code != 0
        return "\n".join(str(result.get("msg")) for result in results.values() if result.get("failed"))

    assert "Unknown: media_folder_sorce. Use media_folder_ followed by one of" in refused(media_folder_sorce="x")
    assert f"Customer {owner} has no station with an AutoDJ" in refused()
    services = [
        {"slug": f"{owner[:40].rstrip('-')}-fm", "customer": owner, "engine": "icecast", "autodj": {}},
        {"slug": f"{owner[:40].rstrip('-')}-tv", "customer": owner, "engine": "nginx_rtmp"},
    ]
    assert panel.request("POST", "/apply", {"document": {"media_services": services}})[0] == 200
    assert "Not in this inventory: base1" in refused()
    code, results, _ = runner.playbook(ROOT / "playbooks" / "media_folder.yml", {**answers, "media_folder_src": " "})
    assert code != 0
    assert any("media_folder_src is empty" in str(item) for item in results.values())
