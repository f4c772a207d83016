"""A backup is restored onto a scratch host, compared, played and removed, and nobody else hears of it.

Tests playbooks: restore_rehearsal.yml.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from demo import media
from demo.show import wait_until_running
from demo.stage import NODE, Stage
from tests.live import targets
from tests.live.backups import Site
from tests.live.jobs import StageJobs, succeeded
from tests.live.test_backup import counted
from tests.nodes.errors import NodesError
from tests.nodes.fleet import Fleet
from tests.nodes.spec import NodeSpec

pytestmark = [pytest.mark.live, pytest.mark.full]

SCRATCH, AUDIO = "scratch1", "audio1"
REPORT = "/var/lib/streamfleet-backup/rehearsal.json"
FIGURES = "/var/lib/streamfleet/metrics/streamfleet.prom"
#: Counts what comes from an address to other ports than one (0: to any), and by IPv6, which nothing here uses, at all.
COUNT = (
    "table inet heard {{}}; delete table inet heard; "
    "table inet heard {{ chain i {{ type filter hook input priority -5; "
    "ip saddr {address} tcp dport != {port} counter; ip saddr {address} meta l4proto != tcp counter; "
    'iifname != "lo" meta nfproto ipv6 meta l4proto != icmpv6 counter; }}; }}'
)
#: Whether a port of an address is reached by TCP.
REACH = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


def on(stage: Stage, node: str, script: str) -> str:
    """What a script prints on a node of the fleet."""
    return Fleet(stage.fleet).exec(node, ["sh", "-c", script]).stdout.strip()


def heard(stage: Stage, node: str) -> int:
    """Packets that have come to a node, and should not."""
    found = re.findall(r"counter packets (\d+)", on(stage, node, "nft list table inet heard"))
    assert len(found) == 3
    return sum(map(int, found))


def reaches(stage: Stage, user: str, address: str, port: int) -> bool:
    """Whether what runs as this user on the scratch host gets out to there."""
    command = ["runuser", "-u", user, "--", "python3", "-c", REACH, address, str(port)]
    return Fleet(stage.fleet).exec(SCRATCH, command, check=False).returncode == 0


def figure(stage: Stage, name: str) -> float | None:
    found = re.search(rf"^{name} ([0-9.]+)$", stage.on_node(["cat", FIGURES]), re.MULTILINE)
    return float(found[1]) if found else None


def test_a_backup_is_rehearsed_behind_a_fence(platform: Stage, tmp_path: Path) -> None:
    keeper = targets.start(platform.fleet)
    scratch = Fleet(platform.fleet).up([NodeSpec(SCRATCH, "bookworm")]).nodes[SCRATCH].address
    site, api, slug = Site(platform, tmp_path), platform.api(), f"s{secrets.token_hex(3)}"
    site.more = keeper.rest("rehearsed")
    groups: dict[str, Any] = {"backup": {"hosts": {NODE: {}}}, "rehearsal": {"hosts": {SCRATCH: {}}}}
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    document = {
        "customers": [{"username": slug, "name": slug, "email": "s@live.example"}],
        "media_services": [{"slug": slug, "name": slug, "customer": slug, "engine": "icecast"}],
    }
    api.request("POST", "/apply", {"document": document})
    site.play("install", "--tags", "backup")
    wait_until_running(api, (slug,), 120)
    # What an ACME client keeps; the scratch host has an authority of its own, and neither that client nor its units.
    on(platform, NODE, "id streamfleet-acme || useradd --system --user-group streamfleet-acme")
    on(platform, NODE, "install -d -o streamfleet-acme -g streamfleet-acme /var/lib/streamfleet/certificates/client")
    on(platform, NODE, "install -o streamfleet-acme /dev/null /var/lib/streamfleet/certificates/client/account")
    site.play("backup")
    snapshot = site.status()["result"]["snapshot"]
    for node, port in ((NODE, 0), (targets.KEEPER, 8444)):
        on(platform, node, f"nft '{COUNT.format(address=scratch, port=port)}'")

    # The restored worker knows the node by the address that it has in production.
    with counted(platform, api, slug):
        site.play("restore_rehearsal", "-e", "rehearsal_keep=yes")
    told = json.loads(site.sh(f"cat {REPORT}"))
    assert (told["succeeded"], told["host"], told["on"], told["why"]) == (True, NODE, SCRATCH, ""), told
    assert told["snapshot"].startswith(snapshot)
    assert told["compared"] == told["equal"] > 10
    assert "Hz" in told["stream"], told
    assert (heard(platform, NODE), heard(platform, targets.KEEPER)) == (0, 0)
    restored = json.loads(on(platform, SCRATCH, "streamfleet-panel fleet_report"))
    assert restored["services"].get("running", 0) > 0, restored
    for user in ("root", "streamfleet-panel", "streamfleet-worker"):
        assert not reaches(platform, user, keeper.address, 8444), user
        assert not reaches(platform, user, platform.address, 22), user
        assert reaches(platform, user, "127.0.0.1", 443), user
    shut_in(platform)
    # It holds over a restart.
    Fleet(platform.fleet).reboot(SCRATCH)
    assert not reaches(platform, "root", keeper.address, 8444)
    with pytest.raises(NodesError):
        Fleet(platform.fleet).exec(NODE, ["python3", "-c", REACH, scratch, "443"])
    entry = api.request("GET", "/audit-log", query={"kind": "backup", "key": NODE}).data["items"][0]
    assert (entry["action"], entry["actor"]) == ("rehearsed", "rehearsal of a backup")
    assert "succeeded" in site.sh("journalctl -q -t streamfleet-backup --output=cat | grep '^rehearsal' | tail -1")
    assert wait_for_figure(platform, "streamfleet_host_rehearsal_succeeded", 1)

    # What was kept is removed first. A repository that has lost its content is told, and nothing is left of either.
    begun = told["begun"]
    keeper.sh("cd /srv/backups/rest/keeper/rehearsed/data && find . -type f -size +20k -delete")
    failed = site.refused("restore_rehearsal")
    assert f"The backup of {NODE} could not be restored onto {SCRATCH}" in failed
    told = json.loads(site.sh(f"cat {REPORT}"))
    assert told["succeeded"] is False, told
    assert told["why"].startswith("restore.yml has failed on the scratch host: restore failed, phase compare:"), told
    assert "damaged or incomplete" in told["why"], told
    assert (told["kept"], told["begun"] > begun) == (False, True)
    assert wait_for_figure(platform, "streamfleet_host_rehearsal_succeeded", 0)
    entry = api.request("GET", "/audit-log", query={"kind": "backup", "key": NODE}).data["items"][0]
    assert entry["action"] == "rehearsal_failed"
    assert "may not come back when it is needed" in site.refused("self_check")
    nothing_is_left(platform)
    assert (heard(platform, NODE), heard(platform, targets.KEEPER)) == (0, 0)
    site.sh(f"rm {REPORT}")
    wrong_scratch_hosts(site, groups)


def test_a_node_without_a_panel_is_rehearsed(tmp_path: Path) -> None:
    stage, slug = Stage(f"node{secrets.token_hex(3)}", tmp_path / "stage"), f"s{secrets.token_hex(3)}"
    site = Site(stage, tmp_path)
    try:
        stage.start()
        keeper = targets.start(stage.fleet)
        known = Fleet(stage.fleet).up([NodeSpec(AUDIO, "bookworm"), NodeSpec(SCRATCH, "bookworm")]).nodes
        # Each host has a repository of its own.
        site.more = keeper.rest("{{ inventory_hostname }}")
        node = {"hosts": {AUDIO: {"streamfleet_stream_host": f"{AUDIO}.demo.localhost"}}}
        groups = dict.fromkeys(("streamfleet_nodes", "icecast", "autodj", "backup"), node)
        (tmp_path / "groups.json").write_text(json.dumps(groups | {"rehearsal": {"hosts": {SCRATCH: {}}}}))
        site.play("install")
        stage.hand_over()
        library(site, slug, tmp_path / "music")
        site.play("backup")
        for name, port in ((NODE, 0), (AUDIO, 0), (targets.KEEPER, 8444)):
            on(stage, name, f"nft '{COUNT.format(address=known[SCRATCH].address, port=port)}'")
        succeeded(rehearsing(site).launch("restore rehearsal", rehearsal_of=AUDIO))
        told = json.loads(on(stage, AUDIO, f"cat {REPORT}"))
        assert (told["succeeded"], told["host"], told["on"], told["why"]) == (True, AUDIO, SCRATCH, ""), told
        assert told["compared"] == told["equal"] > 3
        # Its services are the panel's.
        assert (told["stream"], told["database"], told["elsewhere"], told["kept"]) == ("", "", [], False), told
        entry = stage.api().request("GET", "/audit-log", query={"kind": "backup", "key": AUDIO}).data["items"][0]
        assert entry["action"] == "rehearsed"
        assert [heard(stage, name) for name in (NODE, AUDIO, targets.KEEPER)] == [0, 0, 0]
        nothing_is_left(stage)
        # A library that is not whole there is not whole here.
        keeper.sh(f"cd /srv/backups/rest/keeper/{AUDIO}/data && find . -type f -size +100k -delete")
        assert f"The backup of {AUDIO} could not be restored onto {SCRATCH}" in site.refused("restore_rehearsal")
        assert "damaged or incomplete" in on(stage, AUDIO, f"cat {REPORT}")
        nothing_is_left(stage)
    finally:
        stage.remove()


def rehearsing(site: Site) -> StageJobs:
    """AWX with an inventory that says what runs by hand are given."""
    variables, groups = (json.loads((site.folder / name).read_text()) for name in ("variables.json", "groups.json"))
    more = site.folder / "job.yml"
    more.write_text(json.dumps({"all": {"vars": variables, "children": groups}}))
    return StageJobs(site.stage, site.folder, str(more), limit=None)


def library(site: Site, slug: str, folder: Path) -> None:
    """A station on the node that plays a file of its customer's library."""
    document = {
        "customers": [{"username": slug, "name": slug, "email": "s@live.example"}],
        "media_services": [
            {"slug": slug, "name": slug, "customer": slug, "engine": "icecast", "node": AUDIO, "autodj": {}}
        ],
        "playlists": [{"media_service": slug, "name": "night", "folder": "night"}],
    }
    site.stage.api().request("POST", "/apply", {"document": document})
    wait_until_running(site.stage.api(), (slug,), 180)
    (folder / "night").mkdir(parents=True)
    subprocess.run(media.recording(folder / "night" / "one.mp3", media.MUSIC), check=True, timeout=60)
    given = json.dumps({"media_folder_customer": slug, "media_folder_src": str(folder)})
    site.play("media_folder", "-e", given)


