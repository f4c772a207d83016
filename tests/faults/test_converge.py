"""Converge killed at any moment, with a full disk, with the network cut: the next run finishes the work."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from demo.stage import STREAM_HOST, Stage
from tests.faults.conftest import ROUNDS
from tests.live.streams import Listener, Source, on_air
from tests.live.test_platform import apply, published, settled, station, tenant  # noqa: F401

pytestmark = pytest.mark.live

WORKER = "streamfleet-worker.service"


#: Of a run: the worker's Ansible, and the module wherever it is on the node. The brackets keep the pattern from
#: matching the shell that it stands in.
PROGRAMS = "[a]nsible-playbook|[A]nsiballZ|[s]treamfleet_node_apply"


def met(patience: int) -> str:
    """Shell: wait for a run, ``patience`` twentieths of a second at most, and print how many processes it has."""
    wait = f"for n in $(seq {patience}); do pgrep -f '{PROGRAMS}' >/dev/null && break; sleep 0.05; done"
    return f"{wait}; pgrep -fc '{PROGRAMS}'; "


def kill_everything_of_a_run(platform: Stage) -> bool:
    """SIGKILL to the worker, its Ansible processes, and the module; whether there was a run at work."""
    kill = f"systemctl kill --kill-whom=all -s KILL {WORKER}; pkill -KILL -f '{PROGRAMS}'; true"
    return int(platform.on_node(["sh", "-c", met(20) + kill])) > 0


def recovers(platform: Stage, *slugs: str, seconds: float = 120) -> None:
    """Wait until services that may be failed now are running."""
    deadline = time.monotonic() + seconds
    for slug in slugs:
        while (status := platform.api().request("GET", f"/media-services/{slug}/status").data)["state"] != "running":
            assert time.monotonic() < deadline, status
            time.sleep(0.5)


def half_written(platform: Stage) -> str:
    """Files that an atomic write left behind, outside of a run."""
    return platform.on_node(["sh", "-c", "find /etc/streamfleet -name '*.tmp*' -o -name '.*.new' | head"]).strip()


def test_killed_at_any_moment(platform: Stage, tenant: str, chance: random.Random) -> None:  # noqa: F811
    witness = f"{tenant}-w"
    churn = [f"{tenant}-c{n}" for n in range(8)]
    apply(platform, {"media_services": [station(tenant, slug) for slug in (witness, *churn)]})
    recovers(platform, witness, *churn)
    address, port, password = published(platform, witness)
    with on_air(Source(address, port, "/stream", password)) as source:
        listener = Listener(address, 443, STREAM_HOST, f"/listen/{witness}/stream", str(platform.ca))
        listener.start()
        assert listener.playing.wait(20), listener.heard

        def change(name: str) -> list[dict[str, Any]]:
            comers = [station(tenant, f"{tenant}-n{name}-{n}") for n in range(3)]
            changes = [{"slug": slug, "genre": f"round {name} {slug}"} for slug in churn]
            apply(platform, {"media_services": [*changes, *comers]})
            return comers

        began = time.monotonic()
        change("whole")
        settled(platform)
        lasts = time.monotonic() - began
        hit = 0
        for number in range(ROUNDS):
            # Spread over a whole run, each within its own part of it.
            delay = lasts * (number + chance.uniform(0.2, 0.8)) / ROUNDS
            comers = change(str(number))
            time.sleep(delay)
            hit += kill_everything_of_a_run(platform)
            platform.on_node(["systemctl", "start", WORKER])
            settled(platform)
            recovers(platform, *churn, *(one["slug"] for one in comers))
            for slug in churn:
                config = platform.on_node(["cat", f"/etc/streamfleet/instances/icecast/{slug}/icecast.xml"])
                assert f"round {number} {slug}" in config, f"round {number}, killed after {delay:.2f} s"
            assert half_written(platform) == "", f"round {number}, killed after {delay:.2f} s"
        heard = listener.stop()
        assert source.error is None
    assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
    print(f"a run lasts {lasts:.1f} s; {hit} of {ROUNDS} kills met one at work")
    assert hit * 2 >= ROUNDS


def test_a_full_disk_fails_the_new_service_and_nothing_else(platform: Stage, tenant: str) -> None:  # noqa: F811
    old, new = f"{tenant}-a", f"{tenant}-b"
    apply(platform, {"media_services": [station(tenant, old)]})
    recovers(platform, old)
    address, port, password = published(platform, old)
    place = "/etc/streamfleet/instances"
    fill = (
        f"cp -a {place} /root/instances.kept && mount -t tmpfs -o size=8m,mode=0755 tmpfs {place} && "
        f"cp -a /root/instances.kept/. {place}/ && dd if=/dev/zero of={place}/filler bs=4k 2>/dev/null; df {place}"
    )
    platform.on_node(["sh", "-c", fill])
    try:
        with on_air(Source(address, port, "/stream", password)) as source:
            apply(platform, {"media_services": [station(tenant, new)]})
            deadline = time.monotonic() + 60
            while True:
                status = platform.api().request("GET", f"/media-services/{new}/status").data
                if status["state"] == "failed" or time.monotonic() > deadline:
                    break
                time.sleep(0.5)
            assert status["state"] == "failed", status
            assert "space" in status["message"].lower(), status
            assert platform.api().request("GET", f"/media-services/{old}/status").data["state"] == "running"
            assert source.error is None
            platform.on_node(["rm", f"{place}/filler"])
            platform.api().request("POST", "/nodes/demo1/converge")
            recovers(platform, new, seconds=120)
            assert source.error is None
    finally:
        keep = f"cp -a {place}/. /root/instances.kept/ && umount {place} && cp -a /root/instances.kept/. {place}/"
        platform.on_node(["sh", "-c", f"{keep} && rm -rf /root/instances.kept {place}/filler"])


def test_a_cut_network_is_retried(platform: Stage, tenant: str) -> None:  # noqa: F811
    slug = f"{tenant}-a"
    cut = "add table inet fault; add chain inet fault i { type filter hook input priority -300; }; "
    cut += "add rule inet fault i tcp dport 22 drop"
    settled(platform)
    last = platform.api().request("GET", "/nodes/demo1/runs").data["items"][0]["id"]
    apply(platform, {"media_services": [station(tenant, slug)]})
    try:
        # In the middle: while the run is at work, over a connection that it has.
        assert int(platform.on_node(["sh", "-c", met(400) + f"nft '{cut}'"])) > 0
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            run = platform.api().request("GET", "/nodes/demo1/runs").data["items"][0]
            if run["id"] > last and run["attempts"] >= 2:
                break
            time.sleep(1)
        assert run["id"] > last
        assert run["attempts"] >= 2, run
        assert run["state"] != "succeeded", run
    finally:
        platform.on_node(["nft", "delete table inet fault"])
    recovers(platform, slug, seconds=330)
