"""The watchdog of a node that is on the air: what is hung is restarted, that alone, and whoever owns it reads why.

Tests roles: common.
"""

from __future__ import annotations

import secrets
import time

import pytest

from demo.stage import Stage
from tests.live.test_operations import processes
from tests.live.test_platform import account, apply, running, station

pytestmark = [pytest.mark.live, pytest.mark.full]


def test_a_hung_station_is_restarted_and_its_owner_reads_why(platform: Stage) -> None:
    name = f"t{secrets.token_hex(4)}"
    slugs = [f"{name}-a", f"{name}-b"]
    apply(platform, {"customers": [account(name)], "media_services": [station(name, slug) for slug in slugs]})
    running(platform, *slugs)
    hung, other = (f"streamfleet-icecast@{slug}.service" for slug in slugs)
    before = processes(platform, hung, other)
    platform.on_node(["systemctl", "kill", "--signal=STOP", hung])
    deadline = time.monotonic() + 150
    while (now := processes(platform, hung, other))[hung] in (before[hung], "0"):
        assert time.monotonic() < deadline, platform.on_node(["journalctl", "-u", "streamfleet-watch", "-n", "20"])
        time.sleep(1)
    assert now[other] == before[other]
    said = platform.on_node(["journalctl", "-o", "cat", "-u", "streamfleet-watch.service"])
    assert f"{hung} was hung: a signal held its processes (SIGSTOP), twice within 30 seconds. It was restarted" in said
    figures = platform.on_node(["cat", "/var/lib/streamfleet/metrics/streamfleet.prom"])
    assert 'streamfleet_host_certificate_not_after_timestamp_seconds{host="stream.demo.localhost"}' in figures
    told: list[dict[str, object]] = []
    while not told:
        assert time.monotonic() < deadline + 150, "the panel does not hear of it"
        items = platform.api().request("GET", "/audit-log?limit=100").data["items"]
        told = [item for item in items if (item["action"], item["key"]) == ("restarted", slugs[0])]
        time.sleep(2)
    assert told[0]["actor"] == "node:demo1"
    assert f'unit="{hung}"' in platform.on_node(["cat", "/var/lib/streamfleet/metrics/streamfleet.prom"])
    apply(platform, {"customers": [{"username": name, "state": "absent"}]})
