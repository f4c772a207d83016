"""streamfleet_media_service_control, with a double of the node that reports what it was asked for."""

from __future__ import annotations

from tests.contract.fake_node import FakeNode
from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_media_service_control"
SLUGS = ("ctl-a", "ctl-broken", "ctl-suspended")


def test_control(runner: Runner, panel: Panel, owner: str) -> None:
    document = {
        "nodes": [
            {"name": "ctl-node", "address": "192.0.2.30", "engines": ["icecast"], "stream_host": "ctl.example.net"}
            | {"port_range_start": 9000, "port_range_end": 9100}
        ],
        "media_services": [
            {"slug": slug, "customer": owner, "engine": "icecast", "node": "ctl-node"} for slug in SLUGS
        ],
    }
    document["media_services"][0] |= {"autodj": {}}
    document["media_services"][2] |= {"suspended": True, "suspend_reason": "unpaid"}
    assert panel.request("POST", "/apply", {"document": document})[0] == 200
    # No other test's service is to land here.
    panel.request("PUT", "/nodes/ctl-node", {"status": "draining"})
    token = panel.request("POST", "/tokens", {"name": "ctl", "scope": "node:ctl-node"})[1]["token"]
    with FakeNode(panel.url, token, "ctl-node") as node:
        stopped, started, restarted, *_ = runner.steps(
            Step(MODULE, {"slug": "ctl-a", "state": "stopped"}),
            Step(MODULE, {"slug": "ctl-a", "state": "started"}),
            Step(MODULE, {"slug": "ctl-a", "state": "restarted"}, again=True),
            Step(MODULE, {"slug": "ctl-a", "state": "skipped"}, again=True),
            Step(MODULE, {"slug": "ctl-broken", "state": "skipped"}, error="ctl-broken has no AutoDJ"),
            Step(MODULE, {"slug": "none", "state": "started"}, error="slug: there is no media service 'none', or none"),
            Step(
                MODULE,
                {"slug": "ctl-suspended", "state": "started"},
                error="service ctl-suspended is suspended (unpaid) and cannot be controlled. Lift the suspension first",
            ),
            Step(MODULE, {"slug": "ctl-a", "state": "paused"}, error="value of state must be one of: started, stopped"),
        )
        assert stopped.real["status"]["state"] == "stopped"
        assert stopped.real["diff"] == {"before": {"state": "running"}, "after": {"state": "stopped"}}
        assert stopped.again["diff"] == {"before": {"state": "stopped"}, "after": {"state": "stopped"}}
        assert started.real["status"]["state"] == "running"
        assert restarted.real["status"]["observed_generation"] >= restarted.real["status"]["generation"]
        assert node.restarts["ctl-a"] == 2, "the node was told of both restarts, and of none in check mode"
        node.failing["ctl-broken"] = "port 9001 is in use by another program"
        results = runner.tasks(
            [
                {"name": "stop", MODULE: {"slug": "ctl-a", "state": "stopped"}},
                {"name": "restart", MODULE: {"slug": "ctl-a", "state": "restarted"}, "ignore_errors": True},
                {"name": "broken", MODULE: {"slug": "ctl-broken", "state": "restarted"}, "ignore_errors": True},
            ]
        )
        assert "service ctl-a is stopped, and only a running one can be restarted" in results["restart"]["msg"]
        assert "has failed on node ctl-node: port 9001 is in use" in results["broken"]["msg"]
        node.silent = True
        results = runner.tasks(
            [
                {"name": "no wait", MODULE: {"slug": "ctl-a", "state": "started", "wait": False}},
                {
                    "name": "patience",
                    MODULE: {"slug": "ctl-a", "state": "stopped", "wait_timeout": 1},
                    "ignore_errors": True,
                },
            ]
        )
        assert results["no wait"]["changed"] is True
        assert "Service ctl-a is pending on node ctl-node after 1 seconds" in results["patience"]["msg"]
        assert "The request stands" in results["patience"]["msg"]