def shut_in(stage: Stage) -> None:
    """The worker has no key of the fleet's; rules that are flushed come back; without them nothing runs."""
    inside = "nsenter --target $(systemctl show -P MainPID streamfleet-worker) --mount"
    seen = f"{inside} cat /etc/streamfleet/worker/id_ed25519.pub"
    key = stage.on_node(["cat", "/etc/streamfleet/worker/id_ed25519.pub"]).strip()
    assert on(stage, SCRATCH, "cat /etc/streamfleet/worker/id_ed25519.pub") == key
    assert on(stage, SCRATCH, seen) == on(stage, SCRATCH, "cat /etc/streamfleet-rehearsal/id_ed25519.pub") != key
    table, state = "nft list table inet streamfleet_rehearsal", "systemctl is-active streamfleet-worker || true"
    on(stage, SCRATCH, "systemctl enable --now nftables && systemctl restart nftables")
    # systemctl waits for the one unit that it names.
    assert "policy drop" in on(stage, SCRATCH, f"for n in $(seq 50); do {table} && exit; sleep 0.2; done; exit 1")
    on(stage, SCRATCH, "systemctl stop nftables")
    assert on(stage, SCRATCH, state) == "inactive"
    # Whoever starts it gets the fence first, or nothing.
    on(stage, SCRATCH, "mv /etc/streamfleet-rehearsal/fence.nft /etc/streamfleet-rehearsal/away")
    on(stage, SCRATCH, "! systemctl start streamfleet-worker")
    assert on(stage, SCRATCH, state) == "inactive"
    on(stage, SCRATCH, "mv /etc/streamfleet-rehearsal/away /etc/streamfleet-rehearsal/fence.nft")
    on(stage, SCRATCH, "systemctl start streamfleet-worker")
    assert "policy drop" in on(stage, SCRATCH, table)


