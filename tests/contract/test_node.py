"""streamfleet_node."""

from __future__ import annotations

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step
from tests.ports import free_port

MODULE = "streamfleet_node"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq2zT0hC6q0m0Yt5m1aYl0tJ0m1Yl5m1aYl0tJ0m1Yl"
NODE = {
    "name": "n1",
    "address": "192.0.2.20",
    "engines": ["icecast"],
    "stream_host": "n1.example.net",
    "port_range_start": 8000,
    "port_range_end": 8001,
}


def test_from_nothing_to_nothing(runner: Runner) -> None:
    created, *_, drained, _ = runner.steps(
        # Disabled from the start, so that no other test's service lands here.
        Step(MODULE, {**NODE, "host_key": KEY, "facts": {"distribution": "Debian"}, "status": "disabled"}),
        Step(MODULE, {**NODE, "max_media_services": 5}),
        Step(MODULE, {"name": "n1", "facts": {"distribution": "Debian", "version": "12"}}),
        Step(MODULE, {"name": "n1", "max_media_services": None, "status": "draining"}),
        Step(MODULE, {"name": "n1", "state": "absent"}),
    )
    assert created.real["node"]["host_key"] == KEY
    assert created.real["node"]["facts"] == {"distribution": "Debian"}
    assert drained.real["node"]["status"] == "draining"


def test_bad_input(runner: Runner, panel: Panel, owner: str) -> None:
    document = {"media_services": [{"slug": "holds-a-node", "customer": owner, "engine": "icecast", "node": "base1"}]}
    assert panel.request("POST", "/apply", {"document": document})[0] == 200
    runner.steps(
        Step(MODULE, {**NODE, "engines": ["winamp"]}, error="names an engine that does not exist: winamp"),
        Step(MODULE, {**NODE, "port_range_start": 9, "port_range_end": 8}, error="port_range"),
        Step(MODULE, {**NODE, "host_key": "no key"}, error="host_key: has a form that is not accepted"),
        Step(MODULE, {**NODE, "address": "x; reboot"}, error="address: has a form that is not accepted"),
        Step(MODULE, {"name": "base1", "state": "absent"}, error="base1"),
    )


def test_before_there_is_a_panel(runner: Runner) -> None:
    """What install.yml needs: in check mode on a fresh host, an absent panel means that everything will be created."""
    nobody = f"http://127.0.0.1:{free_port()}"
    task = {"check_mode": True, "diff": True, "ignore_errors": True}
    hopeful = {**NODE, "url": nobody, "check_without_panel": True}
    results = runner.tasks(
        [
            {"name": "hopeful", MODULE: hopeful, **task},
            {"name": "no token yet", MODULE: {**NODE, "check_without_panel": True, "token": ""}, **task},
            {"name": "no CA yet", MODULE: {**hopeful, "url": "https://127.0.0.1", "ca_path": "/none.pem"}, **task},
            {"name": "wrong", MODULE: {**hopeful, "url": "panel"}, **task},
            {"name": "strict", MODULE: {**NODE, "url": nobody}, **task},
            {"name": "for real", MODULE: hopeful, **task, "check_mode": False},
        ]
    )
    for name in ("hopeful", "no token yet", "no CA yet"):
        assert results[name]["changed"] is True, results[name]
        assert results[name]["predicted"] is True
        assert results[name]["operation"] == "created"
        assert results[name]["warnings"][0].startswith("Predicted without a panel: ")
    assert "url 'panel' must be an https:// address" in results["wrong"]["msg"], "a mistake is not a fresh host"
    for name in ("strict", "for real"):
        assert "refused the connection. Check url (STREAMFLEET_URL), and that the panel runs." in results[name]["msg"]
        assert not results[name]["changed"]
