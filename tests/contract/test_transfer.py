"""streamfleet_transfer and streamfleet_service_copy: steps in the panel, and what a host that is no node is refused."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from action_plugins import streamfleet_converge as action
from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_transfer"
COPY_MODULE = "streamfleet_service_copy"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq2zT0hC6q0m0Yt5m1aYl0tJ0m1Yl5m1aYl0tJ0m1Yl"


def test_a_transfer_is_begun_found_and_undone(runner: Runner, panel: Panel, owner: str) -> None:
    node = {
        "name": "transfer-n2",
        "address": "192.0.2.77",
        "engines": ["icecast"],
        "port_range_start": 10000,
        "port_range_end": 10099,
    }
    service = {"slug": "transfer-fm", "customer": owner, "engine": "icecast", "node": "base1"}
    document = {"nodes": [node], "media_services": [service]}
    assert panel.request("POST", "/apply", {"document": document})[0] == 200
    begun, found = runner.steps(
        Step(MODULE, {"step": "begin", "services": ["transfer-fm"], "to": "transfer-n2"}),
        Step(MODULE, {"step": "find", "customer": owner}, changed=False),
    )
    assert begun.check["transfer"]["id"] is None
    number = begun.real["transfer"]["id"]
    assert found.real["transfer"]["id"] == begun.again["transfer"]["id"] == number
    runner.steps(
        Step(MODULE, {"step": "look", "id": number}, changed=False),
        Step(MODULE, {"step": "look", "id": number + 1000}, changed=False),
        Step(MODULE, {"step": "switch", "id": number}, error="hold"),
        Step(MODULE, {"step": "switch", "id": number, "hold": 1}, error="The transfer is copying"),
        Step(MODULE, {"step": "hold"}, error="id"),
        Step(MODULE, {"step": "hold", "id": number}, again=True),
        Step(MODULE, {"step": "switch", "id": number, "hold": 2}, again=True),
        Step(MODULE, {"step": "undo", "id": number}, again=True),
        Step(MODULE, {"step": "back", "id": number, "hold": 5}, again=True),
        Step(MODULE, {"step": "finish", "id": number}, error="has not reported yet"),
        Step(MODULE, {"step": "begin", "services": ["no-such"], "to": "transfer-n2"}, error="there is no such service"),
        Step(MODULE, {"step": "find"}, error="any of the following are missing"),
    )
    # A node that is dead is not waited for; so it is out of the way of other tests' services, too.
    node = {"name": "transfer-n2", "status": "disabled"}
    assert panel.request("POST", "/apply", {"document": {"nodes": [node]}})[0] == 200
    (done,) = runner.steps(Step(MODULE, {"step": "finish", "id": number}, again=True))
    assert done.again["transfer"] is None


def on_node(panel: Panel, node: str) -> dict[str, Any]:
    """What converge makes there of the channel: files by their paths."""
    status, document = panel.request("GET", f"/nodes/{node}/document")
    assert status == 200
    instances, failed = action.render_all(document)
    assert failed == {}
    files = [file for one in instances if one["slug"] == "transfer-tv" for file in one["files"]]
    return {file["path"].removeprefix("/etc/streamfleet/"): json.loads(file["content"]) for file in files}


def test_what_both_nodes_are_told_of_a_channel_is_what_their_servers_read(panel: Panel, owner: str) -> None:
    nodes = [
        {
            "name": f"transfer-v{n}",
            "address": f"192.0.2.{80 + n}",
            "engines": ["nginx_rtmp"],
            "stream_host": f"v{n}.example.net",
        }
        for n in (1, 2)
    ]
    service = {"slug": "transfer-tv", "customer": owner, "engine": "nginx_rtmp", "node": "transfer-v1"}
    assert panel.request("POST", "/apply", {"document": {"nodes": nodes, "media_services": [service]}})[0] == 200
    key = panel.request("GET", "/media-services/transfer-tv/credentials")[1]["credentials"]["stream_key"]
    known, sent = (hashlib.sha256(f"{what}{key}".encode()).hexdigest() for what in ("", "sent on "))

    def owned(node: str) -> dict[str, Any]:
        secret = hmac.new(key.encode(), f"ticket for {node}".encode(), hashlib.sha256).hexdigest()
        return {"publish-keys/of-transfer-tv.json": {"keys": [{"file": known, "secret": secret}]}}

    assert set(on_node(panel, "transfer-v1")) == {
        f"publish-keys/{known}.json",
        "publish-keys/of-transfer-tv.json",
        "routes/transfer-tv.json",
    }
    one = panel.request("POST", "/transfers", {"services": ["transfer-tv"], "to": "transfer-v2"})[1]["transfer"]["id"]

    def step(name: str, **more: Any) -> None:
        status, answer = panel.request("POST", f"/transfers/{one}/steps", {"step": name, **more})
        assert status == 200, answer

    step("hold")
    held = on_node(panel, "transfer-v1")
    uid = held["routes/transfer-tv.json"]["uid"]
    moved = {"slug": "transfer-tv", "uid": uid, "expires": None}
    assert held == {
        f"publish-keys/moved-{sent}.json": {**moved, "to": None, "node": None},
        "publish-keys/of-transfer-tv.json": {"keys": [], "moved": True},
        "routes/transfer-tv.json": {"uid": uid},
    }
    assert on_node(panel, "transfer-v2") == {}
    step("switch", hold=1)
    assert owned("transfer-v2").items() <= on_node(panel, "transfer-v2").items()
    former = on_node(panel, "transfer-v1")
    assert former[f"publish-keys/moved-{sent}.json"] == {
        **moved,
        "to": "rtmp://192.0.2.82:1935/live",
        "node": "transfer-v2",
    }
    web = {"address": "192.0.2.82", "host": "v2.example.net", "here": "v1.example.net"}
    assert former["routes/transfer-tv.json"] == {"uid": uid, "elsewhere": True, "web": web}
    step("undo")
    assert on_node(panel, "transfer-v1") == {
        **former,
        f"publish-keys/moved-{sent}.json": {**moved, "to": None, "node": "transfer-v2"},
    }
    assert on_node(panel, "transfer-v2") == held
    step("back", hold=3)
    assert owned("transfer-v1").items() <= on_node(panel, "transfer-v1").items()
    assert on_node(panel, "transfer-v2") == {}
    node = {"name": "transfer-v2", "status": "disabled"}
    assert panel.request("POST", "/apply", {"document": {"nodes": [node]}})[0] == 200
    step("finish")


def test_what_cannot_be_copied_is_said(runner: Runner) -> None:
    way = {"transfer": "7", "address": "192.0.2.10", "host_key": KEY}
    runner.steps(
        Step(COPY_MODULE, {"state": "measured", "services": ["no-such-fm"]}, changed=False),
        Step(COPY_MODULE, {"state": "measured", "services": ["../etc"]}, error="is not a slug"),
        Step(COPY_MODULE, {"state": "removed", "transfer": "7", "libraries": [0]}, error="is not the uid of a tenant"),
        Step(COPY_MODULE, {"state": "removed", "libraries": [200001]}, error="transfer"),
        Step(COPY_MODULE, {"state": "served", "transfer": "7"}, error="public_key"),
        Step(COPY_MODULE, {"state": "ready", "templates": ["streamfleet-none@.service"]}, error="has no unit"),
        Step(
            COPY_MODULE, {"state": "compared", "transfer": "7", "given": {"media/200001": "x"}}, error="given: is not"
        ),
        Step(COPY_MODULE, {"state": "copied", **way, "transfer": "../7"}, error="is not the number of a transfer"),
        Step(COPY_MODULE, {"state": "copied", **way, "address": "-o x"}, error="is not an address"),
    )
