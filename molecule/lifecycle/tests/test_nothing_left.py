"""After uninstall.yml a node is what it was before install.yml, but for packages that other things may use by now."""

from __future__ import annotations

from pathlib import Path

from testinfra.host import Host

testinfra_hosts = ["all"]

SCRIPT = Path(__file__).resolve().parents[2] / "shared" / "manifest.sh"

TOOLS = {"ca-certificates", "nftables", "openssh-server", "python3", "openssl", "sudo"}
"""General tools that role common installs; they stay, with what they need (docs/roles.md)."""


def test_nothing_is_left(host: Host) -> None:
    before = set(host.file("/root/manifest").content_string.splitlines())
    after = set(host.run("sh -c %s", SCRIPT.read_text()).stdout.splitlines())
    assert len(before) > 5000
    left = sorted(line for line in after - before if not line.startswith(("package ii", "package rc")))
    assert left == []
    assert sorted(before - after) == [], "gone, though it was here before"


def test_packages_that_only_streamfleet_needs_are_gone(host: Host) -> None:
    before = {line for line in host.file("/root/manifest").content_string.splitlines() if line.startswith("package")}
    now = host.check_output("dpkg-query -W -f 'package ${db:Status-Abbrev} ${Package}\\n'").splitlines()
    left = {line.split()[-1] for line in set(now) - before}
    assert left <= TOOLS, sorted(left - TOOLS)


def test_ports_are_closed(host: Host) -> None:
    ports = {line.split()[3].rpartition(":")[2] for line in host.check_output("ss -Hltn").splitlines()}
    assert ports == {"22"}
