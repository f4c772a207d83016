"""After uninstall.yml a node is what it was before install.yml, but for packages that other things may use by now."""

from __future__ import annotations

from pathlib import Path

import pytest
from testinfra.host import Host

testinfra_hosts = ["all"]

SCRIPT = Path(__file__).resolve().parents[2] / "shared" / "manifest.sh"

KEPT = {
    "ca-certificates",
    "logrotate",
    "nftables",
    "openssh-client",
    "openssh-server",
    "openssl",
    "python3",
    "python3-cryptography",
    "sudo",
}
"""General tools that stay, since something else may use them by now. What they depend on stays with them."""

LEFT_BY_DEBIAN = {
    "/var/www",
    "/var/www/html",
    "/var/www/html/index.nginx-debian.html",
    "/var/lib/ucf/hashfile.1",
    "/var/lib/ucf/hashfile.2",
    # Enabled by logrotate, which stays.
    "/etc/systemd/system/timers.target.wants/logrotate.timer",
}
"""What packages of Debian's leave when they are purged."""


@pytest.fixture(scope="module")
def tidy(host: Host) -> Host:
    """The host after `apt-get autoremove`, which takes what packages had brought with them."""
    host.check_output("DEBIAN_FRONTEND=noninteractive apt-get -qq -y autoremove --purge")
    return host


def things(text: str) -> set[str]:
    """Lines of a manifest that last longer than a login session."""
    return {line for line in text.splitlines() if not line.endswith("transient")}


def test_nothing_is_left(tidy: Host) -> None:
    before = things(tidy.file("/root/manifest").content_string)
    after = things(tidy.run("sh -c %s", SCRIPT.read_text()).stdout)
    packaged = set(tidy.check_output("cat /var/lib/dpkg/info/*.list").splitlines()) | LEFT_BY_DEBIAN
    packaged |= {path.replace("/lib/", "/usr/lib/", 1) for path in packaged if path.startswith("/lib/")}
    assert len(before) > 5000

    def of_streamfleet(line: str) -> bool:
        kind, _, rest = line.partition(" ")
        if kind == "package" or "__pycache__" in line:
            return False
        if kind == "unit":  # those of packages that stay
            return not any(path.endswith(f"/system/{rest.split()[0]}") for path in packaged)
        return line.split()[-1] not in packaged

    assert sorted(filter(of_streamfleet, after - before)) == []
    assert sorted(before - after) == [], "gone, though it was here before"


def test_packages_that_only_streamfleet_needs_are_gone(tidy: Host) -> None:
    before = set(tidy.check_output("grep ^package /root/manifest").splitlines())
    now = set(tidy.check_output("dpkg-query -W -f 'package ${db:Status-Abbrev} ${Package}\\n'").splitlines())
    added = {line.split()[-1] for line in now - before}
    by_hand = added & set(tidy.check_output("apt-mark showmanual").splitlines())
    assert by_hand <= KEPT
    assert not [line for line in now - before if not line.startswith("package ii")], (
        "configuration of a removed package"
    )


def test_ports_are_closed(tidy: Host) -> None:
    ports = {line.split()[3].rpartition(":")[2] for line in tidy.check_output("ss -Hltn").splitlines()}
    assert ports == {"22"}
