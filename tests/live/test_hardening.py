"""Hardening of a real node that is on the air, seen from another node.

``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests playbooks: hardening.yml.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from demo.media import video_publisher
from tests.doubles.panel import station
from tests.live.bans import OTHER, Watched, banned, counted_by, soon
from tests.live.node import NODE, changed_tasks, counted
from tests.live.scan import scan

pytestmark = pytest.mark.live

SLUG, UID, PORT = "rock-fm", 200001, 8100
STRANGE = 9200
#: A scan of all ports takes its time: where it is looked at again, it is as far as this.
LAST = 10000
#: Somebody else's program on the node, for everybody, IPv4 and IPv6.
PROGRAM = f"systemd-run --quiet --unit=strange python3 -m http.server --bind :: {STRANGE}"
#: As on an ordinary host; but what they begin does nothing, so that it does not come between the tests.
TIMERS = """
for unit in apt-daily apt-daily-upgrade; do
  folder=/etc/systemd/system/$unit.service.d
  mkdir -p $folder
  printf '[Service]\\nExecStartPre=\\nExecStart=\\nExecStart=/bin/true\\n' >$folder/nothing.conf
done
systemctl unmask apt-daily.timer apt-daily-upgrade.timer 2>&1
systemctl daemon-reload
"""
RULES = "/etc/streamfleet/nftables/firewall.nft"
PARTS = ["firewall", "fail2ban", "updates"]
#: What else refuses, besides SSH.
MORE = """\
---
- name: Have more that refuses
  hosts: streamfleet_nodes
  become: true
  roles: [common, nginx_rtmp]
"""
STRANGER = [
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=3", "-o", "StrictHostKeyChecking=no"),
    *("-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
]
#: A connection to SSH on another node that begins at once and is used when /run/go is there. /run/held: what came.
HOLD = """\
import os, socket, sys, time
with socket.create_connection((sys.argv[1], 22), timeout=5) as link:
    link.recv(255)
    open('/run/holding', 'w').close()
    while not os.path.exists('/run/go'):
        time.sleep(0.2)
    link.sendall(b'SSH-2.0-hold\\r\\n')
    open('/run/held', 'w').write(str(len(link.recv(4096))))
"""
#: A listener on another node, who counts what is heard.
LISTEN = """\
import sys, time, urllib.request
stream, heard = urllib.request.urlopen(sys.argv[1]), 0
while piece := stream.read(4096):
    heard += len(piece)
    open('/run/heard', 'w').write(str(heard))
"""
#: The table, or nothing where there is none; where that cannot be said, it fails.
LISTED = (
    "tables=$(nft list tables) || exit 1; case $tables in *streamfleet_firewall*) "
    "nft --stateless list table inet streamfleet_firewall;; esac"
)


class Site(Watched):
    """A node with a station, and another node from which it is looked at."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        groups: dict[str, Any] = {name: {"hosts": {NODE: {}}} for name in ("streamfleet_nodes", "icecast", "hardening")}
        (folder / "groups.json").write_text(json.dumps(groups))

    def harden(self, *arguments: str, parts: Sequence[str] = ("firewall",), ok: bool = True, **more: Any) -> str:
        """playbooks/hardening.yml with these parts; its output."""
        variables = {
            "streamfleet_hardening": list(parts),
            "streamfleet_stream_host": "stream.hardening.test",
            "streamfleet_node_port_range_start": 8100,
            "streamfleet_node_port_range_end": 8199,
            "streamfleet_firewall_close_others": True,
            **more,
        }
        path = self.folder / "variables.json"
        path.write_text(json.dumps(variables))
        return self.play("playbooks/hardening.yml", "-e", f"@{path}", *arguments, ok=ok)

    def entry(self, role: str, entry: str, ok: bool = True) -> str:
        """An entry point of a role; its output in one line."""
        path = self.folder / "entry.json"
        path.write_text(json.dumps({"roles_in_order": [role], "entry": entry}))
        return " ".join(self.play(self.folder / "tasks.yml", "-e", f"@{path}", ok=ok).split())

    @property
    def addresses(self) -> list[str]:
        """The node's own, IPv4 and IPv6."""
        node = self.fleet.node(NODE)
        return [address for address in (node.address, node.address6) if address]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node with a station on the air, and somebody else's program."""
    with Site(Path(tmp_path_factory.mktemp("hardening"))).up() as it:
        it.play(it.folder / "roles.yml")
        assert it.converge(station(SLUG, UID, PORT))[SLUG]["state"] == "running"
        it.sh(PROGRAM)
        it.sh(TIMERS)
        yield it


