"""Units run, are enabled, and run as the users that they should; nothing has failed."""

from __future__ import annotations

import re

from testinfra.host import Host

testinfra_hosts = ["all"]

UNITS = {
    "streamfleet_panel": {
        "streamfleet-panel.service": "streamfleet-panel",
        "streamfleet-panel-jobs.service": "streamfleet-panel",
        "streamfleet-worker.service": "streamfleet-worker",
        "nginx.service": "root",
    },
    "streamfleet_nodes": {
        "streamfleet-instances.target": None,
        "streamfleet-tenants.service": None,
        "nginx.service": "root",
    },
    "nginx_rtmp": {
        "streamfleet-rtmp.service": "streamfleet-rtmp",
        "streamfleet-rtmps.service": "streamfleet-rtmps",
        "run-streamfleet-hls.mount": None,
    },
}
"""Group → unit → user of its main process (None: it has none)."""


def units(groups: list[str]) -> dict[str, str | None]:
    """Units of a host that is in these groups."""
    return {unit: user for group in groups for unit, user in UNITS.get(group, {}).items()}


def test_units_are_active_and_enabled(host: Host, groups: list[str]) -> None:
    for unit in units(groups):
        state = host.run("systemctl is-active %s", unit).stdout.strip()
        journal = host.run("journalctl --no-pager -n 30 -u %s", unit).stdout
        assert state == "active", f"{unit} is {state}\n{journal}"
        assert host.run("systemctl is-enabled %s", unit).stdout.strip() == "enabled", unit


def test_units_run_as_their_own_users(host: Host, groups: list[str]) -> None:
    for unit, user in units(groups).items():
        if user:
            pid = host.check_output("systemctl show --property=MainPID --value %s", unit)
            assert host.check_output("ps -o user:32= -p %s", pid).strip() == user, unit


def test_nothing_has_failed(host: Host) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""
    assert host.check_output("systemctl is-system-running") == "running"


def test_units_are_sandboxed(host: Host) -> None:
    """Systemd's own score of exposure, of every unit of ours that is installed, templates too."""
    said = host.check_output(
        "for unit in /etc/systemd/system/streamfleet-*.service; do "
        "systemd-analyze security --offline=true --no-pager $unit | grep Overall; done"
    )
    scores = re.findall(r"for (\S+): ([0-9.]+)", said)
    assert "streamfleet-tenants.service" in dict(scores)
    assert [score for score in scores if float(score[1]) > 3.0] == []


def test_tenants_firewall_is_loaded(host: Host) -> None:
    assert host.run("nft list table inet streamfleet_tenants").rc == 0
