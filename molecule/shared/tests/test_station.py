"""From the API to the air with no command typed: the worker brings a station onto every node that can have one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from testinfra.host import Host

testinfra_hosts = ["streamfleet_panel"]

RUN = secrets.token_hex(3)
"""Names of their own for each run: a deleted service keeps its slug for the days in which it can be restored."""

CUSTOMER = f"molecule-{RUN}"


def wait_for(api: Api, slug: str, states: set[str]) -> dict[str, Any]:
    """The service's status once it is one of `states`, within a minute."""
    deadline = time.monotonic() + 60
    while True:
        _, status = api("GET", f"media-services/{slug}/status")
        if status["state"] in states or time.monotonic() > deadline:
            return dict(status)
        time.sleep(1)


@pytest.fixture
def stations(host: Host, api: Api) -> Iterator[dict[str, str]]:
    """One station on every node with Icecast, slug → node; gone again after the test."""
    nodes = host.ansible.get_variables()["groups"]["icecast"]
    slugs = {f"molecule-{RUN}-{node}": node for node in nodes}
    customer = {"username": CUSTOMER, "name": "Molecule", "email": "molecule@example.com"}
    services = [
        {"slug": slug, "name": "A & B <station>", "customer": CUSTOMER, "engine": "icecast", "node": node}
        for slug, node in slugs.items()
    ]
    status, body = api("POST", "apply", {"document": {"customers": [customer], "media_services": services}})
    assert status == 200, body
    assert body["summary"]["created"] == 1 + len(slugs)
    yield slugs
    gone = [{"slug": slug, "state": "absent"} for slug in slugs]
    document = {"customers": [{"username": CUSTOMER, "state": "absent"}], "media_services": gone}
    assert api("POST", "apply", {"document": document})[0] == 200
    for slug in slugs:
        assert wait_for(api, slug, {"deleted"})["state"] == "deleted"


def test_worker_brings_a_station_to_each_node(host: Host, api: Api, stations: dict[str, str]) -> None:
    for slug, node in stations.items():
        status = wait_for(api, slug, {"running", "failed"})
        assert status["state"] == "running", status
        assert status["observed_generation"] >= status["generation"], status
        port = api("GET", f"media-services/{slug}")[1]["port"]
        # Its own port, from another host: Icecast answers, and nothing of its administration without a password.
        assert host.run("curl -s -o /dev/null -w %%{http_code} http://%s:%s/admin/", node, str(port)).stdout in (
            "401",
            "403",
            "404",
        )