def test_a_scan_finds_what_the_node_is_for_and_a_change_that_locks_out_takes_itself_back(site: Site) -> None:
    assert len(site.addresses) == 2
    for address in site.addresses:
        assert {22, PORT, STRANGE} <= set(scan(site.fleet, OTHER, address, last=LAST)["open"])
    refused = " ".join(site.harden(ok=False, streamfleet_firewall_close_others=False).split())
    assert f"would close {STRANGE}/tcp (python3), where other programs listen" in refused
    assert site.sh(LISTED) == ""
    with counted(site, SLUG, PORT):
        foretold = site.harden("--check", "--diff")
        assert site.sh(LISTED) == ""
        made = site.harden()
        assert changed_tasks(made) == [task for task in changed_tasks(foretold) if task in changed_tasks(made)]
        assert set(changed_tasks(foretold)) == set(changed_tasks(made))
        assert site.changed(site.harden()) == 0
        for address, last in zip(site.addresses, (65535, LAST), strict=True):
            assert scan(site.fleet, OTHER, address, last) == {"open": [22, PORT], "refused": closed_in_range()}
        rules, listed = site.sh(f"cat {RULES}"), site.sh(LISTED)
        locked = " ".join(
            site.harden(
                ok=False, streamfleet_firewall_ssh_sources=["203.0.113.0/24"], streamfleet_firewall_confirm_seconds=10
            ).split()
        )
        assert "The new firewall keeps this controller out" in locked
        assert "The host has taken it back and answers again." in locked
        assert (site.sh(f"cat {RULES}"), site.sh(LISTED)) == (rules, listed)


def closed_in_range() -> list[int]:
    """Ports that are open in the firewall and where nobody listens: they refuse."""
    return sorted({80, 443, *range(8100, 8200)} - {PORT})


@pytest.mark.full
def test_somebody_who_flushes_the_rules_is_told_of_and_made_good(site: Site) -> None:
    site.harden()
    listed = site.sh(LISTED)
    assert "policy drop" in listed
    site.entry("firewall", "self_check")
    site.sh("nft flush ruleset")
    assert "the firewall is not in force as it was loaded" in site.entry("firewall", "self_check", ok=False)
    assert changed_tasks(site.harden()) == ["firewall : Let in what the host is for, and nothing else"]
    assert site.sh(LISTED) == listed
    # Debian's own unit flushes everything, too.
    site.sh("systemctl restart nftables.service")
    assert site.sh(LISTED) == listed
    site.sh("systemctl stop streamfleet-firewall.service")
    assert site.sh(LISTED) == ""
    site.sh("systemctl start streamfleet-firewall.service")
    assert site.sh(LISTED) == listed


@pytest.mark.full
def test_what_is_named_is_open_to_those_who_are_named(site: Site) -> None:
    here, there = site.fleet.node(OTHER), site.addresses
    opening = {"name": "strange", "ports": [str(STRANGE)], "sources": [here.address, f"{here.address6}/128"]}
    site.harden(streamfleet_firewall_open=[opening])
    assert [STRANGE in scan(site.fleet, OTHER, address, LAST)["open"] for address in there] == [True, True]
    site.harden(streamfleet_firewall_open=[{**opening, "sources": [here.address]}])
    assert [STRANGE in scan(site.fleet, OTHER, address, LAST)["open"] for address in there] == [True, False]


def guess(site: Site, address: str, times: int) -> list[str]:
    """What somebody on the other node is answered who tries names by SSH."""
    ask = ["ssh", *STRANGER, f"nobody-here@{address}", "true"]
    return [str(site.fleet.exec(OTHER, ask, check=False).stderr) for _turn in range(times)]


