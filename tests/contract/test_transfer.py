"""streamfleet_transfer and streamfleet_service_copy: steps in the panel, and what a host that is no node is refused."""

from __future__ import annotations

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