def nothing_is_left(stage: Stage) -> None:
    """The scratch host is as it was before a rehearsal."""
    places = "/etc/streamfleet* /var/lib/streamfleet* /opt/streamfleet /run/streamfleet-rehearsal"
    assert on(stage, SCRATCH, f"ls -d {places} 2>/dev/null || true") == ""
    assert "rehearsal" not in on(stage, SCRATCH, "nft list ruleset; getent group; ls /etc/systemd/system")
    assert on(stage, SCRATCH, "systemctl list-units --all --failed --plain --no-legend") == ""


def wrong_scratch_hosts(site: Site, groups: dict[str, Any]) -> None:
    """What would be harmed is refused, and nothing is done."""
    path = site.folder / "groups.json"
    path.write_text(json.dumps(groups | {"rehearsal": {"hosts": {NODE: {}}}}))
    assert "take it out of one of them" in site.refused("restore_rehearsal")
    path.write_text(json.dumps(groups | {"rehearsal": {"hosts": {SCRATCH: {"ansible_host": site.stage.address}}}}))
    assert "which is that of a host of the fleet" in site.refused("restore_rehearsal")
    path.write_text(json.dumps(groups))
    assert "Unknown: rehearsal_off" in site.refused("restore_rehearsal", "-e", "rehearsal_off=x")
    refused = site.refused("restore_rehearsal", "-e", "rehearsal_of=x")
    assert "rehearsal_of is x, which is not in the group backup" in refused
    on(site.stage, SCRATCH, "mkdir -p /etc/streamfleet")
    assert "has a Streamfleet or a PostgreSQL that is no rehearsal's" in site.refused("restore_rehearsal")
    on(site.stage, SCRATCH, "rmdir /etc/streamfleet && mkdir /run/streamfleet-rehearsal")
    assert "Nothing was rehearsed: A rehearsal works on scratch1" in site.refused("restore_rehearsal")
    on(site.stage, SCRATCH, "rmdir /run/streamfleet-rehearsal")
    assert site.sh(f"ls {REPORT} 2>/dev/null || true") == ""


def wait_for_figure(stage: Stage, name: str, value: float) -> bool:
    """Whether the watchdog, which writes every half a minute, tells it."""
    deadline = time.monotonic() + 90
    while figure(stage, name) != value and time.monotonic() < deadline:
        time.sleep(2)
    return figure(stage, name) == value