@pytest.mark.full
def test_who_guesses_is_kept_out_and_who_listens_is_not(site: Site) -> None:
    here = site.fleet.node(OTHER)
    few: dict[str, Any] = {"parts": PARTS, "streamfleet_fail2ban_max_failures": 3}
    foretold = site.harden("--check", **few)
    made = site.harden(**few)
    assert set(changed_tasks(made)) == set(changed_tasks(foretold))
    assert site.changed(site.harden(**few)) == 0
    site.entry("fail2ban", "self_check")
    site.entry("updates", "self_check")
    # Whoever can log in to tell is never banned.
    assert site.sh("echo ${SSH_CONNECTION%% *}").strip() in site.sh("fail2ban-client get sshd ignoreip")
    four, six = site.addresses
    with counted(site, SLUG, PORT):
        site.fleet.exec(
            OTHER, ["systemd-run", "-q", "--unit=ears", "python3", "-c", LISTEN, f"http://{four}:{PORT}/stream"]
        )
        site.fleet.exec(OTHER, ["systemd-run", "-q", "--unit=hold", "python3", "-c", HOLD, four])
        soon(lambda: site.fleet.exec(OTHER, ["test", "-e", "/run/holding"], check=False).returncode == 0)
        assert "Permission denied" in guess(site, four, 4)[0]
        soon(lambda: here.address in banned(site))
        assert banned(site) == [here.address]
        assert "timed out" in guess(site, four, 1)[0]
        before = int(site.fleet.exec(OTHER, ["cat", "/run/heard"]).stdout)
        # IPv6 is another address.
        assert "Permission denied" in guess(site, six, 4)[0]
        soon(lambda: here.address6 in banned(site))
        assert "timed out" in guess(site, six, 1)[0]
        site.fleet.exec(OTHER, ["touch", "/run/go"])
        soon(lambda: site.fleet.exec(OTHER, ["test", "-s", "/run/held"], check=False).returncode == 0)
        assert int(site.fleet.exec(OTHER, ["cat", "/run/held"]).stdout) > 0, "a connection that had begun was cut off"
        assert int(site.fleet.exec(OTHER, ["cat", "/run/heard"]).stdout) > before
    ends = site.sh("fail2ban-client get sshd banip --with-time")
    assert len(re.findall(r"\+ 600 = ", ends)) == 2, ends
    assert "2" in site.sh(f"fail2ban-client unban {here.address} {here.address6}")
    assert all("Permission denied" in guess(site, address, 1)[0] for address in (four, six))


@pytest.mark.full
def test_refusals_of_the_programs_themselves_are_counted(site: Site) -> None:
    (site.folder / "more.yml").write_text(MORE)
    site.play(site.folder / "more.yml")
    names = ("streamfleet_nodes", "icecast", "hardening", "nginx_rtmp")
    groups: dict[str, Any] = {name: {"hosts": {NODE: {}}} for name in names}
    (site.folder / "groups.json").write_text(json.dumps(groups))
    site.harden(parts=PARTS)
    site.entry("fail2ban", "self_check")
    filters = {"nginx_rtmp": "streamfleet-nginx_rtmp", "sshd": "sshd"}
    before = {name: counted_by(site, each) for name, each in filters.items()}
    key = f"rtmp://{site.address}/live/a-key-that-nobody-has"
    assert subprocess.run(video_publisher(key, 4), stdin=subprocess.DEVNULL, check=False, timeout=60).returncode != 0
    ask = ["ssh", *STRANGER, f"nobody-here@{site.address}"]
    subprocess.run(ask, check=False, capture_output=True, timeout=30)
    after = {name: counted_by(site, each) for name, each in filters.items()}
    assert {name for name in filters if after[name] > before[name]} == set(filters), (before, after)


@pytest.mark.full
def test_updates_take_nobody_off_the_air(site: Site) -> None:
    site.harden(parts=PARTS)
    said = site.sh("unattended-upgrade --dry-run --debug 2>&1")
    allowed = next(line for line in said.splitlines() if line.startswith("Allowed origins are:"))
    assert "label=Debian-Security" in allowed
    assert "label=Debian," not in f"{allowed},"
    assert site.sh("apt-config dump Unattended-Upgrade::Package-Blacklist").count('icecast2$"') == 1
    unit = f"streamfleet-icecast@{SLUG}.service"
    process = site.sh(f"systemctl show -P MainPID {unit}")
    site.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends needrestart 2>&1")
    with counted(site, SLUG, PORT):
        # Its own package, and a library that it has loaded: what by hand is done, too, in a quiet hour.
        site.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --reinstall icecast2 libogg0 2>&1")
        assert "(deleted)" in site.sh(f"grep libogg /proc/{process}/maps")
        site.sh("needrestart -b -r a 2>&1")
        assert site.sh(f"systemctl show -P MainPID {unit}") == process
    assert unit in site.sh("needrestart -b -r l 2>&1")


@pytest.mark.full
def test_after_a_reboot_all_of_it_is_there(site: Site) -> None:
    site.harden(parts=PARTS)
    # Of an address that was banned before fail2ban counts a failure for more than one: the last guess may be too many.
    site.sh("fail2ban-client unban --all")
    listed, stranger = site.sh(LISTED), "203.0.113.9"
    before = scan(site.fleet, OTHER, site.addresses[0], LAST)["open"]
    assert {22, PORT} <= set(before)
    site.sh(f"fail2ban-client set sshd banip {stranger}")
    bans = "nft list table inet streamfleet_bans"
    soon(lambda: stranger in site.sh(bans))
    site.fleet.reboot(NODE)
    assert site.sh(LISTED) == listed
    soon(lambda: stranger in site.sh(bans, check=False), 60)
    assert stranger in banned(site)
    # By SSH, as each run goes; and what the node is for is open to others, and nothing else is.
    assert site.changed(site.harden(parts=PARTS)) == 0
    site.sh(PROGRAM)
    soon(lambda: scan(site.fleet, OTHER, site.addresses[0], LAST)["open"] == before, 60)
    for role in PARTS:
        site.entry(role, "self_check")
    site.sh(f"fail2ban-client unban {stranger}")


@pytest.mark.full
def test_masked_timers_are_refused_before_anything_changes(site: Site) -> None:
    site.sh("systemctl mask apt-daily-upgrade.timer 2>&1")
    try:
        before = site.sh(f"cat {RULES}")
        opening = {"name": "strange", "ports": [str(STRANGE)]}
        for more in ([], ["--check"]):
            refused = " ".join(site.harden(*more, parts=PARTS, ok=False, streamfleet_firewall_open=[opening]).split())
            assert "apt-daily-upgrade.timer is masked, so nothing would install security updates" in refused
            assert "systemctl unmask apt-daily-upgrade.timer" in refused
        assert site.sh(f"cat {RULES}") == before
        # What has nothing to do with updates goes on.
        site.harden(parts=["firewall", "fail2ban"])
    finally:
        site.sh("systemctl unmask apt-daily-upgrade.timer 2>&1")
    site.harden(parts=PARTS)


@pytest.mark.full
def test_uninstalled_it_leaves_nothing(site: Site) -> None:
    site.harden(parts=PARTS)
    others = site.sh("nft list table inet streamfleet_tenants")
    jails, units = "fail2ban-client -d 2>&1 || true", "systemctl list-unit-files -q 'streamfleet-firewall*' || true"
    assert "streamfleet" in site.sh(jails)
    assert "streamfleet-firewall.service" in site.sh(units)
    kept = site.harden("-e", "hardening_remove=fail2ban", parts=PARTS, ok=False)
    assert "which the host is to have by the inventory" in " ".join(kept.split())
    site.harden("-e", "hardening_remove=firewall,fail2ban,updates", parts=[])
    assert site.changed(site.harden("-e", "hardening_remove=firewall,fail2ban,updates", parts=[])) == 0
    tables = site.sh("nft list tables")
    assert "streamfleet_firewall" not in tables
    assert "streamfleet_bans" not in tables
    assert site.sh("nft list table inet streamfleet_tenants") == others
    names = "-name '*firewall*' -o -path '*fail2ban*' -o -name '*streamfleet*updates*' -o -path '*needrestart*'"
    found = site.sh(f"find /etc /usr/lib/streamfleet /run \\( {names} \\) -print 2>/dev/null || true")
    # Unattended-upgrades stays, and goes on holding back what is on the air.
    held = "/etc/apt/apt.conf.d/60streamfleet-updates"
    assert [path for path in found.splitlines() if "streamfleet" in path] == [held]
    assert site.sh("apt-config dump Unattended-Upgrade::Package-Blacklist").count('icecast2$"') == 1
    assert "streamfleet" not in site.sh(jails)
    assert site.sh(units) == ""
    assert STRANGE in scan(site.fleet, OTHER, site.addresses[0], LAST)["open"]
